"""Runs whole programs: source and standard input in, what they wrote and how they ended out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from sandbox import frames
from sandbox.endings import Failure
from sandbox.results import Ending, Limits, RunResult
from sandbox.run import Run

_NOTE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Program:
    """Python source, run as `__main__`, and what it reads from standard input."""

    source: str
    stdin: bytes = b""


async def execute(program: Program, limits: Limits | None = None) -> RunResult:
    """Runs a program in a confined process of its own and returns when nothing of it is left.

    Cancelling it kills the program with everything it started. Raises ValueError where the source is longer
    than `sandbox.spawn.MAX_SOURCE_CHARACTERS`.
    """
    limits = limits or Limits()
    try:
        run = Run(["program", program.source], program.stdin, limits, limits.wall_seconds)
    except OSError as error:
        return RunResult(Ending.INFRASTRUCTURE, detail=f"the sandbox could not start a process: {error}")
    with run.channel:
        await run.wait()
        try:
            return run.result(_read_failure(run))
        except frames.FrameError as error:
            return replace(run.result(), ending=Ending.TAMPERED, detail=str(error))


def _read_failure(run: Run) -> Failure | None:
    """What the program said of its failure. Raises FrameError where it said something else."""
    data = b""
    with suppress(BlockingIOError):
        data = run.channel.recv(_NOTE_BYTES)
    for note in frames.split(data):
        if note[0] != "failed" or len(note) != 3:
            raise frames.FrameError("the program wrote to the sandbox's channel")
        return Failure(note[1], note[2])
    return None
