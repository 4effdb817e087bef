"""Scores what comes over HTTP by the scoring services, and refuses what would make it hold too much."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import grpc

from services.addresses import SCORERS, address_of
from services.client.async_scoring import AsyncScoringClient
from services.client.channel import ServiceError
from services.http.bodies import ScorerBody
from services.rewards import Asking, AsyncRewards, Plan, Reward
from services.server.metrics import ITEMS_IN_FLIGHT
from services.verdicts import ErrorReason

RETRY_AFTER_SECONDS = 1
PATIENCE_SECONDS = 2.0
PROBE_SECONDS = 2.0

Answer = TypeVar("Answer")


class RefusedError(Exception):
    """A request that gets no answer but a status: what is wrong, and whether to come back."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gateway:
    """The scorers of a plan; lives in one loop."""

    def __init__(self, plan: Plan, addresses: Mapping[str, str], items_limit: int) -> None:
        """
        addresses: of scorers that are not at their usual address.
        items_limit: items under way before others are refused.
        Raises services.addresses.UnknownAddressError for a scorer of one's own without an address.
        """
        self.plan = plan
        told = tuple(dict.fromkeys([*(one for route in plan.routes.values() for one in route), *addresses]))
        # the judge runs only where there is a model for it to ask
        usual = tuple(name for name in SCORERS if name != "judge" or os.environ.get("ASSAY_JUDGE_ADDRESS"))
        self.scorers = told or usual
        self._rewards = AsyncRewards(plan, addresses, patience_seconds=PATIENCE_SECONDS)
        self._probes = {
            name: AsyncScoringClient(name, addresses.get(name) or address_of(name), patience_seconds=0.0)
            for name in self.scorers
        }
        self._known = {*SCORERS, *self.scorers}
        self._items_limit = items_limit
        self._items = 0

    async def close(self) -> None:
        """Closes all channels."""
        await self._rewards.close()
        for probe in self._probes.values():
            await probe.close()

    async def probe(self) -> list[ScorerBody]:
        """What each scorer says of itself now, or that it does not answer."""
        return list(await asyncio.gather(*(self._describe(name, probe) for name, probe in self._probes.items())))

    async def _describe(self, name: str, probe: AsyncScoringClient) -> ScorerBody:
        try:
            return ScorerBody.of(name, await probe.describe(PROBE_SECONDS))
        except ServiceError as error:
            return ScorerBody(name=name, ready=False, message=str(error))

    async def score(
        self,
        askings: Sequence[Asking],
        timeout_seconds: float,
        weights: Mapping[str, float] | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[Reward]:
        """A reward for each, in order; weights and options are the plan's where they are None.

        Raises RefusedError: 422 for a domain that nobody scores and options that a scorer refuses, 429 where too many items
        are under way, 502 for an address that is none of a scoring service, 503 where nothing could be scored because the
        scorers are full or away.
        """
        plan = self.plan
        if weights is not None or options is not None:
            plan = replace(
                plan, weights=weights if weights is not None else plan.weights, options=options or plan.options
            )
        for place, asking in enumerate(askings):
            if not self._known.issuperset(plan.scorers(asking.domain)):
                known = ", ".join({**plan.routes, **dict.fromkeys(sorted(self._known))})
                raise RefusedError(422, f"items.{place}.domain: nobody scores it; there are {known}")
        with self._admitted(len(askings)):
            try:
                found = await self._rewards.score(askings, timeout_seconds, plan)
            except ServiceError as error:
                mine = error.code is grpc.StatusCode.INVALID_ARGUMENT
                raise RefusedError(422 if mine else 502, error.details if mine else str(error)) from error
            except (
                ValueError
            ) as error:  # two scorers of one domain with the same component; options that JSON cannot hold
                raise RefusedError(422, str(error)) from error
        rewards = [found[asking.item.id] for asking in askings]
        if rewards and all(_turned_away(reward) for reward in rewards):
            raise RefusedError(503, "; ".join(dict.fromkeys(rewards[0].scored.messages.values())))
        return rewards

    @contextmanager
    def _admitted(self, count: int):
        if self._items and self._items + count > self._items_limit:
            raise RefusedError(429, f"{self._items} items are under way, and this server takes {self._items_limit}")
        self._items += count
        ITEMS_IN_FLIGHT.set(self._items)
        try:
            yield
        finally:
            self._items -= count
            ITEMS_IN_FLIGHT.set(self._items)


def _turned_away(reward: Reward) -> bool:
    """Whether no scorer of the item could be reached or had room."""
    missing = reward.scored.missing.values()
    return not reward.scored.components and bool(missing) and set(missing) == {ErrorReason.UNAVAILABLE}


async def unless_gone(receive: Callable[[], Awaitable[Mapping[str, Any]]], work: Awaitable[Answer]) -> Answer | None:
    """The work's result; None where the caller went away first, with the work cancelled.

    receive: of the request's ASGI connection, whose body has been read.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
