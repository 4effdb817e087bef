"""Data sets of the warm-up, and the order in which its steps go through them.

The order is a pure function of the seed and the optimizer step, so there is no state to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trainer.data import DataError, kind_of
from trainer.data_files import json_rows
from trainer.epochs import permutation

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the completion to imitate."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt with a better and a worse completion."""

    prompt: str
    chosen: str
    rejected: str


def holds_comparisons(path: Path) -> bool:
    """Whether a file for supervised steps is one of comparisons, as its first row says. Raises DataError."""
    _, first = next(json_rows(path))
    return _is_comparison(first)


def read_supervised(path: Path) -> list[Demonstration] | list[Comparison]:
    """Every row of a file of demonstrations, or of one of comparisons. Raises DataError."""
    rows = list(json_rows(path))
    if _is_comparison(rows[0][1]):
        return [
            Comparison(*(_text(row, field, where) for field in ("prompt", "chosen", "rejected"))) for where, row in rows
        ]
    return [
        Demonstration(prompt=_text(row, "prompt", where), completion=_text(row, "completion", where))
        for where, row in rows
    ]


def draw(rows: Sequence[Row], seed: int, step: int, count: int) -> list[Row]:
    """The `count` rows of an optimizer step: each epoch is a fresh permutation, and steps follow each other in it.

    A batch that crosses an epoch's end may hold a row twice when `count` is close to, or above, the number of rows.
    """
    size = len(rows)
    picked: list[Row] = []
    position = step * count
    while len(picked) < count:
        epoch, offset = divmod(position + len(picked), size)
        order = permutation(size, seed, epoch)
        picked.extend(rows[i] for i in order[offset : offset + count - len(picked)])
    return picked


def _is_comparison(row: dict[str, Any]) -> bool:
    return "completion" not in row and ("chosen" in row or "rejected" in row)


def _text(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        found = f"is {kind_of(value)}" if field in row else "is missing"
        raise DataError(f"{where}: field {field!r} {found}; it must be a text that is not empty")
    return value
