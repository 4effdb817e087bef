"""Checks of items out of what other trainers pass along: columns of a data set, a label, numpy's numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

CheckColumns = Sequence[str] | Mapping[str, str]
"""Keys of the scorer's checks, each from the column of its name; or key to column."""


def pick(checks: CheckColumns, row: Mapping[str, Any]) -> dict[str, Any]:
    """The checks of one row. A column that is None says nothing, as in data sets that mix tasks.

    Raises ValueError, which names the column and those that there are.
    """
    columns = checks if isinstance(checks, Mapping) else {key: key for key in checks}
    for key, column in columns.items():
        if column not in row:
            raise ValueError(
                f"no column {column!r} for the check {key!r}; there are {', '.join(map(repr, row)) or 'none'}"
            )
    return {key: plain(row[column]) for key, column in columns.items() if row[column] is not None}


def of_label(label: Any, check: str | None) -> dict[str, Any]:
    """The checks that a trainer's one label holds: the value of `check`, or, where that is None, all as a JSON object.

    Raises ValueError for a label that is no JSON object where it should be one.
    """
    if check is not None:
        return {} if label is None else {check: plain(label)}
    if isinstance(label, str):
        try:
            label = json.loads(label)
        except ValueError:
            label = None
    if not isinstance(label, Mapping):
        raise ValueError("a label is no JSON object of checks; `check` names the check where the label is one value")
    return plain(label)


def plain(value: Any) -> Any:
    """The value without numpy's or torch's types, which JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else value
