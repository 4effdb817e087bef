"""The gRPC face of the sandbox library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from protos.gen.assay.v1 import sandbox_pb2, sandbox_pb2_grpc
from sandbox.jobs import Kind, Trial
from sandbox.pool import Sandbox
from sandbox.results import RunResult, TrialResult
from services.addresses import RETRY_AFTER
from services.sandbox.bounds import Bounds, RefusedError, check_request, check_run
from services.sandbox.evidence import Evidence
from services.sandbox.record import Timing, record
from services.sandbox.shadow import Shadow
from services.sandbox.slots import FullError, Slots
from services.sandbox.wire import Refusal, Run, outcome_to_wire

_STREAM_RUNS = 64
"""Runs of a stream that are taken in before the first has ended; the others stay with the client."""


class SandboxServicer(sandbox_pb2_grpc.SandboxServicer):
    """Execute and ExecuteStream over the slots of this process."""

    def __init__(
        self, sandbox: Sandbox, slots: Slots, bounds: Bounds, shadow: Shadow, evidence: Evidence | None = None
    ) -> None:
        self._sandbox = sandbox
        self._slots = slots
        self._bounds = bounds
        self._shadow = shadow
        self._evidence = evidence

    async def Execute(  # noqa: N802 - gRPC's name
        self, request: sandbox_pb2.ExecuteRequest, context: grpc.aio.ServicerContext
    ) -> sandbox_pb2.ExecuteResponse:
        try:
            runs = check_request(request, self._bounds)
            with self._slots.admit(len(runs)):
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._run(asked.id, run))
                        for asked, run in zip(request.runs, runs, strict=True)
                    ]
        except (RefusedError, FullError) as error:
            return await _refuse(context, error)
        outcomes = [outcome_to_wire(asked.id, task.result()) for asked, task in zip(request.runs, tasks, strict=True)]
        return sandbox_pb2.ExecuteResponse(outcomes=outcomes)

    async def ExecuteStream(  # noqa: N802
        self, request_iterator: AsyncIterator[sandbox_pb2.Run], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[sandbox_pb2.RunOutcome]:
        ended: asyncio.Queue[sandbox_pb2.RunOutcome | None] = asyncio.Queue()
        room = asyncio.Semaphore(_STREAM_RUNS)

        async def take(asked: sandbox_pb2.Run) -> None:
            try:
                await ended.put(await self._try(asked))
            finally:
                room.release()

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    async for asked in request_iterator:
                        await room.acquire()
                        group.create_task(take(asked))
            finally:
                await ended.put(None)

        reader = asyncio.create_task(read())
        try:
            while (outcome := await ended.get()) is not None:
                yield outcome
            await reader
        finally:
            reader.cancel()
            await asyncio.wait([reader])

    async def _try(self, asked: sandbox_pb2.Run) -> sandbox_pb2.RunOutcome:
        """What becomes of a run of a stream; a refusal is its own and not the stream's."""
        try:
            run = check_run(asked, self._bounds)
            with self._slots.admit(1):
                return outcome_to_wire(asked.id, await self._run(asked.id, run))
        except (RefusedError, FullError) as error:
            return outcome_to_wire(asked.id, Refusal(str(error), isinstance(error, FullError)))

    async def _run(self, name: str, run: Run) -> RunResult | TrialResult:
        admitted = time.monotonic()
        async with self._slots.slot(run.caller, run.priority, run.limits.wall_seconds):
            start = time.monotonic()
            if isinstance(run.job, Trial):
                result = await self._sandbox.trial(run.job, run.limits, run.kind)
            else:
                result = await self._sandbox.run(run.job, run.limits, run.kind)
            timing = Timing(start - admitted, time.monotonic() - start)
        kind = result.candidate.kind if isinstance(result, TrialResult) else result.kind
        layers = self._sandbox.layers(Kind(kind)) if kind else ()
        record(name, run, result, timing, layers)
        if self._evidence is not None:
            self._evidence.keep(run, result, layers)
        self._shadow.consider(run, result)
        return result


async def _refuse(context: grpc.aio.ServicerContext, error: RefusedError | FullError) -> Any:
    """Ends the call with the error in gRPC's words; does not return."""
    if isinstance(error, FullError):
        milliseconds = str(round(1000 * error.retry_after_seconds))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), ((RETRY_AFTER, milliseconds),))
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
