"""One confined process from its order to its result."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Self

from sandbox import frames, memory, orders
from sandbox.endings import Notes, Stop, decide, read_notes
from sandbox.jobs import Kind
from sandbox.results import Ending, Limits, RunResult
from sandbox.server import Server, ServerError

_BINARY_BYTES = 8 << 20
"""Largest program that a compiler may make."""
_NOTE_BYTES = 1 << 11
"""Of a call, besides its value: an exception's message at most."""
_CHECKER_BYTES = 4 << 20
_SCRATCH_FILE_BYTES = 16 << 20
_LEAST_FILE_BYTES = 64 << 10


class Process:
    """A process that was ordered. A context: at its end the process is gone, and so are its descriptors.

    Raises OSError where the machine is out of something, ServerError where the server is gone.
    """

    def __init__(
        self, server: Server, job: list[str], stdin: bytes, limits: Limits, peer: socket.socket | None = None
    ) -> None:
        """peer: in a trial, its end of the socket between the two processes; it stays the caller's."""
        self._server = server
        self._limits = limits
        self._what = job[0]
        self._calls = len(job) // 3 if self._what == "calls" else 0
        self._report_bytes = _report_bytes(job, limits)
        self._stop: Stop | None = None
        self._lost = ""
        self._ended: orders.Ended | None = None
        self._descriptors: list[int] = []
        try:
            self._descriptors.append(memory.sealed(frames.join_job(job)))
            # Test code reads no input: there its process leaves what it has compiled, and seals it (`assertions.py`).
            self._descriptors.append(memory.sealable() if self._what == "checker" else memory.sealed(stdin))
            self._descriptors += [memory.empty() for _ in range(3)]
            handed = [*self._descriptors, peer.fileno()] if peer else self._descriptors
            self._number, self._future = server.submit(
                handed, limits.cpu_seconds, limits.wall_seconds, limits.memory_bytes, self._file_bytes()
            )
        except BaseException:
            self._close()
            raise

    def _file_bytes(self) -> int:
        """How long a file of the process may grow: one byte more than it may write, so that it is found out."""
        most = [self._limits.output_bytes + 1]
        if self._report_bytes:
            most.append(self._report_bytes)
        if self._server.kind in (Kind.FILES, Kind.SUBPROCESS):
            most.append(_SCRATCH_FILE_BYTES)
        return max(*most, _LEAST_FILE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def stop(self, ending: Ending, detail: str = "") -> None:
        """Ends the process with its whole tree; the first reason given counts. Does nothing once it has ended."""
        if self._stop is None:
            self._stop = Stop(ending, detail)
            self._server.kill(self._number)

    async def wait(self) -> None:
        """Waits for the end; where it is cancelled it ends the process first."""
        try:
            self._ended = await asyncio.shield(self._future)
        except ServerError as error:
            self._lost = str(error)
        except BaseException:
            self.stop(Ending.INFRASTRUCTURE, "the owner gave up")
            await asyncio.wait([self._future])
            self._future.exception()
            raise

    @property
    def future(self) -> asyncio.Future[orders.Ended]:
        return self._future

    def notes(self) -> Notes:
        """What a process that has ended said of itself."""
        report = memory.content(self._descriptors[4], max(self._report_bytes, _LEAST_FILE_BYTES))
        if self._what != "checker":
            return read_notes(report, self._calls)
        state, frames_of_it = report[: frames.STATE_BYTES], report[frames.STATE_BYTES :]
        notes = read_notes(frames_of_it)
        notes.waits, notes.calls = state[:1] == frames.WAITS, int.from_bytes(state[1:], "big")
        compiled = memory.content_if_sealed(self._descriptors[1], _CHECKER_BYTES)
        notes.compiled = compiled.decode("ascii", "replace")
        return notes

    def result(self) -> RunResult:
        """The result of a process that was waited for."""
        kind = self._server.kind.value
        if self._ended is None:
            return RunResult(Ending.INFRASTRUCTURE, detail=f"its server was lost: {self._lost}", kind=kind)
        ended, limits = self._ended, self._limits
        notes = self.notes()
        stdout, stderr = self._descriptors[2:4]
        written = max(memory.size(stdout), memory.size(stderr))
        ending, detail = decide(ended, written, limits, notes, self._stop)
        output = memory.content(stdout, limits.output_bytes)
        if self._what == "compile" and ending is Ending.EXITED:
            output = (notes.compiled or "").encode("utf-8", "surrogatepass")
        return RunResult(
            ending=ending,
            stdout=output,
            stderr=memory.content(stderr, limits.output_bytes),
            exit_code=os.waitstatus_to_exitcode(ended.status),
            cpu_seconds=ended.cpu_seconds,
            wall_seconds=ended.wall_seconds,
            peak_memory_bytes=ended.peak_bytes,
            detail=detail,
            outcomes=tuple(notes.outcomes),
            kind=kind,
        )


def _report_bytes(job: list[str], limits: Limits) -> int:
    """How much a process may report to a file."""
    if job[0] == "calls":
        return (
            2 * limits.output_bytes + len(job) * _NOTE_BYTES
        )  # a value's text is escaped once more, which may double it
    return {"compile": 2 * _BINARY_BYTES, "checker": _CHECKER_BYTES}.get(job[0], 0)
