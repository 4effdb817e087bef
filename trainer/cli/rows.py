"""Rows of a user's file, as items to score: which column is what, and what is wrong with a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.verdicts import ErrorReason, Item, ItemError

ID_COLUMNS = ("id", "task_id")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a row holds what."""

    prompt: str = "prompt"
    response: str = "response"
    id: str | None = None
    """None takes `id` or `task_id`, and the line's number where a row has neither."""
    checks: Mapping[str, str] | None = None
    """Key of the checks to column; keys of the scorer's schema that are columns by their own name come by themselves."""
    response_text: str | None = None
    """The same response for every row, in place of the column."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file: an item, or why it is none; and what its author expects, where the row says so."""

    id: str
    line: int
    item: Item | ItemError
    expected: bool | None


def read_rows(path: Path, columns: Columns, check_keys: Sequence[str]) -> Iterator[Row]:
    """Rows in the order of the file; blank lines are skipped. Raises OSError where the file cannot be read."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _row(line, number, columns, check_keys)


def _row(line: bytes, number: int, columns: Columns, check_keys: Sequence[str]) -> Row:
    name = f"line {number}"
    try:
        values = json.loads(line)
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        problem = f"line {number} holds a lone surrogate (half of a \\ud83d\\ude00), which is no text"
        return Row(name, number, ItemError(ErrorReason.INVALID_ITEM, problem), None)
    except (ValueError, RecursionError) as error:
        kind = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
        return Row(name, number, ItemError(ErrorReason.INVALID_ITEM, f"line {number} is not {kind}"), None)
    if not isinstance(values, dict):
        problem = f"line {number} is a JSON {type(values).__name__}, not an object"
        return Row(name, number, ItemError(ErrorReason.INVALID_ITEM, problem), None)
    id_column = columns.id or next((c for c in ID_COLUMNS if c in values), None)
    if id_column is not None and id_column in values:
        name = str(values[id_column])
    expected = values.get("expected")
    if not isinstance(expected, bool):
        expected = None
    return Row(name, number, _item(values, number, columns, check_keys), expected)


def _item(values: Mapping, number: int, columns: Columns, check_keys: Sequence[str]) -> Item | ItemError:
    response = columns.response_text
    if response is None:
        if not isinstance(values.get(columns.response), str):
            return _not_text(number, columns.response, "--response", values)
        response = values[columns.response]
    prompt = values.get(columns.prompt, "")
    if not isinstance(prompt, str):
        return _not_text(number, columns.prompt, "--prompt", values)
    checks = {key: values[key] for key in check_keys if key in values}
    for key, column in (columns.checks or {}).items():
        if column not in values:
            return ItemError(ErrorReason.INVALID_ITEM, f"line {number} has no column {column!r} (--check {key}={column})")
        checks[key] = values[column]
    # The line's number is the item's id on the wire: ids of a user's file may repeat.
    return Item(id=str(number), prompt=prompt, response=response, checks=checks)


def _not_text(number: int, column: str, option: str, values: Mapping) -> ItemError:
    found = f"is a {type(values[column]).__name__}" if column in values else "is missing"
    names = ", ".join(sorted(values))
    problem = f"line {number}: column {column!r} {found}; it must be a text ({option} names it; columns here: {names})"
    return ItemError(ErrorReason.INVALID_ITEM, problem)
