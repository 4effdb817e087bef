"""Who may run now: as many as there are slots. The others wait, and beyond a bound they are refused.

Runs of a higher priority begin first. Within a priority the callers take turns, whatever each of them has sent: one that
sends a thousand runs does not hold up another that sends one. A caller's own runs begin in the order in which they came.
A steady stream of a higher priority holds up everything below it. There are as many slots again for short runs alone:
however many long ones there are, they hold half of the slots at most, and one less while there are short runs, which would
otherwise find every processor taken.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from prometheus_client import Gauge, Histogram

from services.server.metrics import BUCKETS

_BUSY = Gauge("assay_sandbox_slots_busy", "Runs that are going on now.")
_WAITING = Gauge("assay_sandbox_waiting", "Runs that wait for a slot.")
_WAIT = Histogram("assay_sandbox_wait_seconds", "Time from admission to a slot.", buckets=BUCKETS)
_LEAST_HINT_SECONDS = 0.05
_SHORT_SECONDS = 0.5
_QUIET_SECONDS = 0.1
_MEMORY = 0.9
"""Share of the past in the running mean of how long a slot is held."""


class FullError(Exception):
    """Too many wait already. Another try may succeed after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("the sandbox is full")
        self.retry_after_seconds = retry_after_seconds


class _Place:
    """In the queue of a caller."""

    __slots__ = ("is_short", "turn")

    def __init__(self, is_short: bool) -> None:
        self.is_short = is_short
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Slots:
    """`count` slots and as many again for short runs, and at most `queue_limit` runs that wait for one."""

    def __init__(self, count: int, queue_limit: int) -> None:
        self.count = count
        self._queue_limit = queue_limit
        self._busy = self._long = 0
        self._quiet_from = 0.0
        self._queues: dict[int, OrderedDict[str, deque[_Place]]] = {}
        self._admitted = 0
        self._mean_hold_seconds = 0.05

    @contextmanager
    def admit(self, runs: int) -> Iterator[None]:
        """Takes in `runs` runs; an idle sandbox takes in any number. Raises FullError."""
        if self._admitted and self._admitted + runs > self.count + self._queue_limit:
            raise FullError(max(_LEAST_HINT_SECONDS, self._mean_hold_seconds * self._admitted / self.count))
        self._admitted += runs
        try:
            yield
        finally:
            self._admitted -= runs

    @asynccontextmanager
    async def slot(self, caller: str = "", priority: int = 0, wall_seconds: float = math.inf) -> AsyncIterator[None]:
        """Waits for a slot in turn, and holds it. wall_seconds: how long it may be held; half a second at most is short."""
        start = time.monotonic()
        is_short = wall_seconds <= _SHORT_SECONDS
        with _WAITING.track_inprogress():
            await self._take(caller, priority, is_short)
        began = time.monotonic()
        _WAIT.observe(began - start)
        try:
            with _BUSY.track_inprogress():
                yield
        finally:
            held = time.monotonic() - began
            self._mean_hold_seconds = _MEMORY * self._mean_hold_seconds + (1 - _MEMORY) * held
            self._give_back(is_short)

    async def _take(self, caller: str, priority: int, is_short: bool) -> None:
        if self._has_room(is_short):
            self._hold(is_short)
            return
        place = _Place(is_short)
        self._queues.setdefault(priority, OrderedDict()).setdefault(caller, deque()).append(place)
        try:
            await place.turn
        except asyncio.CancelledError:
            if place.turn.done() and not place.turn.cancelled():  # it was given the slot in the same moment
                self._give_back(is_short)
            raise

    def _has_room(self, is_short: bool) -> bool:
        if self._busy == 2 * self.count:
            return False
        if is_short or self._long < max(1, self.count - 1):
            return True
        is_quiet = self._busy == self._long and time.monotonic() >= self._quiet_from
        return is_quiet and self._long < self.count

    def _hold(self, is_short: bool) -> None:
        self._busy += 1
        self._long += not is_short

    def _give_back(self, is_short: bool) -> None:
        self._busy -= 1
        self._long -= not is_short
        if is_short and self._busy == self._long:
            self._quiet_from = time.monotonic() + _QUIET_SECONDS
            asyncio.get_running_loop().call_later(_QUIET_SECONDS + 0.001, self._begin_next)
        self._begin_next()

    def _begin_next(self) -> None:
        if self._has_room(is_short=True):
            place = self._next(short_alone=not self._has_room(is_short=False))
            if place is not None:
                self._hold(place.is_short)
                place.turn.set_result(None)

    def _next(self, short_alone: bool) -> _Place | None:
        """Whose turn it is: the first of the caller that has waited longest since its last turn."""
        for priority in sorted(self._queues, reverse=True):
            callers = self._queues[priority]
            for caller, places in list(callers.items()):
                while places and places[0].turn.done():  # cancelled
                    places.popleft()
                if places and short_alone and not places[0].is_short:
                    continue
                del callers[caller]
                if places:
                    place = places.popleft()
                    if places:
                        callers[caller] = places
                    return place
            if not callers:
                del self._queues[priority]
        return None
