"""A scorer whose right answers are known and whose items break it on demand; for `benchmarks.scorers_faults`."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from services.verdicts import Component, Item, Outcome, Verdict

MEMORY_BYTES = 1 << 30
"""Address space of a worker."""
WORK_SECONDS = 0.0005


class FaultyChecks(BaseModel):
    """What is refused where it does not fit."""

    model_config = ConfigDict(extra="forbid")

    least: int = Field(default=0, ge=0)


class Faulty:
    """Scores a response by its digest, after a little work; some responses kill, fill or hold up the worker instead."""

    name = "faulty"
    version = "1"
    components = (Component("faulty/value", "a number that only this response has"),)
    checks = FaultyChecks
    batch_size = 16
    timeout_seconds = 2.0
    cacheable = True

    def __init__(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One verdict for each item, if it comes to that."""
        return [self._outcome(item) for item in items]

    def _outcome(self, item: Item) -> Outcome:
        command = item.response.partition(" ")[0]
        if command == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif command == "memory":
            return Verdict({"faulty/value": float(len(bytearray(2 * MEMORY_BYTES)))})
        elif command == "late":
            time.sleep(600)
        time.sleep(WORK_SECONDS)
        return Verdict({"faulty/value": right_value(item.response)}, "done", {"characters": str(len(item.response))})


def right_value(response: str) -> float:
    """What the response scores."""
    return int.from_bytes(hashlib.sha256(response.encode()).digest()[:6], "big") / 2**48
