"""Grades equal items once, however many callers wait for them at the same time.

An item under way is a flight. Who asks for an equal one waits for the flight that there is. A caller who leaves, at its
deadline or cancelled, takes nobody down; flights that began together end in the workers when nobody waits for any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.server.grading import Fields, Grader
from services.server.pool import WorkerPool
from services.verdicts import ErrorReason, ItemError, Outcome, Verdict

LATE = ItemError(ErrorReason.DEADLINE, "the call's deadline passed before this item had a verdict")

Key = tuple[bytes, float] | None
"""What an item's verdict depends on, and how long it may take; None for an item that no other equals."""
Keep = Callable[[bytes, Verdict], None]


@dataclass(eq=False, slots=True)
class _Flight:
    key: Key
    group: _Group
    outcome: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(eq=False, slots=True)
class _Group:
    """Flights that began together, by their items' ids: one task grades them."""

    flights: dict[str, _Flight] = field(default_factory=dict)
    waiters: int = 0
    task: asyncio.Task[None] | None = None


class Flights:
    """What is being graded in a pool's workers."""

    def __init__(self, pool: WorkerPool, grader: Grader, keep: Keep) -> None:
        """keep: called with the key and the verdict of an item that has a key, even where nobody waits any more."""
        self._pool = pool
        self._grader = grader
        self._keep = keep
        self._shared: dict[Key, _Flight] = {}

    async def score(self, items: Sequence[Fields], keys: Sequence[Key], seconds: float | None) -> list[Outcome]:
        """One outcome for each item, in order. What has none after `seconds` gets a DEADLINE error.

        items: their ids are unique. keys: one for each; items with the same key get the same outcome.
        Raises PoolFullError and PoolDownError, as `WorkerPool.admit` does, for the items that nobody grades yet.
        """
        group = _Group()
        mine: dict[Key, _Flight] = {}
        flights: list[_Flight] = []
        new: list[Fields] = []
        for item, key in zip(items, keys, strict=True):
            flight = None if key is None else self._shared.get(key) or mine.get(key)
            if flight is None:
                flight = group.flights[item["id"]] = _Flight(key, group)
                new.append(item)
                if key is not None:
                    mine[key] = flight
            flights.append(flight)
        if new:
            self._begin(group, new)
        return await self._wait(flights, seconds)

    async def _wait(self, flights: Sequence[_Flight], seconds: float | None) -> list[Outcome]:
        groups = {flight.group for flight in flights}
        for group in groups:
            group.waiters += 1
        try:
            if flights:
                await asyncio.wait([flight.outcome for flight in flights], timeout=seconds)
        finally:
            for group in groups:
                group.waiters -= 1
                if not group.waiters:
                    self._end(group)
        return [flight.outcome.result() if flight.outcome.done() else LATE for flight in flights]

    def _begin(self, group: _Group, items: Sequence[Fields]) -> None:
        """Has the items graded in a task of their own. Raises PoolFullError, PoolDownError."""
        admitted = self._pool.admit(len(items))
        admitted.__enter__()
        self._shared.update((flight.key, flight) for flight in group.flights.values() if flight.key is not None)

        def deliver(item_id: str, outcome: Outcome) -> None:
            flight = group.flights[item_id]
            self._forget(flight)
            if flight.key is not None and isinstance(outcome, Verdict):
                self._keep(flight.key[0], outcome)
            flight.outcome.set_result(outcome)

        def ended(task: asyncio.Task[None]) -> None:
            admitted.__exit__(None, None, None)
            error = None if task.cancelled() else task.exception()
            for flight in group.flights.values():
                self._forget(flight)
                if not flight.outcome.done():
                    flight.outcome.set_exception(error) if error else flight.outcome.set_result(LATE)

        group.task = asyncio.create_task(self._grader.grade(items, deliver))
        group.task.add_done_callback(ended)

    def _end(self, group: _Group) -> None:
        """Ends the group's work, unless it is done. Nobody joins it from here on."""
        if group.task is not None and not group.task.done():
            group.task.cancel()
            for flight in group.flights.values():
                self._forget(flight)

    def _forget(self, flight: _Flight) -> None:
        if self._shared.get(flight.key) is flight:
            del self._shared[flight.key]
