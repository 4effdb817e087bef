"""One worker process as its pool sees it: how it is started, given calls, killed and buried."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from services.server.counting import absorb
from services.server.errors import WorkerDiedError
from services.server.frames import LENGTH, encode_frame

WITHDRAWAL_SECONDS = 2.0
"""A worker that does not answer for a call within this time after its caller left is killed; so is one that takes many calls
and does not answer for one that was late."""


@dataclass(eq=False, slots=True)
class Call:
    """A call on its way. `worker` is done when one has it, `reply` when that has answered or died."""

    number: int
    frame: bytes
    weight: int = 1
    alone: bool = False
    """Nothing else may be under way in its worker."""
    more_seconds: float = 0.0
    """Time that its worker has given it beyond its own."""
    on_part: Callable[[Any], None] | None = None
    """Is given what the method yields."""
    worker: asyncio.Future[WorkerProcess] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    reply: asyncio.Future[dict[str, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class WorkerProcess:
    """One child process. `gone` is set when it takes no more calls, `reaped` when the process has ended.

    `calls` counts what it was given since it was ready; `cause` says why it is gone. `concurrency` is how much weight of
    calls it takes at once, None where it takes one call at a time, whose cancelling costs the process.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_answer: Callable[[], None],
        on_reaped: Callable[[WorkerProcess], None],
    ) -> None:
        self.pid = process.pid
        self.exit_code: int | None = None
        self.gone = asyncio.Event()
        self.reaped = asyncio.Event()
        self.cause = "died"
        self.calls = 0
        self.concurrency: int | None = None
        self._writer = writer
        self._under_way: dict[int, Call] = {}
        self._on_answer = on_answer
        self._tasks = {asyncio.create_task(self._listen(reader)), asyncio.create_task(self._reap(process, on_reaped))}

    @classmethod
    async def spawn(cls, on_answer: Callable[[], None], on_reaped: Callable[[WorkerProcess], None]) -> WorkerProcess:
        """on_answer: called when the worker has room again. on_reaped: when the process has ended."""
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-u", "-m", "services.server.worker", str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # stderr: what a scorer prints must not disturb whoever reads the service's stdout
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                writer.close()
                raise
        return cls(process, reader, writer, on_answer, on_reaped)

    @property
    def load(self) -> int:
        """Weight of the calls under way, those included that were withdrawn and not answered yet."""
        return sum(call.weight for call in self._under_way.values())

    @property
    def is_alone(self) -> bool:
        """Whether it runs a call that wants to be alone."""
        return any(call.alone for call in self._under_way.values())

    def has_room(self, call: Call) -> bool:
        """Whether the call may be sent now."""
        if self.gone.is_set():
            return False
        if not self._under_way:
            return True
        return not (call.alone or self.is_alone) and self.load + call.weight <= (self.concurrency or 0)

    def send(self, call: Call) -> None:
        """Gives it a call."""
        self.calls += 1
        self._under_way[call.number] = call
        self._writer.write(call.frame)
        call.worker.set_result(self)

    def withdraw(self, call: Call, cause: str) -> asyncio.Task[None]:
        """Cancels a call that it has. The task ends when it is answered or the process was killed for it."""
        task = asyncio.create_task(self._withdraw(call, cause))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _withdraw(self, call: Call, cause: str) -> None:
        if self.concurrency is not None and not call.reply.done():
            self._writer.write(encode_frame({"cancel": call.number}))
        # One that takes a call at a time hears of nothing, but may be about to end; to start another may take longer.
        if not call.reply.done() and (self.concurrency is not None or cause == "cancelled"):
            await asyncio.wait([call.reply], timeout=WITHDRAWAL_SECONDS)
        if not call.reply.done():
            self.kill(cause)
        call.reply.exception()  # nobody else may look at it, which asyncio would complain about

    def kill(self, cause: str) -> None:
        """Kills the process and everything in its group."""
        if not self.gone.is_set():
            self.cause = cause
            self._end()

    def _end(self) -> None:
        if self.gone.is_set():  # the process id may belong to somebody else by now
            return
        self.gone.set()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._writer.close()
        calls = list(self._under_way.values())
        self._under_way.clear()
        for call in calls:
            call.reply.set_exception(WorkerDiedError(shared=len(calls) > 1))
            call.reply.exception()  # nobody may look at it any more, which asyncio would complain about

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):  # the end, or a broken channel
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                reply = json.loads(await reader.readexactly(length))
                absorb(reply.get("counts", ()))
                if "more" in reply:
                    if reply["call"] in self._under_way:
                        self._under_way[reply["call"]].more_seconds += reply["more"]
                    continue
                if "part" in reply:
                    if (call := self._under_way.get(reply["call"])) is not None and call.on_part is not None:
                        call.on_part(reply["part"])
                    continue
                call = self._under_way.pop(reply["call"], None)
                if call is not None:  # None where it was killed meanwhile
                    call.reply.set_result(reply)
                    self._on_answer()
        self._end()

    async def _reap(self, process: asyncio.subprocess.Process, on_reaped: Callable[[WorkerProcess], None]) -> None:
        self.exit_code = await process.wait()
        self._end()
        self.reaped.set()
        on_reaped(self)
