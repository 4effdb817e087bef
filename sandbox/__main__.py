"""`python -m sandbox doctor`: what confines a run on this machine."""

from __future__ import annotations

import argparse
import asyncio
import sys

from sandbox.doctor import describe, examine
from sandbox.results import Ending


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Runs code that nobody trusts.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "doctor", help="say what confines a run on this machine, what does not, and what that leaves open"
    )
    parser.parse_args()
    report, result = asyncio.run(examine())
    print(describe(report, result))
    return 0 if result.ending is Ending.EXITED else 1


if __name__ == "__main__":
    sys.exit(main())
