"""One interpreter, many calls: source executed once as a module, functions of it called with plain values.

    async with Session("def double(n): return 2 * n") as session:
        assert await session.call("double", [21]) == 42

The source may call back: each name in `callbacks` is a function in its module that waits for the owner's answer. Values
cross as texts of `sandbox/values.py`; `call` reads them, `call_encoded` leaves that to whoever is to judge them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from sandbox import frames
from sandbox.endings import Failure
from sandbox.results import CallOutcome, Ending, Limits, Raised, Returned, RunResult, SessionEndedError
from sandbox.run import Run
from sandbox.values import NotPlainError, decode, encode

Callback = Callable[[str, str], Awaitable[CallOutcome]]
"""Takes the texts of the positional and the keyword arguments."""

_DEATH_SECONDS = 0.5
"""A process that closes its channel has this long to end; one that lives on has closed it on purpose."""


class CallRaisedError(Exception):
    """The called function raised, or its result is no plain value; `outcome` says what."""

    def __init__(self, outcome: Raised) -> None:
        super().__init__(f"{outcome.type}: {outcome.message}")
        self.outcome = outcome


def plain_callback(function: Callable[..., object]) -> Callback:
    """A callback from a function of plain values that does not block."""

    async def callback(args: str, kwargs: str) -> CallOutcome:
        try:
            positional: Any = decode(args)
            named: Any = decode(kwargs)
            return Returned(encode(function(*positional, **named)))
        except Exception as error:
            return Raised(type(error).__name__, str(error))

    return callback


class Session:
    """An interpreter that lives as long as the context. One call at a time."""

    def __init__(
        self, source: str, limits: Limits | None = None, callbacks: Mapping[str, Callback] | None = None
    ) -> None:
        self._source = source
        self._limits = limits or Limits()
        self._callbacks = callbacks or {}
        self._wall_left = self._limits.wall_seconds
        self._failure: Failure | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Executes the source. Raises SessionEndedError where that fails, ValueError where the source is too long."""
        job = ["session", self._source, *self._callbacks]
        try:
            self._run = Run(job, b"", self._limits, float("inf"))
        except OSError as error:
            detail = f"the sandbox could not start a process: {error}"
            raise SessionEndedError(RunResult(Ending.INFRASTRUCTURE, detail=detail)) from error
        try:
            self._reader, self._writer = await asyncio.open_connection(sock=self._run.channel)
            await self._become_ready()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> RunResult:
        """Kills the interpreter and everything it started; says how the session ended, also when called again."""
        self._run.stop(Ending.EXITED, "closed")
        await self._run.wait()
        if self._writer is not None:
            self._writer.close()
        return self._run.result(self._failure)

    async def call(
        self,
        function: str,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
        timeout_seconds: float = 0.0,
    ) -> object:
        """Calls a function of the source with plain values; its plain result.

        timeout_seconds: wall limit for this call; 0 means what is left of the session's. Raises CallRaisedError where
        the function raised, SessionEndedError where the interpreter is gone, NotPlainError for arguments that are not
        plain; cancelling it, or any error but the first, ends the session.
        """
        text = encode(dict(kwargs)) if kwargs else "{}"
        outcome = await self.call_encoded(function, encode(list(args)), text, timeout_seconds)
        if isinstance(outcome, Raised):
            raise CallRaisedError(outcome)
        try:
            return decode(outcome.value)
        except NotPlainError as error:
            raise await self._tampered(str(error)) from error

    async def call_encoded(self, function: str, args: str, kwargs: str, timeout_seconds: float = 0.0) -> CallOutcome:
        """The same with texts in and out; the text that comes out was not looked at."""
        identity = secrets.token_hex(8)
        call_left = timeout_seconds or float("inf")
        loop = asyncio.get_running_loop()
        try:
            await self._send("call", identity, function, args, kwargs)
            while True:
                start = loop.time()
                message = await self._receive(call_left)
                call_left -= loop.time() - start
                if message[0] != "callback":
                    return await self._read_outcome(message, identity)
                await self._answer_callback(message)
        except BaseException:
            await self.close()
            raise

    async def _become_ready(self) -> None:
        message = await self._receive(float("inf"))
        if message[0] == "failed" and len(message) == 3:
            self._failure = Failure(message[1], message[2])
            await self._run.wait()
            raise SessionEndedError(self._run.result(self._failure))
        if message != ["ready"]:
            raise await self._tampered("wrote to the sandbox's channel before it was ready")

    async def _answer_callback(self, message: list[str]) -> None:
        callback = self._callbacks.get(message[2]) if len(message) == 5 else None
        if callback is None:
            raise await self._tampered("called back for something that was not offered")
        outcome = await callback(message[3], message[4])
        if isinstance(outcome, Returned):
            await self._send("returned", message[1], outcome.value)
        else:
            await self._send("raised", message[1], outcome.type, outcome.message)

    async def _read_outcome(self, message: list[str], identity: str) -> CallOutcome:
        match message:
            case ["returned", answered, value] if answered == identity:
                return Returned(value)
            case ["raised", answered, kind, text] if answered == identity:
                return Raised(kind, text)
        raise await self._tampered("wrote an answer that nobody had asked for")

    async def _send(self, *fields: str) -> None:
        writer = self._writer
        if writer is None:
            raise RuntimeError("the session was not opened")
        writer.write(frames.pack(*fields))
        try:
            await writer.drain()
        except ConnectionError:
            raise SessionEndedError(await self._death()) from None

    async def _receive(self, timeout_seconds: float) -> list[str]:
        """The next message. The time that it takes is the session's; raises SessionEndedError where none comes."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            async with asyncio.timeout(min(timeout_seconds, self._wall_left)):
                header = await self._reader.readexactly(frames.HEADER_BYTES)
                return frames.unpack(await self._reader.readexactly(frames.body_length(header)))
        except TimeoutError:
            self._run.stop(Ending.WALL_LIMIT, f"took more than {min(timeout_seconds, self._wall_left):g} s")
        except frames.FrameError as error:
            self._run.stop(Ending.TAMPERED, str(error))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise SessionEndedError(await self._death()) from None
        finally:
            self._wall_left -= loop.time() - start
        await self._run.wait()
        raise SessionEndedError(self._run.result())

    async def _tampered(self, detail: str) -> SessionEndedError:
        self._run.stop(Ending.TAMPERED, detail)
        await self._run.wait()
        return SessionEndedError(self._run.result())

    async def _death(self) -> RunResult:
        """The result after the channel was closed at the other end."""
        await asyncio.wait([self._run.ended], timeout=_DEATH_SECONDS)
        self._run.stop(Ending.TAMPERED, "closed its channel")
        await self._run.wait()
        return self._run.result()
