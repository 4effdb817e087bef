"""One confined process on the owner's event loop: its output is drained and bounded, its end awaited and cleaned up.

Everything here happens in callbacks of the loop, so a run is cleaned up whether or not anybody still waits for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress

from sandbox import scratch
from sandbox.endings import Failure, Report, Stop, read_report, result_of
from sandbox.results import Ending, Limits, RunResult
from sandbox.spawn import spawn

_STOP_SECONDS = 2.0
"""How long a keeper may take to end a run before it is killed itself."""
_LATE_SECONDS = 10.0
"""How long after its wall limit a run is given up."""
_CHUNK_BYTES = 1 << 16


class Run:
    """A run from its start; must be made on a running event loop. Raises OSError where it cannot be started.

    `ended` is done when no process, descriptor or file of the run is left, except `channel`, which the caller closes.
    """

    def __init__(self, job: list[str], stdin: bytes, limits: Limits, keeper_wall_seconds: float) -> None:
        """keeper_wall_seconds: after this long the keeper ends the run; infinite where the owner keeps the time."""
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._stop: Stop | None = None
        self._is_over = False
        self._confined = spawn(job, stdin, limits, keeper_wall_seconds)
        self._output = {self._confined.stdout: bytearray(), self._confined.stderr: bytearray()}
        self._timers: list[asyncio.TimerHandle] = []
        if keeper_wall_seconds < float("inf"):
            self._timers.append(self._loop.call_later(keeper_wall_seconds + _LATE_SECONDS, self._give_up))
        for descriptor in self._output:
            self._loop.add_reader(descriptor, self._on_output, descriptor)
        self._loop.add_reader(self._confined.pidfd, self._on_end)
        self.ended: asyncio.Future[Report] = self._loop.create_future()

    @property
    def channel(self) -> socket.socket:
        return self._confined.channel

    async def wait(self) -> None:
        """Waits for the end; where it is cancelled it ends the run first."""
        try:
            await asyncio.wait([self.ended])  # unlike awaiting it, this leaves the future as it is on cancellation
        except BaseException:
            self.stop(Ending.INFRASTRUCTURE, "the owner gave up")
            await asyncio.wait([self.ended])
            raise

    def stop(self, ending: Ending, detail: str = "") -> None:
        """Ends the run with its whole process tree; the first reason given counts. Does nothing once it has ended."""
        if self._stop is None and not self._is_over:
            self._stop = Stop(ending, detail)
            os.close(self._confined.control)
            self._timers.append(self._loop.call_later(_STOP_SECONDS, self._kill))

    def result(self, failure: Failure | None = None) -> RunResult:
        """The result of the run, which has ended. failure: what the program said of it, if anything."""
        stdout, stderr = (bytes(output[: self._limits.output_bytes]) for output in self._output.values())
        return result_of(self.ended.result(), stdout, stderr, self._limits, self._stop, failure)

    def _give_up(self) -> None:
        self.stop(Ending.INFRASTRUCTURE, "the sandbox did not end the run in time")

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._confined.process.pid, signal.SIGKILL)

    def _on_output(self, descriptor: int) -> None:
        if self._take(descriptor) == b"":
            self._loop.remove_reader(descriptor)

    def _take(self, descriptor: int) -> bytes | None:
        """Keeps some of what the program wrote, as far as it may. Returns it, b"" at the end, None if nothing waits."""
        try:
            data = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return None
        output = self._output[descriptor]
        room = self._limits.output_bytes - len(output)
        output += data[:room]
        if len(data) > room:
            limit = Stop(Ending.OUTPUT_LIMIT, f"wrote more than {self._limits.output_bytes} bytes")
            self.stop(limit.ending, limit.detail)
            self._stop = limit  # even where another reason came first: the rest of its output is unknown
        return data

    def _on_end(self) -> None:
        confined = self._confined
        confined.process.wait()
        self._is_over = True  # from here on its process id may be somebody else's
        for timer in self._timers:
            timer.cancel()
        if self._stop is None:
            os.close(confined.control)
        for descriptor in self._output:
            while self._take(descriptor) and not self._exceeded:
                pass
        report = read_report(_read_all(confined.report))
        for descriptor in (*self._output, confined.pidfd, confined.report):
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        if confined.scratch.exists():
            removal = self._loop.run_in_executor(None, scratch.remove, confined.scratch)
            removal.add_done_callback(lambda _: self.ended.set_result(report))
        else:
            self.ended.set_result(report)

    @property
    def _exceeded(self) -> bool:
        return self._stop is not None and self._stop.ending is Ending.OUTPUT_LIMIT


def _read_all(descriptor: int) -> bytes:
    """What is in a pipe that nobody writes to any more."""
    data = b""
    with suppress(BlockingIOError):
        while part := os.read(descriptor, _CHUNK_BYTES):
            data += part
    return data
