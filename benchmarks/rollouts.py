"""Measures the rollouts: `python -m benchmarks.rollouts [--only PART...]`.

The parts that need vLLM are measured where ASSAY_VLLM_PYTHON names the Python of an environment with it (`make test-vllm`
makes one). Prints a table with a bar for each figure; the last line says how many were met, and the exit code is 1 if one was
missed. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence

from benchmarks.figures import Figure, report
from benchmarks.rollouts_data import data_figures
from benchmarks.rollouts_faults import faults
from benchmarks.rollouts_groups import groups
from benchmarks.rollouts_overlap import overlap
from benchmarks.rollouts_parity import parity
from benchmarks.rollouts_quickstart import quickstart
from benchmarks.rollouts_throughput import throughput

PARTS: dict[str, Callable[[], Iterable[Figure]]] = {
    "parity": parity,
    "quickstart": quickstart,
    "overlap": overlap,
    "faults": faults,
    "throughput": throughput,
    "data": data_figures,
    "groups": groups,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    given = parser.parse_args(arguments)
    found: list[Figure] = []
    for name in given.only:
        for figure in PARTS[name]():
            print(f"{figure.name}: {figure.measured}", file=sys.stderr, flush=True)
            found.append(figure)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
