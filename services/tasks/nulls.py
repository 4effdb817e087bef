"""Answers that solve nothing: what a policy would find first where a task's checks accept them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Null:
    """An answer that must fail. `name` says for a person what it does."""

    name: str
    source: str


_FUNCTION_BODIES = {
    "returns None": "return None",
    "returns True": "return True",
    "returns False": "return False",
    "returns 0": "return 0",
    "returns NaN": 'return float("nan")',
    'returns ""': 'return ""',
    "returns []": "return []",
    "returns {}": "return {}",
    "returns its first argument": "return [*args, *kwargs.values()][0]",
    "returns [0] * len(its first argument)": "return [0] * len([*args, *kwargs.values()][0])",
    "empties its arguments, returns the first": (
        "given = [*args, *kwargs.values()]\n    for each in given: getattr(each, 'clear', list)()\n    return given[0]"
    ),
    "returns what equals everything": 'return type("Equal", (), {"__eq__": lambda self, other: True, "__hash__": None})()',
    "raises": 'raise ValueError("it solves nothing")',
}
_PROGRAMS = {
    "prints nothing": "pass",
    "prints its input": "import sys\nsys.stdout.write(sys.stdin.read())",
    "prints the first line of its input": "import sys\nsys.stdout.write(sys.stdin.readline())",
    **{f"prints {word}": f'print("{word}")' for word in ("0", "-1", "YES", "NO", "Yes", "No")},
}


def nulls_for(checks: Mapping[str, Any]) -> list[Null]:
    """The nulls for these checks: functions by the name of the entry point, or programs where there is none."""
    entry_point = checks.get("entry_point")
    if entry_point is None:
        return [Null(name, f"{source}\n") for name, source in _PROGRAMS.items()]
    head = f"def {entry_point}(*args, **kwargs):"
    return [Null(name, f"{head}\n    {body}\n") for name, body in _FUNCTION_BODIES.items()]
