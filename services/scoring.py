"""Fans items out to the scorers they need and gathers, for each item, its components and what is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from services.client.channel import ServiceUnavailableError
from services.client.scoring import ScoringClient
from services.verdicts import ErrorReason, Item, ItemError, Outcome

RETRY_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Scored:
    """What the scorers say of one item. A scorer is in `missing` or has its label in `labels`, never both."""

    components: Mapping[str, float]
    """Full component name (`math/correctness`) to value."""
    missing: Mapping[str, str]
    """Scorer name to the `ErrorReason` why it gave no verdict."""
    labels: Mapping[str, str]
    """Scorer name to the label of its verdict."""


class Scoring:
    """Clients of several scoring services, by name. Threads may share it."""

    def __init__(self, addresses: Mapping[str, str], *, retries: int = 2, patience_seconds: float = 10.0) -> None:
        """
        addresses: scorer name (`math`) to `host:port`.
        retries: how often items whose error may pass (`ErrorReason.may_retry`) are sent again.
        patience_seconds: how long a service that cannot be reached is tried again, each time.
        """
        self._clients = {
            name: ScoringClient(name, address, patience_seconds=patience_seconds) for name, address in addresses.items()
        }
        self._retries = retries
        self._check_keys: dict[str, frozenset[str]] = {}

    def __enter__(self) -> Scoring:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all channels."""
        for client in self._clients.values():
            client.close()

    @property
    def calls(self) -> dict[str, int]:
        """Calls made so far, by service."""
        return {name: client.calls for name, client in self._clients.items()}

    def score(self, items: Mapping[str, Sequence[Item]], timeout_seconds: float) -> dict[str, Scored]:
        """Asks all scorers at the same time and returns what they say, by item id.

        items: scorer name to what it is to score. An id under several names is one item that they all score; of its
            `checks` each gets the keys that it knows.
        timeout_seconds: for everything, retries included.
        Raises ValueError for a scorer without an address, for ids twice under one scorer and for two scorers that
        return the same component; ServiceError where an address is not that of a scoring service.
        """
        unknown = sorted(items.keys() - self._clients.keys())
        if unknown:
            raise ValueError(f"no address for scorer {unknown[0]!r}; known: {', '.join(self._clients)}")
        deadline = time.monotonic() + timeout_seconds
        with ThreadPoolExecutor(max(1, len(items))) as threads:
            answers = threads.map(lambda name: self._ask(self._clients[name], items[name], deadline), items)
            return merge(dict(zip(items, answers, strict=True)))

    def _ask(self, client: ScoringClient, items: Sequence[Item], deadline: float) -> dict[str, Outcome]:
        """One scorer's outcomes, after retries."""
        outcomes = self._try(client, items, deadline)
        for attempt in range(self._retries):
            again = [item for item in items if _may_pass(outcomes[item.id])]
            pause = RETRY_PAUSE_SECONDS * 2.0**attempt
            if not again or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
            outcomes |= self._try(client, again, deadline)
        return outcomes

    def _try(self, client: ScoringClient, items: Sequence[Item], deadline: float) -> dict[str, Outcome]:
        """One scorer's outcomes, asked once. The samples of one prompt are often alike: what is equal is judged once."""
        try:
            items = self._with_own_checks(client, items)
        except ServiceUnavailableError as error:
            return {item.id: ItemError(ErrorReason.UNAVAILABLE, str(error)) for item in items}
        originals: dict[str, Item] = {}
        for item in items:
            originals.setdefault(_content(item), item)
        outcomes = client.score(list(originals.values()), deadline - time.monotonic())
        return {item.id: outcomes[originals[_content(item)].id] for item in items}

    def _with_own_checks(self, client: ScoringClient, items: Sequence[Item]) -> list[Item]:
        """The items with the checks that the scorer knows. Raises ServiceError where it cannot be asked."""
        if client.name not in self._check_keys:
            self._check_keys[client.name] = frozenset(client.describe().checks_schema.get("properties", {}))
        known = self._check_keys[client.name]
        return [replace(item, checks={k: v for k, v in item.checks.items() if k in known}) for item in items]


def _content(item: Item) -> str:
    """What an outcome depends on: everything but the names of the item."""
    return json.dumps([item.prompt, item.response, item.checks, item.timeout_seconds], sort_keys=True, default=str)


def _may_pass(outcome: Outcome) -> bool:
    return isinstance(outcome, ItemError) and outcome.reason.may_retry


def merge(answers: Mapping[str, Mapping[str, Outcome]]) -> dict[str, Scored]:
    """Outcomes by scorer and item id, turned round. Raises ValueError where two scorers return one component."""
    ids = dict.fromkeys(item_id for outcomes in answers.values() for item_id in outcomes)
    parts = {item_id: ({}, {}, {}) for item_id in ids}
    for scorer, outcomes in answers.items():
        for item_id, outcome in outcomes.items():
            components, missing, labels = parts[item_id]
            if isinstance(outcome, ItemError):
                missing[scorer] = outcome.reason.value
                continue
            twice = components.keys() & outcome.components.keys()
            if twice:
                raise ValueError(f"component {min(twice)!r} is returned by two scorers, {scorer!r} being one")
            components.update(outcome.components)
            labels[scorer] = outcome.label
    return {item_id: Scored(*parts[item_id]) for item_id in ids}
