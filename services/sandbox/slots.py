"""Who may run now: as many as there are slots, the others wait, and beyond a bound they are refused.

A session holds a slot only while it computes. Where it waits for its owner (between calls, in a callback) it holds none,
so two sessions that belong together, a candidate and its checker, never wait for each other's slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from prometheus_client import Gauge, Histogram

from services.server.metrics import BUCKETS

_BUSY = Gauge("assay_sandbox_slots_busy", "Programs and sessions that compute now.")
_SESSIONS = Gauge("assay_sandbox_sessions", "Sessions that are open.")
_WAIT = Histogram("assay_sandbox_wait_seconds", "Time from admission to a slot.", buckets=BUCKETS)
_LEAST_HINT_SECONDS = 0.05
_MEMORY = 0.9
"""Share of the past in the running mean of how long a slot is held."""


class FullError(Exception):
    """Too many wait already. Another try may succeed after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("the sandbox is full")
        self.retry_after_seconds = retry_after_seconds


class Slots:
    """`count` slots, at most `queue_limit` runs that wait for one, at most `session_limit` open sessions."""

    def __init__(self, count: int, queue_limit: int, session_limit: int) -> None:
        self.count = count
        self._queue_limit = queue_limit
        self._session_limit = session_limit
        self._free = asyncio.Semaphore(count)
        self._admitted = 0
        self._sessions = 0
        self._mean_hold_seconds = 0.1

    @contextmanager
    def admit(self, runs: int) -> Iterator[None]:
        """Takes in `runs` programs; an idle sandbox takes in any number. Raises FullError."""
        if self._admitted and self._admitted + runs > self.count + self._queue_limit:
            raise FullError(self._hint())
        self._admitted += runs
        try:
            yield
        finally:
            self._admitted -= runs

    @contextmanager
    def admit_session(self) -> Iterator[None]:
        """Takes in a session. Raises FullError: waiting would hold up whoever has the first half of a pair open."""
        if self._sessions >= self._session_limit:
            raise FullError(self._hint())
        self._sessions += 1
        try:
            with _SESSIONS.track_inprogress():
                yield
        finally:
            self._sessions -= 1

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a slot, first come, first served, and holds it."""
        start = time.monotonic()
        async with self._free:
            began = time.monotonic()
            _WAIT.observe(began - start)
            try:
                with _BUSY.track_inprogress():
                    yield
            finally:
                held = time.monotonic() - began
                self._mean_hold_seconds = _MEMORY * self._mean_hold_seconds + (1 - _MEMORY) * held

    def _hint(self) -> float:
        waiting = max(self._admitted, self._sessions)
        return max(_LEAST_HINT_SECONDS, self._mean_hold_seconds * waiting / self.count)
