"""Whose turn it is at an engine that does one thing at a time: weights before samples, each in the order in which they came.

A trainer waits for its update, and whatever is sampled before it is sampled from weights that are a step older.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Belongs to one loop."""

    def __init__(self) -> None:
        self._taken = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def take(self, seconds: float | None = None, *, urgent: bool = False) -> AsyncIterator[None]:
        """The turn for as long as the block runs. Raises TimeoutError where it does not come within `seconds`."""
        if self._taken:
            await self._wait(self._urgent if urgent else self._others, seconds)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, line: deque[asyncio.Future[None]], seconds: float | None) -> None:
        place = asyncio.get_running_loop().create_future()
        line.append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException:
            if not place.cancelled():
                self._pass_on()  # it came in the moment in which nobody waited for it any more
            elif place in line:
                line.remove(place)
            raise

    def _pass_on(self) -> None:
        """To the next one, who finds it taken already, so that nobody comes in between."""
        for line in (self._urgent, self._others):
            while line:
                place = line.popleft()
                if not place.done():
                    place.set_result(None)
                    return
        self._taken = False
