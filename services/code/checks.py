"""What a response is checked against: programs by their output, functions by their values, or test code.

Three kinds, told apart by their fields:

    {"cases": [{"stdin": "3\\n", "stdout": "9\\n"}]}                        a program for each case
    {"entry_point": "square", "calls": [{"args": [3], "expected": 9}]}     a function, values in and out
    {"entry_point": "square", "test": "def check(candidate): ..."}         test code in the form of HumanEval

Arguments and expected values are JSON; what JSON has not (a tuple, a set, bytes...) is written as in
`sandbox/values.py`: `{"$tuple": [1, 2]}`. Values are compared by exact type: `true` is not `1`, `1` is not `1.0`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sandbox.results import MIN_MEMORY_BYTES, Limits
from sandbox.values import NotPlainError, from_json

_DEFAULTS = Limits()
_DEFINES_CHECK = re.compile(r"^(?:def|class)\s+check\b|^check\s*=", re.MULTILINE)
_STRICT = ConfigDict(extra="forbid", frozen=True)


class Case(BaseModel):
    """One run of a program."""

    model_config = _STRICT
    stdin: str = ""
    stdout: str
    """What it must write, compared as `CodeChecks.compare` says."""


class Call(BaseModel):
    """One call of the function."""

    model_config = _STRICT
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    expected: Any

    @field_validator("args", "expected")
    @classmethod
    def _decode(cls, value: Any) -> Any:
        return _decoded(value)

    @field_validator("kwargs")
    @classmethod
    def _decode_kwargs(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name: _decoded(item) for name, item in value.items()}


def _decoded(value: Any) -> Any:
    try:
        return from_json(value)
    except NotPlainError as error:
        raise ValueError(f"is no plain value: {error}") from None


class CodeChecks(BaseModel):
    """The model of `Item.checks`."""

    model_config = _STRICT
    cases: Annotated[list[Case], Field(min_length=1, max_length=1000)] | None = None
    entry_point: str | None = None
    """Name of the function that `calls` or `test` are about."""
    calls: Annotated[list[Call], Field(min_length=1, max_length=10_000)] | None = None
    test: str | None = None
    """Python source that defines `check(candidate)`, which raises where the candidate is wrong. It may use what the
    prompt defines. It runs in a process of its own; the candidate's arguments and results are plain values."""
    score: Literal["all", "share"] = "all"
    """`code/tests` is 1 where all cases or calls pass and else 0, or the share that passes. Test code is all or nothing."""
    compare: Literal["lines", "exact", "tokens"] = "lines"
    """Of a program's output: lines without trailing white space, bytes, or what lies between white space."""
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Two floats are equal where they differ by at most this, or by this share of the larger. For `calls`, and for
    numbers among the tokens of a program's output. Without it only equal floats (and nan and nan) are."""
    cpu_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _DEFAULTS.cpu_seconds
    """CPU time for a case, for all calls together, or for the candidate in a test."""
    memory_bytes: Annotated[int, Field(ge=MIN_MEMORY_BYTES)] = _DEFAULTS.memory_bytes
    """Address space of the process."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kinds = [name for name in ("cases", "calls", "test") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"must have exactly one of cases, calls, test; it has {', '.join(kinds) or 'none'}")
        kind = kinds[0]
        if kind == "cases":
            self._refuse(kind, "entry_point")
        elif self.entry_point is None or not self.entry_point.isidentifier() or keyword.iskeyword(self.entry_point):
            raise ValueError(f"entry_point must be the name of the function that {kind} is about")
        if kind != "cases":
            self._refuse(kind, "compare")
        if self.test is not None:
            self._refuse(kind, "score")
            self._refuse(kind, "tolerance")
            if not _DEFINES_CHECK.search(self.test):
                raise ValueError("test must define check(candidate)")
        if kind == "cases" and self.tolerance is not None and self.compare != "tokens":
            raise ValueError('tolerance needs compare = "tokens", which tells where a number begins and ends')
        return self

    def _refuse(self, kind: str, field: str) -> None:
        if field in self.model_fields_set:
            raise ValueError(f"{field} means nothing beside {kind}")


def read_checks(checks: Mapping[str, Any]) -> CodeChecks:
    """The checks of an item. Raises pydantic.ValidationError."""
    return CodeChecks.model_validate(checks)
