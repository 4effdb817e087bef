"""Serves a scorer over gRPC. A service's `__main__` is one call:

serve_scorer("math", "services.math.scorer:MathScorer", about="Scores answers to mathematical questions.")
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.addresses import MAX_MESSAGE_BYTES
from services.server.admission import admission
from services.server.errors import PoolDownError, PoolFullError
from services.server.grading import Grader
from services.server.logs import get_logger
from services.server.metrics import ITEMS
from services.server.options import ServiceParser
from services.server.pool import WorkerPool
from services.server.scorer_host import MAX_ITEM_SECONDS
from services.server.serve import Service, serve
from services.verdicts import Component, ErrorReason, ItemError, Outcome
from services.wire import MAX_ITEMS, ScorerDescription, description_to_wire, outcome_to_wire

INTERFACE = "assay.v1.Scorer"
MAX_ID_CHARACTERS = 256
STREAM_CHUNKS = 8
"""Chunks of one stream that are scored at the same time; the next is read when one is answered."""
DESCRIBE_SECONDS = 60.0
MAX_LABELS = 50
"""Labels that are counted by name; a scorer with more of them has the rest counted as `other`."""


def serve_scorer(
    name: str,
    scorer: str,
    *,
    about: str,
    add_options: Callable[[ServiceParser], None] | None = None,
    kwargs: Callable[[argparse.Namespace], Mapping[str, Any]] = lambda _options: {},
    workers: int | None = None,
) -> None:
    """Serves a scorer until SIGTERM.

    scorer: import path `package.module:Class` of a `services.verdicts.Scorer`; only worker processes import it.
    kwargs: the scorer's keyword arguments, of JSON's types, from the parsed flags.
    The rest is as in `services.server.serve.serve`.
    """
    serve(
        name,
        lambda service: scorer_service(service, scorer, kwargs(service.options)),
        interfaces=[INTERFACE],
        about=about,
        add_options=add_options,
        workers=workers,
    )


@asynccontextmanager
async def scorer_service(service: Service, scorer: str, kwargs: Mapping[str, Any]) -> AsyncIterator[None]:
    """The `register` of a scorer: starts its workers and adds the servicer."""
    pool = WorkerPool(
        "services.server.scorer_host:host_scorer",
        {"scorer": scorer, "kwargs": dict(kwargs)},
        size=service.options.workers,
        limit=service.options.queue_limit,
        on_health=service.set_serving,
    )
    await pool.start()
    try:
        facts = await pool.call("describe", None, DESCRIBE_SECONDS)
        servicer = ScorerServicer(pool, facts, service.draining)
        scoring_pb2_grpc.add_ScorerServicer_to_server(servicer, service.server)
        yield
    finally:
        await pool.close()


class ScorerServicer(scoring_pb2_grpc.ScorerServicer):
    """ScoreBatch, ScoreStream and Describe over a pool of hosts of the scorer."""

    def __init__(self, pool: WorkerPool, facts: Mapping[str, Any], draining: asyncio.Event) -> None:
        """facts: what the host's `describe` returned."""
        self._pool = pool
        self._grader = Grader(pool, facts["batch_size"])
        self._timeout_seconds = float(facts["timeout_seconds"])
        self._description = ScorerDescription(
            name=facts["name"],
            version=facts["version"],
            components=tuple(Component(**component) for component in facts["components"]),
            checks_schema=facts["checks_schema"],
            max_items=MAX_ITEMS,
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        self._draining = draining
        self._labels: set[str] = set()

    async def Describe(  # noqa: N802 - gRPC's name
        self, request: scoring_pb2.DescribeRequest, context: grpc.aio.ServicerContext
    ) -> scoring_pb2.Description:
        return description_to_wire(self._description)

    async def ScoreBatch(  # noqa: N802
        self, request: scoring_pb2.ScoreBatchRequest, context: grpc.aio.ServicerContext
    ) -> scoring_pb2.ScoreBatchResponse:
        complaint = malformed(request)
        if complaint:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, complaint)
        async with admission(self._pool, len(request.items), context):
            return await self._score(request, context)

    async def ScoreStream(  # noqa: N802
        self, request_iterator: object, context: grpc.aio.ServicerContext
    ) -> None:
        """Answers chunks as they are done. A malformed chunk ends the stream, after the chunks before it."""
        slots = asyncio.Semaphore(STREAM_CHUNKS)
        writing = asyncio.Lock()

        async def answer(request: scoring_pb2.ScoreBatchRequest) -> None:
            try:
                response = await self._score_or_refuse(request, context)
                async with writing:
                    await context.write(response)
            finally:
                slots.release()

        complaint = ""
        stop = asyncio.create_task(self._draining.wait())
        try:
            async with asyncio.TaskGroup() as group:
                while (request := await _next_request(context, stop)) is not None:
                    complaint = malformed(request)
                    if complaint:
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

    async def _score_or_refuse(
        self, request: scoring_pb2.ScoreBatchRequest, context: grpc.aio.ServicerContext
    ) -> scoring_pb2.ScoreBatchResponse:
        try:
            with self._pool.admit(len(request.items)):
                return await self._score(request, context)
        except (PoolFullError, PoolDownError) as error:
            what = "the queue is full" if isinstance(error, PoolFullError) else "no worker process is alive"
            refusal = ItemError(ErrorReason.UNAVAILABLE, what)
            return self._response(request.items, [refusal] * len(request.items))

    async def _score(
        self, request: scoring_pb2.ScoreBatchRequest, context: grpc.aio.ServicerContext
    ) -> scoring_pb2.ScoreBatchResponse:
        fields = []
        refused: dict[str, Outcome] = {}
        for item in request.items:
            seconds = item.timeout_ms / 1000 or self._timeout_seconds
            if seconds > MAX_ITEM_SECONDS:
                complaint = f"timeout_ms is {item.timeout_ms}; it must be at most {MAX_ITEM_SECONDS * 1000:.0f}"
                refused[item.id] = ItemError(ErrorReason.INVALID_ITEM, complaint)
                continue
            fields.append(
                {
                    "id": item.id,
                    "prompt": item.prompt,
                    "response": item.response,
                    "checks_json": item.checks_json,
                    "trace_id": item.trace_id or item.id,
                    "timeout_seconds": seconds,
                }
            )
        outcomes = iter(await self._grader.grade(fields, _seconds_left(context)))
        return self._response(request.items, [refused.get(item.id) or next(outcomes) for item in request.items])

    def _response(
        self, items: Sequence[scoring_pb2.ScoreItem], outcomes: Sequence[Outcome]
    ) -> scoring_pb2.ScoreBatchResponse:
        """The answer on the wire; counts and logs each item."""
        log = get_logger()
        results = []
        for item, outcome in zip(items, outcomes, strict=True):
            results.append(outcome_to_wire(item.id, outcome))
            names = {"trace_id": item.trace_id or item.id, "item": item.id}
            if isinstance(outcome, ItemError):
                ITEMS.labels("error", outcome.reason.value).inc()
                log.warning("item not scored", reason=outcome.reason.value, message=outcome.message, **names)
            else:
                ITEMS.labels("scored", self._countable(outcome.label)).inc()
                log.info("item scored", label=outcome.label, **names)
        return scoring_pb2.ScoreBatchResponse(results=results)

    def _countable(self, label: str) -> str:
        if len(self._labels) < MAX_LABELS:
            self._labels.add(label)
        return label if label in self._labels else "other"


def malformed(request: scoring_pb2.ScoreBatchRequest) -> str:
    """What is wrong with the request as a whole; empty where nothing is."""
    if not 1 <= len(request.items) <= MAX_ITEMS:
        return f"items: there are {len(request.items)}; a request holds 1 to {MAX_ITEMS}"
    seen: set[str] = set()
    for place, item in enumerate(request.items):
        if not 1 <= len(item.id) <= MAX_ID_CHARACTERS:
            return f"items[{place}].id has {len(item.id)} characters; it must have 1 to {MAX_ID_CHARACTERS}"
        if item.id in seen:
            return f"items[{place}].id is {item.id!r}, which an earlier item has; ids must be unique within a request"
        seen.add(item.id)
    return ""


def _seconds_left(context: grpc.aio.ServicerContext) -> float | None:
    """Time for scoring: what the call has left, less a little for the answer to get back."""
    left: float | None = context.time_remaining()
    return None if left is None else max(left - 0.25, 0.9 * left)


async def _next_request(
    context: grpc.aio.ServicerContext, stop: asyncio.Task[Any]
) -> scoring_pb2.ScoreBatchRequest | None:
    """The next message of a stream; None at its end or when `stop` is done."""
    read = asyncio.create_task(context.read())
    try:
        await asyncio.wait({read, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not read.done():
            return None
    finally:
        read.cancel()
    request: Any = read.result()
    return None if request is grpc.aio.EOF else request  # pyright: ignore[reportAttributeAccessIssue]
