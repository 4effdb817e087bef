"""Limits of a run and what comes back from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum

MIN_MEMORY_BYTES = 8 << 20
"""Below this the interpreter itself gets into trouble."""
MAX_LIMIT = 1 << 48
"""Of every limit: what the kernel's numbers hold, sums included."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use. Raises ValueError, which names the field, for anything but positive finite numbers."""

    cpu_seconds: float = 5.0
    """CPU time of the whole process tree."""
    wall_seconds: float = 20.0
    """Time on the wall, from the start of the process. Keep it loose: on a busy machine it fails correct programs."""
    memory_bytes: int = 512 << 20
    """Address space of a process beyond what its server has loaded, at least `MIN_MEMORY_BYTES`; in SUBPROCESS also what
    all processes of the run have in memory."""
    output_bytes: int = 1 << 20
    """Bytes kept of stdout and of stderr, each, and what the values of all calls may come to. More is OUTPUT_LIMIT."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name} is {value}; it must be a positive finite number")
            if value > MAX_LIMIT:
                raise ValueError(f"{field.name} is {value}; it must be at most {MAX_LIMIT}")
        if self.memory_bytes < MIN_MEMORY_BYTES:
            raise ValueError(f"memory_bytes is {self.memory_bytes}; it must be at least {MIN_MEMORY_BYTES}")


class Ending(StrEnum):
    """How a process ended. Everything except INFRASTRUCTURE is the program's own doing."""

    EXITED = "EXITED"
    """Exit code 0."""
    SYNTAX_ERROR = "SYNTAX_ERROR"
    RAISED = "RAISED"
    """An uncaught exception, or an exit code other than 0."""
    SIGNALLED = "SIGNALLED"
    """Died by a signal that was not the sandbox's."""
    CPU_LIMIT = "CPU_LIMIT"
    WALL_LIMIT = "WALL_LIMIT"
    MEMORY_LIMIT = "MEMORY_LIMIT"
    OUTPUT_LIMIT = "OUTPUT_LIMIT"
    TAMPERED = "TAMPERED"
    """Broke the protocol, or made a system call that only an attack makes."""
    UNSUPPORTED = "UNSUPPORTED"
    """Failed for want of what its kind of process does not permit (files, processes, a module), or what is not here."""
    INFRASTRUCTURE = "INFRASTRUCTURE"
    """The sandbox failed; the program may be innocent."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A call that returned. `value` is a text of `sandbox/values.py`, written by whoever was called: not yet checked."""

    value: str


@dataclass(frozen=True, slots=True)
class Raised:
    """A call that raised. `type` is the nearest built-in class, `NotPlainError`, `BeyondBoundsError` or `NotDefinedError`."""

    type: str
    message: str


CallOutcome = Returned | Raised


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that has ended."""

    ending: Ending
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    """Exit code, or minus the signal number."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    """From the start of the source to the end of the program."""
    peak_memory_bytes: int = 0
    """Largest resident set of a process."""
    detail: str = ""
    """For a person: the exception's type and message, or which limit was met."""
    outcomes: tuple[CallOutcome, ...] = ()
    """Of `Calls`: one for each call that ended, in order; fewer than calls where the process ended before."""
    kind: str = ""
    """The `sandbox.jobs.Kind` of the process."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """Test code that ran against a candidate, as far as it came.

    A pass needs all of: `finished`, `executed >= max(1, expected)`, `calls >= 1`, and both processes EXITED.
    """

    candidate: RunResult
    checker: RunResult
    finished: bool = False
    """The test code came to its end without raising; its process said so when it was asked to."""
    raised: Raised | None = None
    """What the test code raised."""
    failed_test: str = ""
    """Where there are several tests: the first that raised."""
    executed: int = 0
    """Assertions of the test code that were executed and held: `assert` statements and those of `unittest`."""
    expected: int = 0
    """How many `assert` statements the test code reaches however its calls come out, loops and branches left aside."""
    calls: int = 0
    """Calls that the candidate was asked for, counted between the two processes."""
    candidate_raised: tuple[Raised, ...] = ()
    """What the candidate's calls raised, the first of each type."""
    in_call: bool = False
    """Whether the candidate was computing when the trial ended before its time."""
