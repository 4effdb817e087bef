"""`python -m services.jobs`: takes training jobs in and tells what becomes of them. Needs `REDIS_URL`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protos.gen.assay.v1 import jobs_pb2_grpc
from services.jobs.servicer import JobsServicer, publish_jobs
from services.jobs.store import JobStore
from services.queue.app import make_app
from services.queue.connection import RedisAddressError, connect, redis_url
from services.server.errors import StartError
from services.server.serve import Service, serve

_PATIENCE_SECONDS = 2.0


@asynccontextmanager
async def register(service: Service) -> AsyncIterator[None]:
    try:
        url = redis_url()
        app = make_app(url)
    except (RedisAddressError, ValueError) as error:
        raise StartError(str(error)) from error
    with connect(url, _PATIENCE_SECONDS) as redis:
        store = JobStore(redis)
        servicer = JobsServicer(store, service.draining)
        jobs_pb2_grpc.add_JobsServicer_to_server(servicer, service.server)
        publisher = asyncio.create_task(publish_jobs(service, servicer, store, app))
        yield
        publisher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publisher


if __name__ == "__main__":
    serve(
        "jobs", register, interfaces=["assay.v1.Jobs"], about="Takes training jobs in and tells what becomes of them."
    )
