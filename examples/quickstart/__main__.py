"""`python -m examples.quickstart`: makes the tiny model and its data, then trains it through every part of Assay."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.quickstart.make import write_all
from trainer.cli.local import run

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.quickstart", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and of the model's first weights")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="folder for the run's results")
    parser.add_argument("--plain", action="store_true", help="print every tenth step instead of a live display")
    arguments = parser.parse_args()
    write_all(HERE / "data", arguments.seed)
    return run(HERE / "job.toml", None, arguments.runs_dir, arguments.plain or not sys.stdout.isatty())


if __name__ == "__main__":
    sys.exit(main())
