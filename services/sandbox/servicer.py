"""The gRPC face of the sandbox library."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio

from protos.gen.assay.v1 import sandbox_pb2, sandbox_pb2_grpc
from sandbox.execute import Program, execute
from sandbox.results import Limits
from services.addresses import RETRY_AFTER
from services.sandbox.bounds import Bounds, RefusedError, check_request
from services.sandbox.record import record
from services.sandbox.session_call import serve_session
from services.sandbox.slots import FullError, Slots
from services.sandbox.wire import result_to_wire


class SandboxServicer(sandbox_pb2_grpc.SandboxServicer):
    """Execute and Session over the slots of this process."""

    def __init__(self, slots: Slots, bounds: Bounds) -> None:
        self._slots = slots
        self._bounds = bounds

    async def Execute(  # noqa: N802 - gRPC's name
        self, request: sandbox_pb2.ExecuteRequest, context: grpc.aio.ServicerContext
    ) -> sandbox_pb2.ExecuteResponse:
        try:
            limits = check_request(request, self._bounds)
            with self._slots.admit(len(request.programs)):
                async with asyncio.TaskGroup() as group:
                    runs = [
                        group.create_task(self._run(program, limit))
                        for program, limit in zip(request.programs, limits, strict=True)
                    ]
        except (RefusedError, FullError) as error:
            return await refuse(context, error)
        return sandbox_pb2.ExecuteResponse(results=[run.result() for run in runs])

    async def _run(self, program: sandbox_pb2.Program, limits: Limits) -> sandbox_pb2.ProgramResult:
        start = time.monotonic()
        async with self._slots.slot():
            waited = time.monotonic() - start
            result = await execute(Program(program.source, program.stdin), limits)
        record("program", program.id, program.trace_id, limits, result, wait_seconds=round(waited, 4))
        return result_to_wire(program.id, result)

    async def Session(self, request_iterator: object, context: grpc.aio.ServicerContext) -> None:  # noqa: N802
        try:
            await serve_session(context, self._slots, self._bounds)
        except (RefusedError, FullError) as error:
            await refuse(context, error)


async def refuse(context: grpc.aio.ServicerContext, error: RefusedError | FullError) -> Any:
    """Ends the call with the error in gRPC's words; does not return."""
    if isinstance(error, FullError):
        milliseconds = str(round(1000 * error.retry_after_seconds))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), ((RETRY_AFTER, milliseconds),))
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
