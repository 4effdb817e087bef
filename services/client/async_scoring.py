"""The client of a scoring service for asyncio: as `services.client.scoring`, and a call that is cancelled ends there too."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc.aio
from tenacity import AsyncRetrying

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.client.channel import ServiceError, open_async_channel, replicas, service_errors
from services.client.messages import MESSAGE_ITEMS, Asked, failed, pack, unpack
from services.client.patience import retrying
from services.client.scoring import MESSAGES_AT_ONCE, NextStub
from services.verdicts import Item, Outcome
from services.wire import ScorerDescription, description_from_wire


class AsyncScoringClient:
    """Calls one scoring service from the loop in which it is used first. Its arguments are those of `ScoringClient`."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        patience_seconds: float = 10.0,
        hedge_seconds: float | None = None,
        message_items: int = MESSAGE_ITEMS,
    ) -> None:
        self.name = name
        self.address = address
        self._addresses = replicas(address)
        self._patience_seconds = patience_seconds
        self._hedge_seconds = hedge_seconds
        self._message_items = message_items
        self._channels: list[grpc.aio.Channel] = []
        self._stubs: list[Any] = []
        self._turns = itertools.count()
        self._calls = 0

    async def __aenter__(self) -> AsyncScoringClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channels; a later call opens others."""
        channels, self._channels, self._stubs = self._channels, [], []
        for channel in channels:
            await channel.close()

    @property
    def calls(self) -> int:
        """ScoreBatch calls made so far, hedges and those that failed included."""
        return self._calls

    async def describe(self, timeout_seconds: float = 10.0, deadline: float = math.inf) -> ScorerDescription:
        """What the service measures.

        timeout_seconds: for one try. deadline: of `time.monotonic`, for all of them.
        Raises ServiceError; ServiceUnavailableError after the client's patience or the deadline.
        """
        again = AsyncRetrying(**retrying(deadline, self._patience_seconds))
        return await again(self._describe, self._turn(), timeout_seconds, deadline)

    async def _describe(self, next_stub: NextStub, timeout_seconds: float, deadline: float) -> ScorerDescription:
        seconds = max(0.0, min(timeout_seconds, deadline - time.monotonic()))
        with service_errors(self.name, self.address):
            return description_from_wire(await next_stub().Describe(scoring_pb2.DescribeRequest(), timeout=seconds))

    async def score(
        self,
        items: Sequence[Item],
        timeout_seconds: float,
        *,
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        fresh: bool = False,
    ) -> dict[str, Outcome]:
        """One outcome for each item, by id, in the order of the items; see `ScoringClient.score`."""
        answers = self.stream(items, timeout_seconds, options=options, weights=weights, fresh=fresh)
        outcomes = {item_id: outcome async for item_id, outcome in answers}
        return {item.id: outcomes[item.id] for item in items}

    async def stream(
        self,
        items: Sequence[Item],
        timeout_seconds: float,
        *,
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        fresh: bool = False,
    ) -> AsyncIterator[tuple[str, Outcome]]:
        """As `score`, but ids and outcomes come as soon as their message is answered."""
        deadline = time.monotonic() + timeout_seconds
        parcel = pack(items, Asked(options or {}, weights or {}, fresh), self._message_items)
        for unsendable in parcel.unsendable.items():
            yield unsendable
        waiting = iter(parcel.requests)
        running: set[asyncio.Task[dict[str, Outcome]]] = set()
        try:
            while True:
                for request in itertools.islice(waiting, MESSAGES_AT_ONCE - len(running)):
                    running.add(asyncio.create_task(self._send(request, deadline)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    for answer in task.result().items():
                        yield answer
        finally:
            await _cancel(running)

    async def _send(self, request: scoring_pb2.ScoreBatchRequest, deadline: float) -> dict[str, Outcome]:
        """The outcomes of one message's items."""
        again = AsyncRetrying(**retrying(deadline, self._patience_seconds))
        try:
            return unpack(self.name, request, await again(self._call, self._turn(), request, deadline))
        except ServiceError as error:
            return failed(request, error)

    async def _call(
        self, next_stub: NextStub, request: scoring_pb2.ScoreBatchRequest, deadline: float
    ) -> scoring_pb2.ScoreBatchResponse:
        """The first good answer of one call, or of two where the first takes long."""
        with service_errors(self.name, self.address):
            if self._hedge_seconds is None:
                return await self._ask(next_stub(), request, deadline)
            calls = {asyncio.create_task(self._ask(next_stub(), request, deadline))}
            try:
                done, running = await asyncio.wait(calls, timeout=self._hedge_seconds)
                if not done:
                    calls.add(asyncio.create_task(self._ask(next_stub(), request, deadline)))
                    done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                    if running and all(task.exception() for task in done):
                        done, running = await asyncio.wait(running)
                return min(done, key=lambda task: task.exception() is not None).result()
            finally:
                await _cancel(calls)

    async def _ask(
        self, stub: Any, request: scoring_pb2.ScoreBatchRequest, deadline: float
    ) -> scoring_pb2.ScoreBatchResponse:
        self._calls += 1
        return await stub.ScoreBatch(request, timeout=max(0.0, deadline - time.monotonic()))

    def _turn(self) -> NextStub:
        """As `ScoringClient._turn`."""
        turns = itertools.count(next(self._turns))

        def next_stub() -> Any:
            if not self._channels:
                self._channels = [open_async_channel(address) for address in self._addresses]
                self._stubs = [scoring_pb2_grpc.ScorerStub(channel) for channel in self._channels]
            return self._stubs[next(turns) % len(self._stubs)]

        return next_stub


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Ends the tasks that are not done, and looks at the exceptions of all, which asyncio would complain about."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
