"""Measures the loss library: `python -m benchmarks.losses [--golden FILE] [--quick]`.

Prints a table with a bar for each figure; the last line says how many were met, and the exit code is 1 if one was
missed. Two figures are times (the loop over sequences, attribution's cost): run it on an idle machine. It takes about six
minutes on two cores; `--quick` takes fewer random cases, and says how many.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.figures import Figure, report
from benchmarks.golden import golden
from benchmarks.loss_attribution import cost, identity
from benchmarks.loss_control import control
from benchmarks.loss_gradcheck import gradients
from benchmarks.loss_hostile import hostile
from benchmarks.loss_identities import identities
from benchmarks.loss_partition import partition
from benchmarks.loss_refusals import refusals
from benchmarks.loss_resume import resume
from benchmarks.loss_speed import speed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--golden", type=Path, help="JSON lines: loss, params, aggregation, inputs and expected numbers"
    )
    parser.add_argument("--quick", action="store_true", help="fewer random cases and seeds")
    given = parser.parse_args(arguments)
    # One thread, so that times do not depend on the number of cores.
    torch.set_num_threads(1)
    few = given.quick
    parts: list[Callable[[], list[Figure]]] = [
        speed,
        cost,
        lambda: [identity(30 if few else 300)],
        lambda: partition(*((50, 50) if few else (1000, 1000))),
        lambda: [gradients()],
        lambda: [identities()],
        lambda: [hostile(500 if few else 10_000)],
        lambda: [resume()],
        refusals,
        lambda: control((0,)) if few else control(),
    ]
    if given.golden:
        path = given.golden
        parts.insert(0, lambda: [golden(path)])
    figures: list[Figure] = []
    for part in parts:
        found = part()
        figures += found
        for figure in found:
            print(f"{figure.name}: {figure.measured}", file=sys.stderr, flush=True)
    return report(figures)


if __name__ == "__main__":
    sys.exit(main())
