"""What every service counts, for Prometheus. Other modules add their own with `prometheus_client` as usual."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import grpc
import grpc.aio
from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

REQUESTS = Counter("assay_requests_total", "Calls that ended, by method and gRPC status.", ["method", "code"])
REQUEST_SECONDS = Histogram("assay_request_seconds", "Time of a call, queue included.", ["method"], buckets=BUCKETS)
REQUESTS_IN_FLIGHT = Gauge("assay_requests_in_flight", "Calls being served.", ["method"])
ITEMS = Counter(
    "assay_items_total", "Items answered: `scored` with the label, or `error` with the reason.", ["outcome", "label"]
)
ITEMS_IN_FLIGHT = Gauge("assay_items_in_flight", "Items taken in and not yet answered.")
QUEUE_LENGTH = Gauge("assay_queue_length", "Calls that wait for a worker process.")
WORKERS_READY = Gauge("assay_workers_ready", "Worker processes that can take or are running a call.")
WORKER_RESTARTS = Counter("assay_worker_restarts_total", "Worker processes replaced, by cause.", ["cause"])


class RequestMetrics(grpc.aio.ServerInterceptor):
    """Counts and times every call except those of gRPC's own services (health, reflection).

    `idle` is set while none of them runs.
    """

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self.idle.set()
        self._running = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        name: str = handler_call_details.method  # pyright: ignore[reportAttributeAccessIssue]
        if handler is None or name.startswith("/grpc."):
            return handler
        method = name.rpartition("/")[2]
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._one_answer(handler.unary_unary, method), **codecs)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(self._one_answer(handler.stream_unary, method), **codecs)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._many_answers(handler.unary_stream, method), **codecs)
        return grpc.stream_stream_rpc_method_handler(self._many_answers(handler.stream_stream, method), **codecs)

    def _one_answer(self, behaviour: Any, method: str) -> Any:
        async def measured(request: Any, context: Any) -> Any:
            with self._measure(method, context):
                return await behaviour(request, context)

        return measured

    def _many_answers(self, behaviour: Any, method: str) -> Any:
        if not inspect.isasyncgenfunction(behaviour):
            return self._one_answer(behaviour, method)

        async def measured(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._measure(method, context):
                async with aclosing(behaviour(request, context)) as answers:
                    async for answer in answers:
                        yield answer

        return measured

    @contextmanager
    def _measure(self, method: str, context: Any) -> Iterator[None]:
        start = time.monotonic()
        code: Any = grpc.StatusCode.OK
        self._running += 1
        self.idle.clear()
        try:
            with REQUESTS_IN_FLIGHT.labels(method).track_inprogress():
                yield
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        except BaseException:
            code = context.code() or grpc.StatusCode.UNKNOWN
            raise
        finally:
            self._running -= 1
            if self._running == 0:
                self.idle.set()
            REQUESTS.labels(method, getattr(code, "name", str(code))).inc()
            REQUEST_SECONDS.labels(method).observe(time.monotonic() - start)
