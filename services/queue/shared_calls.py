"""What the groups of a run share in a collecting worker: open connections to its scorers, and calls for log-probabilities.

All of it lives in the worker's one loop, so nothing here is locked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import grpc

from services.async_scoring import AsyncScoring
from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.rollout import RolloutClient
from services.queue.scorer_line import GATHER_SECONDS, ScorerLine
from services.rollout.engine import TokenSequence
from services.scored import Scored
from services.verdicts import Item

RUNS = 8
"""Sets of connections that stay open while nobody uses them, one for each run and the scorers of a domain; the one that was
not used for longest goes first."""


class Scorers:
    """Clients of scorers by run. What groups ask a scorer at about the same time is one call; see `ScorerLine`."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, int, tuple[tuple[str, str], ...]], _RunScorers] = OrderedDict()

    async def score(
        self,
        run: str,
        addresses: Mapping[str, str],
        retries: int,
        items: Sequence[Item],
        deadline: float,
        calls: Counter[str],
    ) -> dict[str, Scored]:
        """What all these scorers say of each item, by its id, which is unique within the run.

        deadline: of `time.monotonic`. calls: those that were made for the run and not counted yet, by service, are added to
        it. Raises ServiceError where an address serves no scorer.
        """
        key = (run, retries, tuple(sorted(addresses.items())))
        scorers = self._runs.pop(key, None) or _RunScorers(AsyncScoring(addresses, retries=retries))
        self._runs[key] = scorers
        scorers.users += 1
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(scorers.ask(name, items, deadline)) for name in addresses]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            scorers.users -= 1
            calls.update(scorers.new_calls())
            await self._close_oldest()
        said = [task.result() for task in asked]
        return {item.id: _joined([each[item.id] for each in said]) for item in items}

    async def _close_oldest(self) -> None:
        """Never those in use: a call whose channel is closed is cancelled, and its group would never come."""
        while len(self._runs) > RUNS:
            idle = next((key for key, scorers in self._runs.items() if not scorers.users), None)
            if idle is None:
                break
            await self._runs.pop(idle).scoring.close()


class _RunScorers:
    """The scorers of one run."""

    def __init__(self, scoring: AsyncScoring) -> None:
        self.scoring = scoring
        self.users = 0
        self._told: dict[str, int] = {}
        self._lines: dict[str, ScorerLine] = {}

    async def ask(self, scorer: str, items: Sequence[Item], deadline: float) -> dict[str, Scored]:
        """What one scorer says, of these items and perhaps of others."""
        if scorer not in self._lines:
            self._lines[scorer] = ScorerLine(partial(self._call, scorer))
        return await self._lines[scorer].ask(items, deadline)

    def new_calls(self) -> dict[str, int]:
        """Calls since the last time that this was asked."""
        before, self._told = self._told, self.scoring.calls
        return {name: count - before.get(name, 0) for name, count in self._told.items()}

    async def _call(self, scorer: str, items: Sequence[Item], deadline: float) -> dict[str, Scored]:
        return await self.scoring.score({scorer: items}, deadline - time.monotonic())


def _joined(parts: Sequence[Scored]) -> Scored:
    """What several scorers say of one item."""
    return Scored(
        {name: value for part in parts for name, value in part.components.items()},
        {name: reason for part in parts for name, reason in part.missing.items()},
        {name: label for part in parts for name, label in part.labels.items()},
    )


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
        self._calls = 0
        """Made and not counted yet."""

    async def ask(
        self, policy: str, sequences: Sequence[TokenSequence], deadline: float, calls: Counter[str]
    ) -> tuple[tuple[float, ...], ...]:
        """Of each sequence's completion. deadline, calls: as in `Scorers.score`. Raises ServiceError."""
        asked = _Asked(sequences, deadline)
        waiting = self._waiting.setdefault(policy, [])
        waiting.append(asked)
        if len(waiting) == 1:
            task = asyncio.create_task(self._send_soon(policy))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        try:
            return await asked.answer
        finally:
            calls["rollout"] += self._calls
            self._calls = 0

    async def _send_soon(self, policy: str) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        together = [asked for asked in self._waiting.pop(policy) if not asked.answer.cancelled()]
        if not together:
            return
        try:
            await self._send(policy, together)
        except Exception as error:
            # where it may be for one of them, each is asked alone; a service that stayed away would for each stay away again
            late = isinstance(error, ServiceError) and error.code is grpc.StatusCode.DEADLINE_EXCEEDED
            away = isinstance(error, ServiceUnavailableError) and not late
            if len(together) == 1 or away or not isinstance(error, ServiceError):
                _fail(together, error)
            else:
                await asyncio.gather(*(self._send_alone(policy, asked) for asked in together))

    async def _send_alone(self, policy: str, asked: _Asked) -> None:
        try:
            await self._send(policy, [asked])
        except Exception as error:
            _fail([asked], error)

    async def _send(self, policy: str, together: Sequence[_Asked]) -> None:
        sequences = [sequence for asked in together for sequence in asked.sequences]
        seconds = max(0.0, min(asked.deadline for asked in together) - time.monotonic())
        self._calls += 1
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
