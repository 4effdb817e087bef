"""One Session call: messages of the client to calls of the interpreter, callbacks the other way round."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from protos.gen.assay.v1 import sandbox_pb2
from sandbox.results import CallOutcome, Limits, RunResult, SessionEndedError
from sandbox.session import Callback, Session
from services.sandbox.bounds import Bounds, RefusedError, check_call, check_callbacks, check_outcome, check_source
from services.sandbox.record import record
from services.sandbox.slots import Slots
from services.sandbox.wire import outcome_to_wire, result_to_wire

IDLE_SECONDS = 600.0
"""A client that is silent for this long has forgotten its session."""


async def serve_session(context: grpc.aio.ServicerContext, slots: Slots, bounds: Bounds) -> None:
    """Serves the call until the client closes it or the interpreter is gone. Raises RefusedError and FullError."""
    request = await _read(context)
    if request is None or request.WhichOneof("request") != "open":
        raise RefusedError("the first message of a session must be open")
    asked = request.open
    check_source(asked.source, "open.source")
    check_callbacks(list(asked.callbacks))
    limits = bounds.limits(asked.limits, "open.limits")
    with slots.admit_session():
        await _Call(context, slots, limits).serve(asked)


class _Call:
    """A session's call after it was admitted."""

    def __init__(self, context: grpc.aio.ServicerContext, slots: Slots, limits: Limits) -> None:
        self._context = context
        self._slots = slots
        self._limits = limits
        self._slot = AsyncExitStack()

    async def serve(self, asked: sandbox_pb2.OpenSession) -> None:
        callbacks = {name: self._callback(name) for name in asked.callbacks}
        session = Session(asked.source, self._limits, callbacks)
        await self._take_slot()
        try:
            await self._converse(session)
            result = await session.close()
        except SessionEndedError as error:
            result = error.result
        except BaseException:  # the client is gone, or broke the rules
            self._record(asked, await session.close())
            raise
        finally:
            await self._leave_slot()
        self._record(asked, result)
        ended = sandbox_pb2.SessionEnded(result=result_to_wire("", result))
        await self._context.write(sandbox_pb2.SessionResponse(ended=ended))

    async def _converse(self, session: Session) -> None:
        """Opens the session, in the slot that is held, and answers calls until the client sends no more."""
        await session.open()
        await self._leave_slot()
        await self._context.write(sandbox_pb2.SessionResponse(ready=sandbox_pb2.SessionReady()))
        while (request := await _read(self._context)) is not None:
            if request.WhichOneof("request") != "call":
                raise RefusedError("a message between calls must be call")
            call = request.call
            check_call(call)
            await self._take_slot()
            outcome = await session.call_encoded(call.function, call.args, call.kwargs or "{}", call.timeout_seconds)
            await self._leave_slot()
            await self._context.write(sandbox_pb2.SessionResponse(call_outcome=outcome_to_wire(outcome)))

    def _callback(self, name: str) -> Callback:
        async def callback(args: str, kwargs: str) -> CallOutcome:
            await self._leave_slot()
            asked = sandbox_pb2.CallFunction(function=name, args=args, kwargs=kwargs)
            await self._context.write(sandbox_pb2.SessionResponse(callback=asked))
            request = await _read(self._context)
            if request is None or request.WhichOneof("request") != "callback_outcome":
                raise RefusedError("the message after a callback must be callback_outcome")
            outcome = check_outcome(request.callback_outcome)
            await self._take_slot()
            return outcome

        return callback

    async def _take_slot(self) -> None:
        await self._slot.enter_async_context(self._slots.slot())

    async def _leave_slot(self) -> None:
        await self._slot.aclose()

    def _record(self, asked: sandbox_pb2.OpenSession, result: RunResult) -> None:
        record("session", "", asked.trace_id, self._limits, result)


async def _read(context: grpc.aio.ServicerContext) -> sandbox_pb2.SessionRequest | None:
    """The client's next message; None where it sends no more or has forgotten the session."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            request: Any = await context.read()
    except TimeoutError:
        return None
    return request if isinstance(request, sandbox_pb2.SessionRequest) else None  # grpc.aio.EOF
