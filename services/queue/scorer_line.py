"""Calls to one scorer: what groups ask at about the same time is one call, unless its items hold each other up.

How long a call takes does not tell a slow item from a long queue, but their order does: a queue answers what began first
first. So a call that waits on, long after one that began later was answered, waits for an item of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from services.scored import Scored
from services.verdicts import Item

Answers = dict[str, Scored]
GATHER_SECONDS = 0.015
"""How long what a group asks waits for the next one that asks, as those that are sampled together finish together."""
MOST_GATHER_SECONDS = 0.06
"""How long it waits for all of them."""
MOST_TOGETHER = 32
"""Items of a call for several groups. Less than a step has: of some calls one that holds up is overtaken by the others."""
HELD_UP_SECONDS = 1.0
"""A call that is not answered this long after one that began later waits for an item of its own."""
ALONE = 256
"""Answers for which each group asks alone, after one that was held up."""


@dataclass(eq=False, slots=True)
class _Call:
    """One that is under way."""

    limit: asyncio.Timeout | None
    overtaken_at: float = math.inf
    """When one that began later was answered first, of the loop's clock."""


@dataclass(eq=False, slots=True)
class _Gathering:
    """What goes into one call; its deadline is the earliest."""

    items: list[Item] = field(default_factory=list)
    deadline: float = math.inf


class ScorerLine:
    """The calls to one scorer that are under way or about to begin. Belongs to the loop that runs."""

    def __init__(self, call: Callable[[Sequence[Item], float], Awaitable[Answers]]) -> None:
        """call: asks the scorer about items until a deadline, and gives an answer for each by its id."""
        self._call = call
        self._under_way: list[_Call] = []
        self._alone = 0
        self._gathering: tuple[_Gathering, asyncio.Task[Answers]] | None = None

    async def ask(self, items: Sequence[Item], deadline: float) -> Answers:
        """What it says of these items, and perhaps of others. deadline: of `time.monotonic`, the loop's clock."""
        # who has hardly any time left asks alone as well: nobody else's items are missed for it
        hurries = deadline - asyncio.get_running_loop().time() < 2 * HELD_UP_SECONDS
        if not self._alone and not hurries:
            with suppress(TimeoutError):  # held up, perhaps by another group's item
                return await asyncio.shield(self._join(items, deadline))  # who is given up ends nobody else's call
        return await self._send(items, deadline)

    def _join(self, items: Sequence[Item], deadline: float) -> asyncio.Task[Answers]:
        if self._gathering is None or len(self._gathering[0].items) + len(items) > MOST_TOGETHER:
            gathering = _Gathering()
            self._gathering = gathering, asyncio.create_task(self._send_soon(gathering))
        gathering, answers = self._gathering
        gathering.items += items
        gathering.deadline = min(gathering.deadline, deadline)
        return answers

    async def _send_soon(self, gathering: _Gathering) -> Answers:
        size, ends = 0, asyncio.get_running_loop().time() + MOST_GATHER_SECONDS
        while len(gathering.items) > size and asyncio.get_running_loop().time() < ends:
            size = len(gathering.items)
            await asyncio.sleep(GATHER_SECONDS)
        if self._gathering is not None and self._gathering[0] is gathering:
            self._gathering = None
        # at the latest with time left to ask alone
        async with asyncio.timeout_at(gathering.deadline - HELD_UP_SECONDS) as limit:
            return await self._send(gathering.items, gathering.deadline, limit)

    async def _send(self, items: Sequence[Item], deadline: float, limit: asyncio.Timeout | None = None) -> Answers:
        now = asyncio.get_running_loop().time
        call = _Call(limit)
        self._under_way.append(call)
        try:
            answers = await self._call(items, deadline)
            self._overtake(self._under_way[: self._under_way.index(call)], now())
            return answers
        finally:
            self._under_way.remove(call)
            held_up = now() - call.overtaken_at >= HELD_UP_SECONDS
            self._alone = ALONE if held_up else max(0, self._alone - 1)

    @staticmethod
    def _overtake(calls: Sequence[_Call], now: float) -> None:
        for call in calls:
            if call.overtaken_at == math.inf:
                call.overtaken_at = now
                if call.limit is not None and not call.limit.expired():
                    call.limit.reschedule(min(call.limit.when() or math.inf, now + HELD_UP_SECONDS))
