"""Jobs over gRPC: takes submissions in, answers questions, and publishes what waits in the outbox."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from protos.gen.assay.v1 import jobs_pb2, jobs_pb2_grpc
from services.jobs.job import Job
from services.jobs.store import IdempotencyConflictError, JobNotFoundError, JobStore
from services.jobs.wire import event_to_wire, job_to_wire
from services.queue.outbox import publish_outbox
from services.server.logs import get_logger
from services.server.serve import Service

LOOK_SECONDS = 0.25
"""How often a watcher looks for new events."""
PUBLISH_SECONDS = 1.0
"""How often the outbox is looked at when no submission says that there is something in it."""
LONGEST_KEY = 128
DEFAULT_LIST, LONGEST_LIST = 50, 1000

_CURSOR = re.compile(r"\d{1,20}-\d{1,20}")


class JobsServicer(jobs_pb2_grpc.JobsServicer):
    """The five RPCs. The store blocks, so its calls run in threads."""

    def __init__(self, store: JobStore, draining: asyncio.Event) -> None:
        """`draining`: set when the service ends; watchers are then sent away to watch again."""
        self._store = store
        self._draining = draining
        self.submitted = asyncio.Event()
        """Set by a submission, for the publisher."""

    async def Submit(  # noqa: N802 - gRPC's name
        self, request: jobs_pb2.SubmitRequest, context: grpc.aio.ServicerContext
    ) -> jobs_pb2.Job:
        async with _refusals(context):
            if len(request.idempotency_key) > LONGEST_KEY:
                raise ValueError(f"idempotency_key is longer than {LONGEST_KEY} characters")
            job = await asyncio.to_thread(self._store.submit, request.config_json, request.idempotency_key)
        self.submitted.set()
        return job_to_wire(job)

    async def Get(  # noqa: N802
        self, request: jobs_pb2.GetJobRequest, context: grpc.aio.ServicerContext
    ) -> jobs_pb2.Job:
        async with _refusals(context):
            return job_to_wire(await asyncio.to_thread(self._store.get, request.id))

    async def List(  # noqa: N802
        self, request: jobs_pb2.ListJobsRequest, context: grpc.aio.ServicerContext
    ) -> jobs_pb2.ListJobsResponse:
        async with _refusals(context):
            if request.limit > LONGEST_LIST:
                raise ValueError(f"limit is {request.limit}; at most {LONGEST_LIST} jobs are listed")
            jobs = await asyncio.to_thread(self._store.list, request.limit or DEFAULT_LIST)
        return jobs_pb2.ListJobsResponse(jobs=[job_to_wire(job) for job in jobs])

    async def Cancel(  # noqa: N802
        self, request: jobs_pb2.CancelJobRequest, context: grpc.aio.ServicerContext
    ) -> jobs_pb2.Job:
        async with _refusals(context):
            return job_to_wire(await asyncio.to_thread(self._store.cancel, request.id))

    async def Watch(  # noqa: N802
        self, request: jobs_pb2.WatchRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[jobs_pb2.JobEvent]:
        async with _refusals(context):
            if request.after and not _is_cursor(request.after):
                raise ValueError("after is not the cursor of an event")
            after = request.after
            while True:
                # before the events are read, so that an end between the two is not overlooked
                ended = (await asyncio.to_thread(self._store.state, request.id)).final
                events = await asyncio.to_thread(self._store.events, request.id, after)
                for event in events:
                    yield event_to_wire(event)
                    after = event.cursor
                    if isinstance(event.what, Job) and event.what.state.final:
                        return
                if not events and (ended or request.history_only):
                    return
                if self._draining.is_set():
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is stopping; watch again")
                if not events:
                    await asyncio.sleep(LOOK_SECONDS)


def _is_cursor(text: str) -> bool:
    """Whether Redis takes it for the id of a stream's entry: two numbers below 2**64."""
    return _CURSOR.fullmatch(text) is not None and all(int(part) < 2**64 for part in text.split("-"))


@asynccontextmanager
async def _refusals(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Turns the store's exceptions into gRPC's codes."""
    code: Any = grpc.StatusCode
    try:
        yield
    except JobNotFoundError as error:
        await context.abort(code.NOT_FOUND, str(error.args[0]))
    except IdempotencyConflictError as error:
        await context.abort(code.ALREADY_EXISTS, str(error))
    except ValueError as error:
        await context.abort(code.INVALID_ARGUMENT, str(error))
    except RedisError as error:
        await context.abort(code.UNAVAILABLE, f"the job store is away ({type(error).__name__}); try again")


async def publish_jobs(service: Service, servicer: JobsServicer, store: JobStore, app: Celery) -> None:
    """Publishes the outbox, for ever; health says whether Redis could be reached."""
    reachable = True
    while True:
        servicer.submitted.clear()
        try:
            await asyncio.to_thread(publish_outbox, store, app)
        except (RedisError, OperationalError) as error:
            if reachable:
                get_logger().warning("Redis is away", reason=type(error).__name__)
            reachable = False
        else:
            reachable = True
        await service.set_serving(reachable)
        try:
            await asyncio.wait_for(servicer.submitted.wait(), PUBLISH_SECONDS)
        except TimeoutError:
            continue
