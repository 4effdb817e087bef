"""Says what confines a run on this machine, what does not, and what that leaves open."""

from __future__ import annotations

from sandbox.endings import Report
from sandbox.inside.jail import JAIL
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE
from sandbox.results import Ending, Limits, RunResult
from sandbox.run import Run

_ALWAYS = (
    "own process and session, an empty environment, no new privileges",
    "limits: CPU and wall time, address space, file size, open files, output",
    "the whole process tree is ended with the run",
)
_OPEN_WITHOUT_NAMESPACES = (
    "the network can be used",
    "other processes of the same user can be seen and killed, the program's keeper included",
)
_OPEN_WITHOUT_JAIL = ("files that the program's user may read can be read, and those that it may write written",)
_OPEN_ALWAYS = (
    "the kernel's system calls are not filtered",
    "the memory limit holds for each process, not for their sum",
)


async def examine() -> tuple[Report, RunResult]:
    """Runs an empty program; what its launcher reported and how it ended. Raises OSError where it cannot be started."""
    limits = Limits()
    run = Run(["program", ""], b"", limits, limits.wall_seconds)
    with run.channel:
        await run.wait()
    return run.ended.result(), run.result()


def describe(report: Report, result: RunResult) -> str:
    """The findings as text for a person."""
    lines = ["in force:"]
    lines += [f"  {text}" for text in (*_ALWAYS, *report.layers)]
    if report.missing:
        lines += ["", "not permitted here:"]
        lines += [f"  {layer}: {reason}" for layer, reason in report.missing]
    lines += ["", "not covered:"]
    lines += [f"  {text}" for text in open_ends(report)]
    if result.ending is not Ending.EXITED:
        lines += ["", f"runs do not work: {result.ending}: {result.detail}"]
    return "\n".join(lines)


def open_ends(report: Report) -> list[str]:
    """What a program can do that it should not, given the layers in force."""
    layers = set(report.layers)
    found: list[str] = []
    if not layers & {NAMESPACES, USER_NAMESPACE}:
        found += _OPEN_WITHOUT_NAMESPACES
    if JAIL not in layers:
        found += _OPEN_WITHOUT_JAIL
    if not layers & {OWN_USER, USER_NAMESPACE}:
        found.append("the number of processes is not limited")
    return [*found, *_OPEN_ALWAYS]
