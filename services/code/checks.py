"""What a response is checked against: programs by their output, functions by their values, or test code.

Three kinds, told apart by their fields:

    {"cases": [{"stdin": "3\\n", "stdout": "9\\n"}]}                        a program for each case
    {"entry_point": "square", "calls": [{"args": [3], "expected": 9}]}     a function, values in and out
    {"entry_point": "square", "test": "def check(candidate): ..."}         test code, in HumanEval's form or pytest's

Arguments and expected values are JSON; what JSON has not (a tuple, a set, bytes...) is written as in
`sandbox/values.py`: `{"$tuple": [1, 2]}`. Values are compared by exact type: `true` is not `1`, `1` is not `1.0`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sandbox.results import MAX_LIMIT, MIN_MEMORY_BYTES, Limits
from sandbox.values import NotPlainError, from_json

_DEFAULTS = Limits()
_DEFINES_TESTS = re.compile(r"^(?:def|class)\s+check\b|^check\s*=|^def\s+test|^class\s+\w+.*TestCase", re.MULTILINE)
_DEFINES_CHECKER = re.compile(r"^def\s+check\b", re.MULTILINE)
_STRICT = ConfigDict(extra="forbid", frozen=True)
_ONLY_FOR: Mapping[str, frozenset[str]] = {
    "entry_point": frozenset({"calls", "test"}),
    "checker": frozenset({"cases"}),
    "compare": frozenset({"cases"}),
    "language": frozenset({"cases"}),
    "score": frozenset({"cases", "calls"}),
    "tolerance": frozenset({"cases", "calls"}),
    "modules": frozenset({"test"}),
    "shared": frozenset({"test"}),
    "trust_shared": frozenset({"test"}),
}
"""Fields that mean something for some kinds only."""


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
    checker: str | None = None
    """Python source that defines `check(stdin, expected, got)`, which returns True where a program's output (`got`, text)
    is right. It takes the place of `compare` and runs in a sealed process of its own."""
    compare: Literal["lines", "exact", "tokens"] = "lines"
    """Of a program's output: lines without trailing white space, bytes, or what lies between white space."""
    language: Literal["python", "cpp", "javascript", "bash"] = "python"
    """Of the program. Others than Python run with what compilers and interpreters the sandbox's machine has."""
    entry_point: str | None = None
    """Name of the function that `calls` or `test` are about."""
    calls: Annotated[list[Call], Field(min_length=1, max_length=9_999)] | None = None
    test: str | None = None
    """Python source that defines `check(candidate)`, functions `test...()` or `unittest.TestCase`s, and asserts: a pass needs
    an assertion that held. It may use what the prompt defines and the entry point by its name. It runs in a process of
    its own; arguments and results are plain values or objects that are compared by identity."""
    modules: Annotated[list[str], Field(max_length=64)] = ["solution"]
    """Names that the test can import the candidate by."""
    shared: bool = False
    """The test must share the candidate's interpreter (to patch what is in its module). Such a verdict can be forged, so
    `code/tests` is 0 whatever it says, unless `trust_shared` is true."""
    trust_shared: bool = False
    needs: Literal["files", "subprocess"] | None = None
    """What the task gives the candidate besides the modules it imports: an empty folder, or processes too."""
    score: Literal["all", "share"] = "all"
    """`code/tests` is 1 where all cases or calls pass and else 0, or the share that passes. Test code is all or nothing."""
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Two floats are equal where they differ by at most this, or by this share of the larger. For `calls`, and for
    numbers among the tokens of a program's output. Without it only equal floats (and nan and nan) are."""
    style: bool = False
    """Whether the verdict has `code/style`."""
    reference: str | None = None
    """A right answer: code, in a fenced block or not, as in a response. With it the verdict has `code/efficiency`, and takes twice as long."""
    reference_cpu_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What a right answer takes, in the place of `reference`."""
    cpu_seconds: Annotated[float, Field(gt=0, le=MAX_LIMIT, allow_inf_nan=False)] = _DEFAULTS.cpu_seconds
    """CPU time for a case, for all calls together, or for each of candidate and test code. The sandbox has a largest one,
    its `--max-cpu-seconds`: 60 where nobody gave another."""
    memory_bytes: Annotated[int, Field(ge=MIN_MEMORY_BYTES, le=MAX_LIMIT)] = _DEFAULTS.memory_bytes
    """Address space of the process."""

    @property
    def kind(self) -> Literal["cases", "calls", "test"]:
        """Which of the three it has."""
        return "cases" if self.cases is not None else "calls" if self.calls is not None else "test"

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kinds = [name for name in ("cases", "calls", "test") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"must have exactly one of cases, calls, test; it has {', '.join(kinds) or 'none'}")
        for field in sorted(self.model_fields_set & _ONLY_FOR.keys()):
            if self.kind not in _ONLY_FOR[field]:
                raise ValueError(f"{field} means nothing beside {self.kind}")
        if self.kind != "cases" and not _is_name(self.entry_point or ""):
            raise ValueError(f"entry_point must be the name of the function that {self.kind} is about")
        return self

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if self.test is not None and not _DEFINES_TESTS.search(self.test):
            raise ValueError("test must define check(candidate), functions test...() or a unittest.TestCase")
        if not all(map(_is_name, self.modules)) or len(set(self.modules)) != len(self.modules):
            raise ValueError("modules must be names of modules, each once")
        if self.checker is not None:
            if not _DEFINES_CHECKER.search(self.checker):
                raise ValueError("checker must define check(stdin, expected, got)")
            if self.model_fields_set & {"compare", "tolerance"}:
                raise ValueError("compare and tolerance mean nothing beside checker")
        elif self.kind == "cases" and self.tolerance is not None and self.compare != "tokens":
            raise ValueError('tolerance needs compare = "tokens", which tells where a number begins and ends')
        if self.language != "python" and self.needs is not None:
            raise ValueError("needs is for Python; programs in other languages have files and processes")
        if self.style and self.language != "python":
            raise ValueError("style is for Python only")
        if self.reference is not None and self.reference_cpu_seconds is not None:
            raise ValueError("must have at most one of reference, reference_cpu_seconds")
        return self


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


def read_checks(checks: Mapping[str, Any]) -> CodeChecks:
    """The checks of an item. Raises pydantic.ValidationError."""
    return CodeChecks.model_validate(checks)
