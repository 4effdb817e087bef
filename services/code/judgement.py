"""What judging a response came to, and what keeps it from coming to anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sandbox.results import Ending, RunResult


class Label(StrEnum):
    """How it went. All but `pass` are the response's own doing."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    WRONG_TYPE = "wrong_type"
    """A value of another type than expected, or one that is not plain."""
    TIMEOUT_CPU = "timeout_cpu"
    TIMEOUT_WALL = "timeout_wall"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    """Too much output, or a value that is too large."""
    CRASH = "crash"
    """An uncaught exception, a signal, or the end of the process in the middle of a call."""
    TAMPER = "tamper"
    LOAD_ERROR = "load_error"
    """The code raised before its function could be called, or does not define it."""
    SYNTAX_ERROR = "syntax_error"
    NO_CODE = "no_code"
    UNSUPPORTED = "unsupported"
    """It needs files, processes or modules that the task does not give it."""


LABELS = {
    Ending.EXITED: Label.CRASH,
    Ending.SYNTAX_ERROR: Label.SYNTAX_ERROR,
    Ending.RAISED: Label.CRASH,
    Ending.SIGNALLED: Label.CRASH,
    Ending.CPU_LIMIT: Label.TIMEOUT_CPU,
    Ending.WALL_LIMIT: Label.TIMEOUT_WALL,
    Ending.MEMORY_LIMIT: Label.MEMORY,
    Ending.OUTPUT_LIMIT: Label.OUTPUT_LIMIT,
    Ending.TAMPERED: Label.TAMPER,
    Ending.UNSUPPORTED: Label.UNSUPPORTED,
}
"""Of a process that ended before it had passed. Where the sandbox itself failed there is no judgement."""

LIMITED = frozenset({Label.TIMEOUT_CPU, Label.TIMEOUT_WALL, Label.MEMORY, Label.OUTPUT_LIMIT})


@dataclass(frozen=True, slots=True)
class Judgement:
    """`passed` of `total` checks passed; `label` is that of the first that did not. `evidence` is for a person."""

    label: Label
    passed: int = 0
    total: int = 1
    evidence: Mapping[str, str] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    """Of the candidate's processes."""

    @property
    def passes(self) -> bool:
        return self.label is Label.PASS and self.passed == self.total

    @property
    def compiles(self) -> bool:
        return self.label not in (Label.SYNTAX_ERROR, Label.NO_CODE)


class BadItemError(Exception):
    """The item cannot be judged as it is; the message names the field, never its content."""


def judge_load(result: RunResult, total: int) -> Judgement:
    """The judgement on a source that could not be loaded."""
    label = LABELS[result.ending]
    evidence = ending_evidence(result)
    if result.ending is Ending.EXITED and not result.detail:
        evidence["detail"] = "the process ended by itself, with code 0, before the code was loaded"
    return Judgement(Label.LOAD_ERROR if label is Label.CRASH else label, 0, total, evidence, result.cpu_seconds)


def ending_evidence(result: RunResult) -> dict[str, str]:
    """How a process ended, for a person."""
    evidence = {"detail": result.detail or result.ending.value}
    if result.stderr:
        evidence["stderr"] = result.stderr[-500:].decode("utf-8", "replace")
    return evidence


class Tally:
    """Counts checks as they are made; the first that did not pass gives the label and the evidence."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._passed = 0
        self._label = Label.PASS
        self._evidence: Mapping[str, str] = {}
        self.cpu_seconds = 0.0

    def add(self, label: Label, evidence: Mapping[str, str]) -> None:
        if label is Label.PASS:
            self._passed += 1
        elif self._label is Label.PASS:
            self._label, self._evidence = label, evidence

    def spoil(self, label: Label, evidence: Mapping[str, str]) -> None:
        """Takes back what has passed: the process that said so was not sound."""
        self._passed = 0
        self._label, self._evidence = label, evidence

    @property
    def judgement(self) -> Judgement:
        return Judgement(self._label, self._passed, self._total, self._evidence, self.cpu_seconds)
