"""One worker process as its pool sees it: how it is started, asked, killed and buried."""

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
from typing import Any

from services.server.errors import WorkerDiedError
from services.server.frames import LENGTH


class WorkerProcess:
    """One child process. `gone` is set when it takes no more calls, `reaped` when the process has ended.

    `calls` counts what it was asked since it was ready; `cause` says why it is gone.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_reaped: Callable[[WorkerProcess], None],
    ) -> None:
        self.pid = process.pid
        self.exit_code: int | None = None
        self.gone = asyncio.Event()
        self.reaped = asyncio.Event()
        self.cause = "died"
        self.calls = 0
        self._writer = writer
        self._reply: asyncio.Future[dict[str, Any]] | None = None
        self._tasks = (asyncio.create_task(self._listen(reader)), asyncio.create_task(self._reap(process, on_reaped)))

    @classmethod
    async def spawn(cls, on_reaped: Callable[[WorkerProcess], None]) -> WorkerProcess:
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
        return cls(process, reader, writer, on_reaped)

    async def ask(self, frame: bytes) -> dict[str, Any]:
        """Sends an encoded message and returns the answer. Raises WorkerDiedError."""
        if self.gone.is_set():
            raise WorkerDiedError
        self.calls += 1
        self._reply = asyncio.get_running_loop().create_future()
        with suppress(ConnectionError):  # `_listen` sees the end as well and says so
            self._writer.write(frame)
            await self._writer.drain()
        return await self._reply

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
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(WorkerDiedError())

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):  # the end, or a broken channel
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                reply = json.loads(await reader.readexactly(length))
                if self._reply is not None and not self._reply.done():
                    self._reply.set_result(reply)
        self._end()

    async def _reap(self, process: asyncio.subprocess.Process, on_reaped: Callable[[WorkerProcess], None]) -> None:
        self.exit_code = await process.wait()
        self._end()
        self.reaped.set()
        on_reaped(self)
