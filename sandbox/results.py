"""Limits of a run and what comes back from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum

MIN_MEMORY_BYTES = 64 << 20
"""Below this the interpreter itself does not start."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use. Raises ValueError, which names the field, for anything but positive finite numbers."""

    cpu_seconds: float = 5.0
    """CPU time of the whole process tree."""
    wall_seconds: float = 20.0
    """Time on the wall. For a session: the time that its owner waits for it, not that in which it waits."""
    memory_bytes: int = 512 << 20
    """Address space of each process; at least `MIN_MEMORY_BYTES`."""
    output_bytes: int = 1 << 20
    """Bytes kept of stdout and of stderr, each. A program that writes more is killed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name} is {value}; it must be a positive finite number")
        if self.memory_bytes < MIN_MEMORY_BYTES:
            raise ValueError(f"memory_bytes is {self.memory_bytes}; it must be at least {MIN_MEMORY_BYTES}")


class Ending(StrEnum):
    """How a process ended. Everything except INFRASTRUCTURE is the program's own doing."""

    EXITED = "EXITED"
    """Exit code 0; for a session: its owner closed it."""
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
    """Broke the protocol, or its keeper."""
    INFRASTRUCTURE = "INFRASTRUCTURE"
    """The sandbox failed; the program may be innocent."""


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


class SessionEndedError(Exception):
    """The interpreter is gone, and with it the call."""

    def __init__(self, result: RunResult) -> None:
        super().__init__(f"the session ended: {result.ending} {result.detail}".rstrip())
        self.result = result
