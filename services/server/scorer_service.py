"""Serves a scorer over gRPC. A service's `__main__` is one call:

serve_scorer("math", "services.math.scorer:MathScorer", about="Scores answers to mathematical questions.")
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.server.admission import refusals
from services.server.desk import Desk, refused
from services.server.errors import PoolDownError, PoolFullError
from services.server.options import ServiceParser, positive, redis_address, whole
from services.server.pool import WorkerPool
from services.server.serve import Service, serve
from services.server.shared_verdicts import SharedVerdicts
from services.server.verdict_cache import VerdictCache
from services.wire import description_to_wire

INTERFACE = "assay.v1.Scorer"
STREAM_CHUNKS = 8
"""Chunks of one stream that are scored at the same time; the next is read when one is answered."""
DESCRIBE_SECONDS = 60.0


def serve_scorer(
    name: str,
    scorer: str | Callable[[argparse.Namespace], str],
    *,
    about: str,
    add_options: Callable[[ServiceParser], None] = lambda _parser: None,
    kwargs: Callable[[argparse.Namespace], Mapping[str, Any]] = lambda _options: {},
    workers: int | None = None,
) -> None:
    """Serves a scorer until SIGTERM.

    scorer: import path `package.module:Class` of a `services.verdicts.Scorer`, or what finds it in the parsed flags; only
        worker processes import it.
    kwargs: the scorer's keyword arguments, of JSON's types, from the parsed flags.
    The rest is as in `services.server.serve.serve`.
    """

    def register(service: Service) -> AbstractAsyncContextManager[None]:
        path = scorer if isinstance(scorer, str) else scorer(service.options)
        return _scorer_service(service, path, kwargs(service.options))

    def add_all_options(parser: ServiceParser) -> None:
        add_options(parser)
        parser.add_option(
            "--cache-mb", type=whole, default=64, help="memory for verdicts to remember; 0 remembers none"
        )
        parser.add_option("--cache-url", type=redis_address, help="Redis that replicas share verdicts in, redis://...")
        parser.add_option("--cache-seconds", type=positive, default=604_800, help="how long they stay in Redis")

    serve(name, register, interfaces=[INTERFACE], about=about, add_options=add_all_options, workers=workers)


@asynccontextmanager
async def _scorer_service(service: Service, scorer: str, kwargs: Mapping[str, Any]) -> AsyncIterator[None]:
    """The `register` of a scorer: starts its workers and adds the servicer."""
    pool = WorkerPool(
        "services.server.scorer_host:host_scorer",
        {"scorer": scorer, "kwargs": dict(kwargs)},
        size=service.options.workers,
        limit=service.options.queue_limit,
        on_health=service.set_serving,
    )
    async with AsyncExitStack() as stack:
        await pool.start()
        stack.push_async_callback(pool.close)
        facts = await pool.call("describe", None, DESCRIBE_SECONDS)
        pool.kwargs["version"] = facts["version"]
        cache = None
        if facts["cacheable"] and service.options.cache_mb:
            shared = None
            if service.options.cache_url:
                shared = SharedVerdicts(service.options.cache_url, service.options.cache_seconds)
                stack.push_async_callback(shared.close)
            max_bytes = service.options.cache_mb << 20
            cache = VerdictCache(scorer, facts["version"], kwargs, max_bytes, shared)
        servicer = ScorerServicer(Desk(pool, facts, cache), service.draining)
        scoring_pb2_grpc.add_ScorerServicer_to_server(servicer, service.server)
        yield


class ScorerServicer(scoring_pb2_grpc.ScorerServicer):
    """ScoreBatch, ScoreStream and Describe of a scorer's desk."""

    def __init__(self, desk: Desk, draining: asyncio.Event) -> None:
        self._desk = desk
        self._draining = draining

    async def Describe(  # noqa: N802 - gRPC's name
        self, request: scoring_pb2.DescribeRequest, context: grpc.aio.ServicerContext
    ) -> scoring_pb2.Description:
        return description_to_wire(self._desk.description)

    async def ScoreBatch(  # noqa: N802
        self, request: scoring_pb2.ScoreBatchRequest, context: grpc.aio.ServicerContext
    ) -> scoring_pb2.ScoreBatchResponse:
        complaint = self._desk.complaint(request)
        if complaint:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, complaint)
        async with refusals(context):
            return await self._desk.answer(request, _seconds_left(context))

    async def ScoreStream(  # noqa: N802
        self, request_iterator: object, context: grpc.aio.ServicerContext
    ) -> None:
        """Answers chunks as they are done. A malformed chunk ends the stream, after the chunks before it."""
        slots = asyncio.Semaphore(STREAM_CHUNKS)
        writing = asyncio.Lock()

        async def answer(request: scoring_pb2.ScoreBatchRequest) -> None:
            try:
                try:
                    response = await self._desk.answer(request, _seconds_left(context))
                except PoolFullError:
                    response = refused(request.items, "the queue is full")
                except PoolDownError:
                    response = refused(request.items, "no worker process is alive")
                async with writing:
                    await context.write(response)
            finally:
                slots.release()

        complaint = ""
        stop = asyncio.create_task(self._draining.wait())
        try:
            async with asyncio.TaskGroup() as group:
                while (request := await _next_request(context, stop)) is not None:
                    complaint = request if isinstance(request, str) else self._desk.complaint(request)
                    if isinstance(request, str) or complaint:
                        break
                    await slots.acquire()
                    group.create_task(answer(request))
        finally:
            stop.cancel()
        if complaint:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, complaint)
        if self._draining.is_set():
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the service is stopping; send the rest of the stream again"
            )


def _seconds_left(context: grpc.aio.ServicerContext) -> float | None:
    """Time for scoring: what the call has left, less a little for the answer to get back."""
    left: float | None = context.time_remaining()
    return None if left is None else max(left - 0.25, 0.9 * left)


async def _next_request(
    context: grpc.aio.ServicerContext, stop: asyncio.Task[Any]
) -> scoring_pb2.ScoreBatchRequest | str | None:
    """The next message of a stream, or what is wrong with it; None at its end or when `stop` is done."""
    read = asyncio.create_task(context.read())
    try:
        await asyncio.wait({read, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not read.done():
            return None
    finally:
        read.cancel()
    try:
        request: Any = read.result()
    except DecodeError:
        return "the chunk is no ScoreBatchRequest"
    return None if request is grpc.aio.EOF else request  # pyright: ignore[reportAttributeAccessIssue]
