"""Decides how a run ended, from what its keeper, its owner and (least) itself say."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from sandbox import frames
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE
from sandbox.results import Ending, Limits, RunResult

_CPU_SLACK_SECONDS = 0.1
"""The kernel's own limit counts in ticks, a report is exact."""
_MEMORY_SHARE = 0.9
"""A process that a signal ended with this share of its memory resident died for want of memory."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the launcher and the keeper reported.

    layers: names of the layers of confinement in force; missing: name and reason of those that are not.
    broken: why the sandbox failed, or "". The rest is only of worth where `complete`.
    """

    layers: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    broken: str = ""
    complete: bool = False
    status: int = 0
    cause: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """What the program said of its own failure; `type` is a built-in exception's name."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the owner ended the run."""

    ending: Ending
    detail: str = ""


def read_report(data: bytes) -> Report:
    """The report that a launcher wrote, as far as it got."""
    layers: tuple[str, ...] = ()
    missing: list[tuple[str, str]] = []
    broken = ""
    for kind, *fields in frames.split(data):
        if kind == "missing":
            missing.append((fields[0], fields[1]))
        elif kind == "confined":
            layers = tuple(fields)
        elif kind == "broken":
            broken = broken or fields[0]
        elif kind == "ended":
            status, cause, cpu, wall, peak = fields
            numbers = (int(status), cause, float(cpu), float(wall), int(peak))
            return Report(layers, tuple(missing), broken, True, *numbers)
    return Report(layers, tuple(missing), broken)


def result_of(
    report: Report, stdout: bytes, stderr: bytes, limits: Limits, stop: Stop | None, failure: Failure | None
) -> RunResult:
    """The result of a run whose processes are gone."""
    ending, detail = _ending(report, limits, stop, failure)
    return RunResult(
        ending=ending,
        stdout=stdout,
        stderr=stderr,
        exit_code=os.waitstatus_to_exitcode(report.status),
        cpu_seconds=report.cpu_seconds,
        wall_seconds=report.wall_seconds,
        peak_memory_bytes=report.peak_bytes,
        detail=detail,
    )


def _ending(report: Report, limits: Limits, stop: Stop | None, failure: Failure | None) -> tuple[Ending, str]:
    if report.broken:
        return Ending.INFRASTRUCTURE, report.broken
    if stop is not None and stop.ending in (Ending.OUTPUT_LIMIT, Ending.INFRASTRUCTURE):
        return stop.ending, stop.detail
    if not report.complete:
        return _lost_keeper(report, stop)
    if report.cause == "asked":
        return (stop.ending, stop.detail) if stop else (Ending.INFRASTRUCTURE, "the keeper was told to stop by nobody")
    if report.cause == "wall":
        return Ending.WALL_LIMIT, f"ran for more than {limits.wall_seconds:g} s"
    code = os.waitstatus_to_exitcode(report.status)
    killed_by_cpu_limit = code in (-signal.SIGXCPU, -signal.SIGKILL) and (
        report.cpu_seconds >= limits.cpu_seconds - _CPU_SLACK_SECONDS
    )
    if report.cause == "cpu" or killed_by_cpu_limit:
        return Ending.CPU_LIMIT, f"used more than {limits.cpu_seconds:g} s of CPU time"
    if code < 0:
        return _signalled(-code, report, limits)
    return _exited(code, limits, failure)


def _lost_keeper(report: Report, stop: Stop | None) -> tuple[Ending, str]:
    """The keeper is gone without a word: killed by the program, where nothing keeps the program from it, or not."""
    if stop is not None:
        return stop.ending, stop.detail
    if report.layers and not {NAMESPACES, USER_NAMESPACE, OWN_USER} & set(report.layers):
        return Ending.TAMPERED, "the program's keeper was killed"
    return Ending.INFRASTRUCTURE, "the sandbox's processes were killed"


def _signalled(number: int, report: Report, limits: Limits) -> tuple[Ending, str]:
    if report.peak_bytes >= _MEMORY_SHARE * limits.memory_bytes:
        return Ending.MEMORY_LIMIT, f"used up {limits.memory_bytes} bytes of memory"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return Ending.SIGNALLED, f"died by {name}"


def _exited(code: int, limits: Limits, failure: Failure | None) -> tuple[Ending, str]:
    if failure is None:
        return (Ending.EXITED, "") if code == 0 else (Ending.RAISED, f"exit code {code}")
    detail = f"{failure.type}: {failure.message}".removesuffix(": ")
    if failure.type == "MemoryError":
        return Ending.MEMORY_LIMIT, f"could not get memory within {limits.memory_bytes} bytes"
    if failure.type == "SyntaxError":
        return Ending.SYNTAX_ERROR, detail
    return Ending.RAISED, detail
