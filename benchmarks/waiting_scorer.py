"""Scorers that wait, as one does that asks something far away; for `benchmarks.rollout_jobs`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from services.verdicts import Component, Item, Outcome, Verdict

LATENCY_SECONDS = 0.2
SLOW_SECONDS = 5.0
SLOW_SHARE = 0.01


class NoChecks(BaseModel):
    """Nothing is checked."""

    model_config = ConfigDict(extra="forbid")


class Waiting:
    """Answers each item 200 ms after it came, many at once."""

    name = "waiting"
    version = "1"
    components = (Component("waiting/value", "a number that only this response has"),)
    checks = NoChecks
    batch_size, concurrency = 1, 2048
    timeout_seconds = 60.0

    async def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One verdict for each item."""
        await asyncio.sleep(max(map(self.seconds, items)))
        return [Verdict({"waiting/value": right_value(item.response)}) for item in items]

    def seconds(self, item: Item) -> float:
        """How long an item takes."""
        return LATENCY_SECONDS


class SometimesSlow(Waiting):
    """One item in a hundred takes 5 seconds, the others 200 ms."""

    def seconds(self, item: Item) -> float:
        return SLOW_SECONDS if _share(item.trace_id) < SLOW_SHARE else LATENCY_SECONDS


def right_value(response: str) -> float:
    """What the response scores."""
    return _share(response)


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
