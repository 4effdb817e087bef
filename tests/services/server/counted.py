"""Counts in worker processes, for tests."""

import asyncio
import os

from services.server.counting import WorkerCounter, WorkerHistogram

CAKES = WorkerCounter("test_cakes_total", "Cakes.", ["kind"])
PLAIN = WorkerCounter("test_plain_total", "Without labels.")
SIZES = WorkerHistogram("test_cake_size", "Sizes.", ["kind"], buckets=(1.0, 2.0))


class Baker:
    """Counts as it is told."""

    def __init__(self, undeclared=False):
        PLAIN.add(100)  # while it is made
        self.other = WorkerCounter("test_undeclared_total", "Nobody else has it.") if undeclared else None

    def bake(self, payload):
        for kind, amount in payload:
            CAKES.add(amount, kind=kind)
            SIZES.observe(amount, kind=kind)
        if self.other is not None:
            self.other.add()
        return os.getpid()

    def burn(self, payload):
        CAKES.add(1, kind="burnt")
        raise RuntimeError


class AsyncBaker(Baker):
    """Side by side."""

    concurrency = 64

    async def slowly(self, payload):
        CAKES.add(1, kind="slow")
        await asyncio.sleep(600)
