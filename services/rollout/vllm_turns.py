"""Many requests at once, or one update alone: what keeps weights still while they are sampled from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Requests that come while an update waits begin after it, so that an update never waits for ever."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._running = 0
        self._updates = 0  # the one that runs and those that wait
        self._alone = False

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Beside other requests, not beside an update."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._updates)
            self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            await self._tell()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """After the requests that have begun, and beside nothing."""
        self._updates += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._running and not self._alone)
                self._alone = True
            try:
                yield
            finally:
                self._alone = False
        finally:
            self._updates -= 1
            await self._tell()

    async def _tell(self) -> None:
        # shielded: a cancelled request must not leave the others waiting
        await asyncio.shield(asyncio.ensure_future(self._notify()))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
