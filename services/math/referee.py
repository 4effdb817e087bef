"""Has pairs compared by Math-Verify in processes that can be killed, and says whose fault it is when one is.

Two lanes, of one child each. A pair first gets a short time; what needs more waits for the second lane. So answers made to
take long hold up only each other, and an honest one waits for a few short turns at most.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from services.math.nursery import PACKET_BYTES
from services.server.call_time import extend
from services.server.frames import LENGTH, encode_frame

QUICK_CPU_SECONDS, FULL_CPU_SECONDS = 0.12, 0.36
WALL_SECONDS = 4.0
"""For one comparison in a child: many times its CPU time, for a machine that is busy elsewhere."""
START_SECONDS = 60.0
MAX_SERVED = 200
"""Pairs that one child compares: sympy remembers much, and the child's memory is limited."""

Finding = Literal[
    "same", "different", "unreadable", "timeout", "memory", "bad gold", "gold timeout", "gold memory", "lost"
]
"""`lost`: the child ended, twice, and neither the answer nor the gold had a part in it."""


class NurseryDownError(Exception):
    """The nursery could not be started, or has died under the request."""


@dataclass(eq=False, slots=True)
class _Child:
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Future[int | None]
    """Its exit code, negative for a signal; None where the nursery died first."""


class Nursery:
    """The parent's side of `services.math.nursery`. Made without a loop; used within one."""

    def __init__(self) -> None:
        """Starts the process, which takes two seconds. Raises NurseryDownError."""
        self._control = self._start()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forks: deque[asyncio.Future[int]] = deque()
        self._endings: dict[int, asyncio.Future[int | None]] = {}

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.math.nursery", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, "PYTHONHASHSEED": "0"},  # sympy's order of work depends on hashes
            )
        ours.settimeout(START_SECONDS)
        try:
            ready = ours.recv(PACKET_BYTES)
        except OSError:
            ready = b""
        if ready != b"ready":
            self.process.kill()
            self.process.wait()
            raise NurseryDownError("Math-Verify could not be loaded; see the messages above")
        ours.setblocking(False)
        return ours

    async def fork(self) -> _Child:
        """A new child. Raises NurseryDownError."""
        await self._attend()
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        forked: asyncio.Future[int] = loop.create_future()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            with theirs:
                socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
            self._forks.append(forked)
            pid = await asyncio.wait_for(forked, WALL_SECONDS)
        except (OSError, TimeoutError, NurseryDownError) as error:
            writer.close()
            raise NurseryDownError from error
        return _Child(pid, reader, writer, self._endings[pid])

    def kill(self, child: _Child) -> None:
        """Ends a child, if it has not ended yet."""
        with suppress(OSError):
            self._control.send(f"kill {child.pid}".encode())

    async def _attend(self) -> None:
        """Listens in the loop that runs, and starts the process anew where it has died."""
        loop = asyncio.get_running_loop()
        if self.process.poll() is not None:
            self.process.wait()
            self._fail()
            self._control.close()
            self._control = await asyncio.to_thread(self._start)
            self._loop = None
        if self._loop is not loop:
            self._loop = loop
            loop.add_reader(self._control.fileno(), self._listen, self._control, loop)

    def _listen(self, control: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        try:
            packet = control.recv(PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        match packet.split():
            case [b"forked", pid]:
                self._endings[int(pid)] = loop.create_future()
                forked = self._forks.popleft()
                if not forked.done():
                    forked.set_result(int(pid))
            case [b"ended", pid, status]:
                ended = self._endings.pop(int(pid), None)
                if ended is not None and not ended.done():
                    ended.set_result(int(status))
            case _:
                loop.remove_reader(control.fileno())
                self._fail()

    def close(self) -> None:
        """Ends the process and its children."""
        self._control.close()
        self.process.wait()

    def _fail(self) -> None:
        for forked in self._forks:
            if not forked.done():
                forked.set_exception(NurseryDownError())
        for ended in self._endings.values():
            if not ended.done():
                ended.set_result(None)
        self._forks.clear()
        self._endings.clear()


class _Lane:
    """A child and those who wait for it, in order."""

    def __init__(self, nursery: Nursery, cpu_seconds: float) -> None:
        self._nursery = nursery
        self._cpu_seconds = cpu_seconds
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._served = 0

    async def compare(self, request: dict[str, Any]) -> Finding:
        """The finding for a pair; tried twice where the child is lost through no fault of the pair's."""
        await self._wait_for_turn()
        try:
            for _ in range(2):
                finding = await self._try(request)
                if finding != "lost":
                    break
            return finding
        finally:
            self._turn.release()

    async def _wait_for_turn(self) -> None:
        """Time spent waiting here is not the item's."""
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._turn.acquire()
                return
            except TimeoutError:
                extend(1.0)

    async def _try(self, request: dict[str, Any]) -> Finding:
        finished = False
        gold_read = False
        try:
            if self._child is None:
                self._child, self._served = await self._nursery.fork(), 0
            self._served += 1
            child = self._child
            async with asyncio.timeout(WALL_SECONDS):
                child.writer.write(encode_frame({**request, "cpu_seconds": self._cpu_seconds}))
                first = await _receive(child.reader)
                if not first.get("gold"):
                    finished = "memory" not in first
                    return "bad gold" if finished else "gold memory"
                gold_read = True
                answer = await _receive(child.reader)
                finished = bool(answer) and "memory" not in answer
                return _finding(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            exit_code = await self._exit_code()
            if exit_code == -signal.SIGPROF:
                return "timeout" if gold_read else "gold timeout"
            return "lost"
        except (TimeoutError, NurseryDownError):
            return "lost"
        finally:
            if not finished or self._served >= MAX_SERVED:
                self._drop()

    async def _exit_code(self) -> int | None:
        if self._child is not None:
            with suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(self._child.ended), 1.0)
        return None

    def _drop(self) -> None:
        """Gives the child up, whatever it does: it died, or hangs, or its caller left."""
        if self._child is not None:
            self._nursery.kill(self._child)
            self._child.writer.close()
            self._child = None


async def _receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return json.loads(await reader.readexactly(length)) or {}


def _finding(answer: dict[str, Any]) -> Finding:
    if not answer:
        return "unreadable"
    if "memory" in answer:
        return "memory"
    if not answer["readable"]:
        return "unreadable"
    return "same" if answer["same"] else "different"


class Referee:
    """Decides pairs by Math-Verify. Made without a loop; used within one loop at a time."""

    def __init__(self) -> None:
        """Takes two seconds. Raises NurseryDownError."""
        self.nursery = Nursery()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lanes: tuple[_Lane, _Lane]

    async def compare(self, gold: str, answer: str, relative_tolerance: float) -> Finding:
        """Two normalised texts, compared."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._lanes = _Lane(self.nursery, QUICK_CPU_SECONDS), _Lane(self.nursery, FULL_CPU_SECONDS)
        request = {"gold": gold, "answer": answer, "relative_tolerance": relative_tolerance}
        quick, full = self._lanes
        finding = await quick.compare(request)
        return await full.compare(request) if finding in ("timeout", "gold timeout") else finding
