"""Data sets of JSON lines, and the order in which a run draws from them.

The order is a pure function of the seed and the optimizer step, so a resumed run draws what an uninterrupted one would
have drawn, and there is no state to keep.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trainer.finite import is_finite_number

Row = TypeVar("Row")

LONGEST_ID = 128


class DataError(ValueError):
    """A data set that cannot be used; the message names the file, the line and the field."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to roll out. `checks` goes to the scorers of its domain, as it stands in the file."""

    id: str
    domain: str
    text: str
    checks: dict[str, Any]
    difficulty: float | None = None
    """In any unit, as the file has it; None where it says nothing."""


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


def read_prompts(path: Path, domains: Sequence[str]) -> list[Prompt]:
    """Every prompt of a file. Raises DataError for bad lines, unknown domains, repeated ids and empty files."""
    prompts: list[Prompt] = []
    seen: set[str] = set()
    for where, row in _rows(path):
        prompt = Prompt(
            id=_text(row, "id", where),
            domain=_text(row, "domain", where),
            text=_text(row, "prompt", where),
            checks=_object(row, "checks", where),
            difficulty=_number(row, "difficulty", where),
        )
        if prompt.domain not in domains:
            raise DataError(
                f"{where}: domain {prompt.domain!r} has no scorers; [rewards.scorers] has {sorted(domains)}"
            )
        if len(prompt.id) > LONGEST_ID:
            raise DataError(f"{where}: field 'id' has {len(prompt.id)} characters; at most {LONGEST_ID} are allowed")
        if prompt.id in seen:
            raise DataError(f"{where}: id {prompt.id!r} appears twice")
        seen.add(prompt.id)
        prompts.append(prompt)
    return prompts


def holds_comparisons(path: Path) -> bool:
    """Whether a file for supervised steps is one of comparisons, as its first row says. Raises DataError."""
    _, first = next(_rows(path))
    return _is_comparison(first)


def read_supervised(path: Path) -> list[Demonstration] | list[Comparison]:
    """Every row of a file of demonstrations, or of one of comparisons. Raises DataError."""
    rows = list(_rows(path))
    if _is_comparison(rows[0][1]):
        return [
            Comparison(*(_text(row, field, where) for field in ("prompt", "chosen", "rejected"))) for where, row in rows
        ]
    return [
        Demonstration(prompt=_text(row, "prompt", where), completion=_text(row, "completion", where))
        for where, row in rows
    ]


def within(prompts: Sequence[Prompt], max_difficulty: float | None) -> list[Prompt]:
    """The prompts of at most this difficulty, in their order; all of them without a limit. Raises DataError for none."""
    if max_difficulty is None:
        return list(prompts)
    found = [prompt for prompt in prompts if prompt.difficulty is not None and prompt.difficulty <= max_difficulty]
    if not found:
        raise DataError(f"no prompt has a difficulty of {max_difficulty:g} or less")
    return found


def draw(rows: Sequence[Row], seed: int, step: int, count: int) -> list[Row]:
    """The `count` rows of an optimizer step: each epoch is a fresh permutation, and steps follow each other in it.

    A batch that crosses an epoch's end may hold a row twice when `count` is close to, or above, the number of rows. Where
    the rows are others than those of the step before, a new order begins, and a row may come before its turn.
    """
    size = len(rows)
    picked: list[Row] = []
    position = step * count
    while len(picked) < count:
        epoch, offset = divmod(position + len(picked), size)
        permutation = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(size)
        picked.extend(rows[i] for i in permutation[offset : offset + count - len(picked)])
    return picked


def _is_comparison(row: dict[str, Any]) -> bool:
    return "completion" not in row and ("chosen" in row or "rejected" in row)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        # Not splitlines(): it also splits at U+2028 and its like, which JSON allows inside a string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    empty = True
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        empty = False
        where = f"{path}, line {number}"
        try:
            row = _JSON.decode(line)
            if _MAY_BE_SURROGATE.search(line):
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: holds a lone surrogate (half of a \\ud83d\\ude00), which is no text") from None
        except (ValueError, RecursionError) as error:  # ValueError too: a number of thousands of digits
            raise DataError(f"{where}: is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: is a JSON {type(row).__name__}, not an object")
        yield where, row
    if empty:
        raise DataError(f"{path}: has no rows")


def _refuse_constant(name: str) -> None:
    """For what Python's JSON has beyond JSON: a scorer would refuse it, and the reward would be missing at every step."""
    raise ValueError(f"{name} is no number of JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
_MAY_BE_SURROGATE = re.compile(r"\\u[dD]")


def _text(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        found = "is missing" if field not in row else f"is {type(value).__name__} {'' if value else '(empty)'}".rstrip()
        raise DataError(f"{where}: field {field!r} {found}; it must be a text that is not empty")
    return value


def _number(row: dict[str, Any], field: str, where: str) -> float | None:
    value = row.get(field)
    if value is None:
        return None
    if not is_finite_number(value):
        raise DataError(f"{where}: field {field!r} is {value!r:.40}; it must be a finite number")
    return float(value)


def _object(row: dict[str, Any], field: str, where: str) -> dict[str, Any]:
    value = row.get(field, {})
    if not isinstance(value, dict):
        raise DataError(f"{where}: field {field!r} is {type(value).__name__}; it must be an object")
    return value
