"""How much a service takes in at once: what comes beyond that is refused, so that no queue grows without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.server.errors import PoolFullError
from services.server.metrics import ITEMS_IN_FLIGHT


class Intake:
    """Counts items, also for `assay_items_in_flight`; takes in up to `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted = 0

    @contextmanager
    def admit(self, count: int = 1) -> Iterator[None]:
        """Takes in `count` items for as long as the block runs.

        Raises PoolFullError when that would be more than the limit; where there is nothing yet, any number is taken in.
        """
        if self._admitted and self._admitted + count > self._limit:
            raise PoolFullError
        self._admitted += count
        ITEMS_IN_FLIGHT.inc(count)
        try:
            yield
        finally:
            self._admitted -= count
            ITEMS_IN_FLIGHT.dec(count)
