"""Measures the scorers: `python -m benchmarks.scorers [--math FILE] [--gsm8k FILE] [--toxicity FILE]`.

Any files of those forms will do, JSON lines: `--math` has gold, answer, expected, kind and opts; `--gsm8k` prompt, response,
gold and expected; `--toxicity` text and toxic. Lists each disagreement as it goes, then prints a table with a bar for each
figure; the last line says how many were met, and the exit code is 1 if one was missed. What needs a file that is not
given is not measured. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.figures import Figure, report
from benchmarks.scorers_adapters import adapters
from benchmarks.scorers_coherence import coherence
from benchmarks.scorers_faults import faults
from benchmarks.scorers_judge import judge_figures
from benchmarks.scorers_load import load
from benchmarks.scorers_math import figures as math_figures
from benchmarks.scorers_safety import safety


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--math", type=Path, help="answers with gold, answer, expected, kind, opts")
    parser.add_argument("--gsm8k", type=Path, help="solutions with prompt, response, gold, expected")
    parser.add_argument("--toxicity", type=Path, help="comments with text, toxic")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    given = parser.parse_args(arguments)
    found: list[Figure] = []
    for name in given.only:
        part = PARTS[name](given)
        found += part
        for figure in part:
            print(f"{figure.name}: {figure.measured}", file=sys.stderr, flush=True)
    return report(found)


def _coherence(given: argparse.Namespace) -> list[Figure]:
    if given.gsm8k is None:
        return [Figure("coherence", "not measured: no --gsm8k FILE", "98 % and 90 % ranked right", None)]
    return coherence(given.gsm8k)


def _safety(given: argparse.Namespace) -> list[Figure]:
    if given.toxicity is None:
        return [Figure("safety", "not measured: no --toxicity FILE", "AUC 0.88 and 0.95", None)]
    return safety(given.toxicity, disagreements=True)


PARTS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "math": lambda given: list(math_figures(given.math, given.gsm8k)),
    "safety": _safety,
    "coherence": _coherence,
    "judge": lambda _given: asyncio.run(judge_figures()),
    "adapters": lambda _given: list(adapters()),
    "load": lambda _given: load(),
    "faults": lambda _given: faults(),
}


if __name__ == "__main__":
    sys.exit(main())
