"""What the groups of a run share in a collecting worker: open connections to its scorers, and calls for log-probabilities.

All of it lives in the worker's one loop, so nothing here is locked.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.async_scoring import AsyncScoring
from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.rollout.engine import TokenSequence

RUNS = 8
"""Runs whose connections stay open; the one that was not used for longest goes first."""
GATHER_SECONDS = 0.01
"""How long a group's tokens wait for those of others, which finish at about the same time."""


class Scorers:
    """Clients of scorers by run, and the calls that were made by them and not told yet."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, int, tuple[tuple[str, str], ...]], AsyncScoring] = OrderedDict()
        self._told: dict[int, dict[str, int]] = {}

    async def of(self, run: str, addresses: Mapping[str, str], retries: int) -> AsyncScoring:
        """The clients of a run for these scorers. They stay open; do not close them."""
        key = (run, retries, tuple(sorted(addresses.items())))
        found = self._open.pop(key, None) or AsyncScoring(addresses, retries=retries)
        self._open[key] = found
        if len(self._open) > RUNS:
            _, oldest = self._open.popitem(last=False)
            self._told.pop(id(oldest), None)
            await oldest.close()
        return found

    def new_calls(self, scoring: AsyncScoring) -> dict[str, int]:
        """Calls since the last time that this was asked."""
        before, now = self._told.get(id(scoring), {}), scoring.calls
        self._told[id(scoring)] = now
        return {name: count - before.get(name, 0) for name, count in now.items()}


@dataclass(slots=True)
class _Asked:
    sequences: Sequence[TokenSequence]
    deadline: float
    answer: asyncio.Future[tuple[tuple[float, ...], ...]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Logprobs:
    """Log-probabilities under frozen policies: what several groups ask at about the same time is one call."""

    def __init__(self, rollout: RolloutClient) -> None:
        self._rollout = rollout
        self._waiting: dict[str, list[_Asked]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.calls = 0
        """Made and not told yet: whoever tells them sets this to 0."""

    async def ask(
        self, policy: str, sequences: Sequence[TokenSequence], deadline: float
    ) -> tuple[tuple[float, ...], ...]:
        """Of each sequence's completion. deadline: of `time.monotonic`. Raises ServiceError."""
        asked = _Asked(sequences, deadline)
        waiting = self._waiting.setdefault(policy, [])
        waiting.append(asked)
        if len(waiting) == 1:
            task = asyncio.create_task(self._send_soon(policy))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await asked.answer

    async def _send_soon(self, policy: str) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        together = [asked for asked in self._waiting.pop(policy) if not asked.answer.cancelled()]
        if not together:
            return
        try:
            await self._send(policy, together)
        except ServiceError:
            # which of them it was for is not known, and no group may fail for another one's sake
            for asked in together:
                try:
                    await self._send(policy, [asked])
                except Exception as error:
                    _fail([asked], error)
        except Exception as error:
            _fail(together, error)

    async def _send(self, policy: str, together: Sequence[_Asked]) -> None:
        sequences = [sequence for asked in together for sequence in asked.sequences]
        seconds = max(0.0, min(asked.deadline for asked in together) - time.monotonic())
        self.calls += 1
        found = await asyncio.to_thread(self._rollout.logprobs, policy, sequences, timeout_seconds=seconds)
        values = iter(found.sequences)
        for asked in together:
            answer = tuple(next(values) for _ in asked.sequences)
            if not asked.answer.done():
                asked.answer.set_result(answer)


def _fail(together: Sequence[_Asked], error: Exception) -> None:
    for asked in together:
        if not asked.answer.done():
            asked.answer.set_exception(error)
