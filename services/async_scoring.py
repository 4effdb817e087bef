"""Fans items out to scorers, as `services.scoring` does, for asyncio: a call that is cancelled ends in the services too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from services.client.async_scoring import AsyncScoringClient
from services.client.channel import ServiceUnavailableError
from services.scored import Scored, may_pass, merge, originals, with_known_checks
from services.scoring import LONGEST_PAUSE_SECONDS, RETRY_PAUSE_SECONDS
from services.verdicts import ErrorReason, Item, ItemError, Outcome
from services.wire import ScorerDescription


class AsyncScoring:
    """Clients of several scoring services, by name, in one loop. Arguments and answers are those of `Scoring`."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        retries: int = 2,
        patience_seconds: float = 10.0,
        hedge_seconds: float | None = None,
    ) -> None:
        self._clients = {
            name: AsyncScoringClient(name, address, patience_seconds=patience_seconds, hedge_seconds=hedge_seconds)
            for name, address in addresses.items()
        }
        self._retries = retries
        self._descriptions: dict[str, ScorerDescription] = {}

    async def __aenter__(self) -> AsyncScoring:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all channels."""
        for client in self._clients.values():
            await client.close()

    @property
    def descriptions(self) -> Mapping[str, ScorerDescription]:
        """What the scorers that were asked said of themselves, by name."""
        return self._descriptions

    @property
    def calls(self) -> dict[str, int]:
        """Calls made so far, by service."""
        return {name: client.calls for name, client in self._clients.items()}

    async def describe(self, scorer: str) -> ScorerDescription:
        """What a scorer says of itself; asked once. Raises ServiceError."""
        if scorer not in self._descriptions:
            self._descriptions[scorer] = await self._clients[scorer].describe()
        return self._descriptions[scorer]

    async def score(
        self,
        items: Mapping[str, Sequence[Item]],
        timeout_seconds: float,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Scored]:
        """As `Scoring.score`."""
        unknown = sorted({*items, *(options or {})} - self._clients.keys())
        if unknown:
            raise ValueError(f"no address for scorer {unknown[0]!r}; known: {', '.join(self._clients)}")
        deadline = time.monotonic() + timeout_seconds
        try:
            async with asyncio.TaskGroup() as group:
                asked = {
                    name: group.create_task(self._ask(name, items[name], deadline, (options or {}).get(name)))
                    for name in items
                }
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return merge({name: task.result() for name, task in asked.items()})

    async def _ask(
        self, scorer: str, items: Sequence[Item], deadline: float, options: Mapping[str, Any] | None
    ) -> dict[str, Outcome]:
        """One scorer's outcomes, after retries."""
        outcomes = await self._try(scorer, items, deadline, options)
        for attempt in range(self._retries):
            again = [item for item in items if may_pass(outcomes[item.id])]
            pause = min(RETRY_PAUSE_SECONDS * 2.0**attempt, LONGEST_PAUSE_SECONDS)
            if not again or time.monotonic() + pause >= deadline:
                break
            await asyncio.sleep(pause)
            outcomes |= await self._try(scorer, again, deadline, options)
        return outcomes

    async def _try(
        self, scorer: str, items: Sequence[Item], deadline: float, options: Mapping[str, Any] | None
    ) -> dict[str, Outcome]:
        """One scorer's outcomes, asked once."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                items = with_known_checks(items, (await self.describe(scorer)).check_keys)
        except ServiceUnavailableError as error:
            return {item.id: ItemError(ErrorReason.UNAVAILABLE, str(error)) for item in items}
        except TimeoutError:
            late = ItemError(ErrorReason.DEADLINE, f"the {scorer} service did not say in time what it measures")
            return {item.id: late for item in items}
        firsts = originals(items)
        asked = [item for item, first in zip(items, firsts, strict=True) if item is first]
        outcomes = await self._clients[scorer].score(asked, deadline - time.monotonic(), options=options)
        return {item.id: outcomes[first.id] for item, first in zip(items, firsts, strict=True)}
