"""A benchmark's table: what was measured, the bar for it, and whether it was met."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table."""

    name: str
    measured: str
    bar: str
    met: bool


def report(figures: Sequence[Figure]) -> int:
    """Prints the table and how many bars were met; the exit code of the benchmark, 1 if one was missed."""
    print(table(figures))
    met = sum(figure.met for figure in figures)
    print(f"{met} of {len(figures)} bars met")
    return 0 if met == len(figures) else 1


def table(figures: Sequence[Figure]) -> str:
    """Markdown, with the machine and the date."""
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()},"
        f" Python {platform.python_version()}",
        "",
        "| figure | measured | bar | met |",
        "|---|---|---|---|",
    ]
    lines += [f"| {f.name} | {f.measured} | {f.bar} | {'yes' if f.met else 'NO'} |" for f in figures]
    return "\n".join([*lines, ""])
