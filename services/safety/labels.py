"""Reads a user's labelled texts for `assay calibrate safety`. What a text says is never told, only its line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_PROBLEMS = 10
"""Shown of the lines that cannot be read, and of those that disagree."""
_TRUTHS = {True: True, False: False, "true": True, "false": False}  # 1 and 0 are True and False here


class LabelsError(ValueError):
    """The file cannot be fitted on. The message is for a person and may have several lines."""


@dataclass(frozen=True)
class Labels:
    """Distinct texts with one label each."""

    texts: Sequence[str]
    toxic: np.ndarray
    """bool, shape (len(texts),)."""
    rows: int
    """Of the file."""
    duplicates: int
    """Rows left out because an earlier one has the same text and the same label."""
    conflicts: Sequence[Sequence[int]]
    """Line numbers of rows of one text that differ in their labels; all of them are left out."""


def read_labels(path: Path, text: str, toxic: str, toxic_values: Sequence[str] = ()) -> Labels:
    """Reads JSON lines. Texts that differ only in case or blanks are the same text.

    text, toxic: the columns. A label is true or false, 1 or 0; with `toxic_values`, it is any string or number, and toxic
    where it is one of these.
    Raises LabelsError where a line cannot be read.
    """
    groups: dict[str, list[tuple[int, str, bool]]] = {}
    problems: list[str] = []
    rows = 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        rows += 1
        read = _row(line, text, toxic, toxic_values)
        if isinstance(read, str):
            problems.append(f"line {number}: {read}")
        else:
            groups.setdefault(" ".join(read[0].split()).casefold(), []).append((number, *read))
    if problems:
        more = f"\n... and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise LabelsError(
            f"{len(problems)} of {rows} rows cannot be read:\n" + "\n".join(problems[:MAX_PROBLEMS]) + more
        )
    agreed = [group for group in groups.values() if len({label for _, _, label in group}) == 1]
    return Labels(
        [group[0][1] for group in agreed],
        np.array([group[0][2] for group in agreed], dtype=bool),
        rows,
        sum(len(group) - 1 for group in agreed),
        [[number for number, _, _ in group] for group in groups.values() if len({label for _, _, label in group}) > 1],
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise LabelsError(f"line {line}: byte {error.start} of the file is not UTF-8") from None
    except OSError as error:
        raise LabelsError(f"{path} cannot be read: {error.strerror}") from None


def _row(line: str, text: str, toxic: str, toxic_values: Sequence[str]) -> tuple[str, bool] | str:
    """Text and label, or what is wrong."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "not JSON"
    if not isinstance(row, dict):
        return f"a JSON {type(row).__name__}, not an object"
    for column in (text, toxic):
        if column not in row:
            return f"no column {column!r}; there are {', '.join(map(repr, list(row)[:10])) or 'none'}"
    value, label = row[text], row[toxic]
    if not isinstance(value, str) or not value.strip():
        return f"{text!r} is {'blank' if isinstance(value, str) else 'no text'}"
    if toxic_values:
        return (value, str(label) in toxic_values) if isinstance(label, (str, int, float)) else f"{toxic!r} is no label"
    known = (
        _TRUTHS.get(label.lower() if isinstance(label, str) else label)
        if isinstance(label, (str, int, float))
        else None
    )
    return (
        f"{toxic!r} is neither true nor false; name its toxic values by --toxic-value"
        if known is None
        else (value, known)
    )
