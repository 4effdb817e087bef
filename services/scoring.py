"""Fans items out to the scorers they need and gathers, for each item, its components and what is missing.

`services.async_scoring.AsyncScoring` is the same for asyncio.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from services.client.channel import ServiceUnavailableError
from services.client.scoring import ScoringClient
from services.scored import Scored, may_pass, merge, originals, with_known_checks
from services.verdicts import ErrorReason, Item, ItemError, Outcome
from services.wire import ScorerDescription

RETRY_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0


class Scoring:
    """Clients of several scoring services, by name. Threads may share it."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        retries: int = 2,
        patience_seconds: float = 10.0,
        hedge_seconds: float | None = None,
    ) -> None:
        """
        addresses: scorer name (`math`) to `host:port`, or several with commas between them.
        retries: how often items whose error may pass (`ErrorReason.may_retry`) are sent again.
        patience_seconds: how long a service that cannot be reached is tried again, each time.
        hedge_seconds: as in `ScoringClient`.
        """
        self._clients = {
            name: ScoringClient(name, address, patience_seconds=patience_seconds, hedge_seconds=hedge_seconds)
            for name, address in addresses.items()
        }
        self._retries = retries
        self._descriptions: dict[str, ScorerDescription] = {}

    def __enter__(self) -> Scoring:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all channels."""
        for client in self._clients.values():
            client.close()

    @property
    def descriptions(self) -> Mapping[str, ScorerDescription]:
        """What the scorers that were asked said of themselves, by name."""
        return self._descriptions

    @property
    def calls(self) -> dict[str, int]:
        """Calls made so far, by service."""
        return {name: client.calls for name, client in self._clients.items()}

    def describe(self, scorer: str, deadline: float = math.inf) -> ScorerDescription:
        """What a scorer says of itself, by `deadline` (of `time.monotonic`); asked once. Raises ServiceError."""
        if scorer not in self._descriptions:
            self._descriptions[scorer] = self._clients[scorer].describe(deadline=deadline)
        return self._descriptions[scorer]

    def score(
        self,
        items: Mapping[str, Sequence[Item]],
        timeout_seconds: float,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Scored]:
        """Asks all scorers at the same time and returns what they say, by item id.

        items: scorer name to what it is to score. An id under several names is one item that they all score; of its
            `checks` each gets the keys that it knows.
        timeout_seconds: for everything, retries included.
        options: scorer name to checks of every item that does not have the same key itself.
        Raises ValueError for a scorer without an address (in `items` or `options`), for ids twice under one scorer and for
        two scorers that return the same component; ServiceError where an address is not that of a scoring service.
        """
        unknown = sorted({*items, *(options or {})} - self._clients.keys())
        if unknown:
            raise ValueError(f"no address for scorer {unknown[0]!r}; known: {', '.join(self._clients)}")
        deadline = time.monotonic() + timeout_seconds
        with ThreadPoolExecutor(max(1, len(items))) as threads:
            answers = threads.map(lambda name: self._ask(name, items[name], deadline, (options or {}).get(name)), items)
            return merge(dict(zip(items, answers, strict=True)))

    def _ask(
        self, scorer: str, items: Sequence[Item], deadline: float, options: Mapping[str, Any] | None
    ) -> dict[str, Outcome]:
        """One scorer's outcomes, after retries."""
        outcomes = self._try(scorer, items, deadline, options)
        for attempt in range(self._retries):
            again = [item for item in items if may_pass(outcomes[item.id])]
            pause = min(RETRY_PAUSE_SECONDS * 2.0**attempt, LONGEST_PAUSE_SECONDS)
            if not again or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
            outcomes |= self._try(scorer, again, deadline, options)
        return outcomes

    def _try(
        self, scorer: str, items: Sequence[Item], deadline: float, options: Mapping[str, Any] | None
    ) -> dict[str, Outcome]:
        """One scorer's outcomes, asked once."""
        try:
            items = with_known_checks(items, self.describe(scorer, deadline).check_keys)
        except ServiceUnavailableError as error:
            return {item.id: ItemError(ErrorReason.UNAVAILABLE, str(error)) for item in items}
        firsts = originals(items)
        asked = [item for item, first in zip(items, firsts, strict=True) if item is first]
        outcomes = self._clients[scorer].score(asked, deadline - time.monotonic(), options=options)
        return {item.id: outcomes[first.id] for item, first in zip(items, firsts, strict=True)}
