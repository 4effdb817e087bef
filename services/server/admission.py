"""Tells a caller that the pool is full or down, in gRPC's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from services.addresses import RETRY_AFTER
from services.server.errors import PoolDownError, PoolFullError
from services.server.intake import Intake


@asynccontextmanager
async def refusals(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Ends the call with RESOURCE_EXHAUSTED and a hint where the block finds the pool full; where down, with UNAVAILABLE."""
    try:
        yield
    except PoolFullError as full:
        milliseconds = str(round(1000 * full.retry_after_seconds))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", ((RETRY_AFTER, milliseconds),))
    except PoolDownError:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no worker process is alive; the service tries to start one")


@asynccontextmanager
async def admission(intake: Intake, count: int, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """`intake.admit(count)` for a servicer, with `refusals`."""
    async with refusals(context):
        with intake.admit(count):
            yield
