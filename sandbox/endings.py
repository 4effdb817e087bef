"""Decides how a run ended, from what its server, its owner and (least) itself say."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

from sandbox import frames, orders
from sandbox.results import CallOutcome, Ending, Limits, Raised, Returned

_MEMORY_SHARE = 0.9
"""A process that a signal ended with this share of its memory resident died for want of memory."""
_OF_MODULES = frozenset({"ModuleNotFoundError", "ImportError", "LookupError"})
"""What comes of a module that is not there; LookupError of that of an encoding."""
_MOST_NOTES = 1000
"""Of a process, besides an outcome for each call. Its owner reads them while others wait."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the owner ended the run."""

    ending: Ending
    detail: str = ""


@dataclass(slots=True)
class Notes:
    """What a process said of itself. A hostile one can say anything here; nothing of it makes a pass."""

    failure: Raised | None = None
    denied: bool = False
    wanted: list[str] = field(default_factory=list)
    """Modules that a sealed process has not got."""
    is_ready: bool = False
    outcomes: list[CallOutcome] = field(default_factory=list)
    compiled: str | None = None
    raised: list[Raised] = field(default_factory=list)
    """Of test code: what the candidate's calls raised."""
    verdict: list[str] = field(default_factory=list)
    """Of test code: the frame that tells how it ended."""
    waits: bool = False
    """Of test code: whether it waited for the candidate when it ended."""
    calls: int = 0
    """Of test code: how many calls of the candidate it made."""
    forged: str = ""
    """What is wrong with the notes, where no honest process could have written them."""


def read_notes(data: bytes, calls: int = 0) -> Notes:
    """Reads as far as it makes sense. calls: how many were asked for."""
    notes = Notes()
    try:
        for number, frame in enumerate(frames.split(data)):
            if number == _MOST_NOTES + calls:
                raise frames.FrameError("the program flooded the sandbox's own file")
            _read_note(frame, notes)
    except frames.FrameError as error:
        notes.forged = str(error)
    return notes


def _read_note(frame: list[str], notes: Notes) -> None:
    match frame:
        case ["failed", kind, message]:
            notes.failure = Raised(kind, message)
        case ["denied"]:
            notes.denied = True
        case ["wants", name]:
            notes.wanted.append(name)
        case ["ready"] if not notes.is_ready:
            notes.is_ready = True
        case ["compiled", text]:
            notes.compiled = text
        case ["candidate raised", kind, message]:
            notes.raised.append(Raised(kind, message))
        case ["finished", _, _] | ["broke", _, _, _, _, _] | ["gone", _, _, _]:
            notes.verdict = frame
        case ["returned", number, value] if _follows(number, notes) and value.isascii():
            notes.outcomes.append(Returned(value))
        case ["raised", number, kind, message] if _follows(number, notes):
            notes.outcomes.append(Raised(kind, message))
        case _:
            raise frames.FrameError("the program wrote to the sandbox's own file")


def _follows(number: str, notes: Notes) -> bool:
    """Whether an outcome is that of the next call."""
    return notes.is_ready and number == str(len(notes.outcomes))


def decide(
    ended: orders.Ended, output_bytes: int, limits: Limits, notes: Notes, stop: Stop | None = None
) -> tuple[Ending, str]:
    """How the run ended, and a sentence on it for a person. output_bytes: the longer of what it wrote."""
    if ended.cause == orders.FAILED:
        return Ending.INFRASTRUCTURE, "the sandbox could not start a process"
    if output_bytes > limits.output_bytes:
        return Ending.OUTPUT_LIMIT, f"wrote more than {limits.output_bytes} bytes"
    if ended.cause == orders.ASKED:
        return (stop.ending, stop.detail) if stop else (Ending.INFRASTRUCTURE, "was told to stop by nobody")
    if ended.cause == orders.WALL:
        return Ending.WALL_LIMIT, f"ran for more than {limits.wall_seconds:g} s"
    code = os.waitstatus_to_exitcode(ended.status)
    if ended.cause == orders.CPU or (code == -signal.SIGKILL and ended.cpu_seconds >= limits.cpu_seconds):
        return Ending.CPU_LIMIT, f"used more than {limits.cpu_seconds:g} s of CPU time"
    if ended.cause == orders.MEMORY:
        return Ending.MEMORY_LIMIT, "used up its memory, or its room on the disk"
    if code < 0:
        return _signalled(-code, ended, limits)
    if notes.forged:
        return Ending.TAMPERED, notes.forged
    return _exited(code, limits, notes)


def _signalled(number: int, ended: orders.Ended, limits: Limits) -> tuple[Ending, str]:
    if number == signal.SIGSYS:
        return Ending.TAMPERED, "made a system call that only an attack makes"
    if ended.peak_bytes >= _MEMORY_SHARE * limits.memory_bytes:
        return Ending.MEMORY_LIMIT, f"used up {limits.memory_bytes} bytes of memory"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return Ending.SIGNALLED, f"died by {name}"


def _exited(code: int, limits: Limits, notes: Notes) -> tuple[Ending, str]:
    failure = notes.failure
    if failure is None:
        return (Ending.EXITED, "") if code == 0 else (Ending.RAISED, f"exit code {code}")
    detail = f"{failure.type}: {failure.message}".removesuffix(": ")
    if failure.type == "MemoryError":
        return Ending.MEMORY_LIMIT, f"could not get memory within {limits.memory_bytes} bytes"
    if failure.type == "SyntaxError" and not notes.is_ready:
        return Ending.SYNTAX_ERROR, detail
    if notes.denied or (failure.type in _OF_MODULES and notes.wanted):
        return Ending.UNSUPPORTED, f"{detail} (not permitted here)"
    return Ending.RAISED, detail
