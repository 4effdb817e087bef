"""Is what came what was expected? Values by exact type, outputs by lines, bytes or tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.values import encode

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference between two values. `path` leads to it (`[2]["name"]`)."""

    of_type: bool
    path: str
    expected: object
    got: object

    def __str__(self) -> str:
        where = f"at {self.path}: " if self.path else ""
        if self.of_type:
            return f"{where}expected {_kind(self.expected)}, got {_kind(self.got)} ({shown(self.got)})"
        return f"{where}expected {shown(self.expected)}, got {shown(self.got)}"


def shown(value: object) -> str:
    """A value for a person, cut to a line's length."""
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than the interpreter writes
        return f"{_kind(value)} with a very long number"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def difference(expected: Any, got: Any, tolerance: float | None = None, path: str = "") -> Difference | None:
    """The first difference of two plain values, None where they are equal.

    Types must be the same at every level. Floats are equal where `==` says so, where both are nan, and within
    `tolerance` (absolute, or relative to the larger). Dicts are equal in any order. Elements of sets and keys of dicts
    are compared without tolerance.
    """
    if type(expected) is not type(got):
        return Difference(True, path, expected, got)
    if isinstance(expected, (list, tuple)):
        return _difference_of_items(expected, got, tolerance, path)
    if isinstance(expected, dict):
        return _difference_of_dicts(expected, got, tolerance, path)
    if isinstance(expected, (set, frozenset)):
        equal = encode(expected) == encode(got)
    elif isinstance(expected, complex):
        parts = ((expected.real, got.real), (expected.imag, got.imag))
        equal = all(_floats_equal(left, right, tolerance) for left, right in parts)
    elif isinstance(expected, float):
        equal = _floats_equal(expected, got, tolerance)
    else:
        equal = expected == got
    return None if equal else Difference(False, path, expected, got)


def _difference_of_items(expected: Any, got: Any, tolerance: float | None, path: str) -> Difference | None:
    if len(expected) != len(got):
        return Difference(False, path, expected, got)
    for index, (left, right) in enumerate(zip(expected, got, strict=True)):
        found = difference(left, right, tolerance, f"{path}[{index}]")
        if found:
            return found
    return None


def _difference_of_dicts(
    expected: dict[Any, Any], got: dict[Any, Any], tolerance: float | None, path: str
) -> Difference | None:
    # By text, since `==` and hashes take True, 1 and 1.0 for one key.
    texts = {encode(key): value for key, value in got.items()}
    if texts.keys() != {encode(key) for key in expected}:
        return Difference(False, path, expected, got)
    for key, left in expected.items():
        found = difference(left, texts[encode(key)], tolerance, f"{path}[{shown(key)}]")
        if found:
            return found
    return None


def _floats_equal(left: float, right: float, tolerance: float | None) -> bool:
    if left == right or (math.isnan(left) and math.isnan(right)):
        return True
    return tolerance is not None and math.isclose(left, right, rel_tol=tolerance, abs_tol=tolerance)


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def same_output(
    expected: str, got: bytes, compare: Literal["lines", "exact", "tokens"], tolerance: float | None = None
) -> bool:
    """Whether a program wrote what it should.

    exact: the same bytes. lines: the same lines, but for white space at their ends and empty lines at the end. tokens:
    the same words between white space; with `tolerance`, words that are both numbers may differ by it.
    """
    if compare == "exact":
        return expected.encode() == got
    text = got.decode("utf-8", "replace")
    if compare == "lines":
        return _lines(expected) == _lines(text)
    left, right = expected.split(), text.split()
    return len(left) == len(right) and all(_same_token(a, b, tolerance) for a, b in zip(left, right, strict=True))


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_token(expected: str, got: str, tolerance: float | None) -> bool:
    if expected == got or tolerance is None:
        return expected == got
    try:
        return _floats_equal(float(expected), float(got), tolerance)
    except ValueError:
        return False
