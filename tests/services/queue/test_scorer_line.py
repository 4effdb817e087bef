"""What groups ask one scorer: together, unless one item holds the others up; by the order of the answers, not by their time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import chain

import pytest

from services.queue.scorer_line import ALONE, MOST_TOGETHER, ScorerLine
from services.scored import Scored
from services.verdicts import Item

HELD_UP_SECONDS = 0.2


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("services.queue.scorer_line.HELD_UP_SECONDS", HELD_UP_SECONDS)
    monkeypatch.setattr("services.queue.scorer_line.GATHER_SECONDS", 0.02)


class Scorer:
    """Says how long each response is: at once, but items that are `late` when `release` is set. Knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.release = asyncio.Event()

    async def __call__(self, items: Sequence[Item], deadline: float) -> dict[str, Scored]:
        self.asked.append([item.id for item in items])
        if any(item.response == "late" for item in items):
            await self.release.wait()
        return {item.id: Scored({"length": len(item.response)}, {}, {}) for item in items}


def group(*responses: str, ids: str = "") -> list[Item]:
    return [Item(ids + response + str(n), "prompt", response, {}) for n, response in enumerate(responses)]


def ask(line: ScorerLine, items: Sequence[Item], seconds: float = 30.0) -> asyncio.Task[dict[str, Scored]]:
    return asyncio.create_task(line.ask(items, time.monotonic() + seconds))


def test_groups_at_the_same_time_are_one_call_and_none_is_divided():
    async def play():
        scorer = Scorer()
        line = ScorerLine(scorer)
        groups = [group("a", "bb", "ccc", ids=f"{n}-") for n in range(2 * MOST_TOGETHER // 3 + 1)]
        answers = await asyncio.gather(*(ask(line, each) for each in groups))
        for items, answer in zip(groups, answers, strict=True):
            assert [answer[item.id].components["length"] for item in items] == [1, 2, 3]
        return scorer.asked

    asked = asyncio.run(play())
    assert [len(call) for call in asked] == [30, 30, 6]
    assert list(chain(*asked)) == [f"{n}-{text}{place}" for n in range(22) for place, text in enumerate(("a", "bb", "ccc"))]


async def calls_of_a_trickle(count: int) -> list[list[str]]:
    """What a scorer is asked by groups that come so soon after each other that there is never a pause."""
    scorer = Scorer()
    line = ScorerLine(scorer)
    tasks = []
    for n in range(count):
        tasks.append(ask(line, group("a", ids=f"{n}-")))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    return scorer.asked


def test_groups_are_gathered_until_none_comes_for_a_moment(monkeypatch):
    monkeypatch.setattr("services.queue.scorer_line.GATHER_SECONDS", 0.3)
    monkeypatch.setattr("services.queue.scorer_line.MOST_GATHER_SECONDS", 30.0)
    assert asyncio.run(calls_of_a_trickle(10)) == [[f"{n}-a0" for n in range(10)]]


def test_groups_that_never_end_to_come_are_not_waited_for(monkeypatch):
    monkeypatch.setattr("services.queue.scorer_line.GATHER_SECONDS", 0.05)
    monkeypatch.setattr("services.queue.scorer_line.MOST_GATHER_SECONDS", 0.1)
    asked = asyncio.run(calls_of_a_trickle(30))
    assert len(asked) > 1
    assert list(chain(*asked)) == [f"{n}-a0" for n in range(30)]


def test_a_call_that_is_overtaken_is_given_up_and_each_asks_alone():
    async def play():
        scorer = Scorer()
        line = ScorerLine(scorer)
        held_up, late = ask(line, group("bb")), ask(line, group("late"))
        await asyncio.sleep(0.1)
        assert list(await ask(line, group("a"))) == ["a0"]
        assert list(await held_up) == ["bb0"]
        assert not late.done()
        await asyncio.gather(ask(line, group("ccc")), ask(line, group("dddd")))  # nobody is asked with another any more
        scorer.release.set()
        assert list(await late) == ["late0"]
        return scorer.asked

    asked = asyncio.run(play())
    assert asked[:2] == [["bb0", "late0"], ["a0"]]
    assert sorted(asked[2:]) == [["bb0"], ["ccc0"], ["dddd0"], ["late0"]]


def test_a_scorer_whose_answers_come_in_order_again_is_asked_together_again():
    async def play():
        scorer = Scorer()
        line = ScorerLine(scorer)
        late = ask(line, group("late"))
        await asyncio.sleep(0.1)
        await ask(line, group("a"))
        await asyncio.sleep(HELD_UP_SECONDS + 0.1)
        assert scorer.asked == [["late0"], ["a0"], ["late0"]]
        scorer.release.set()
        await late
        for _ in range(ALONE):
            await asyncio.gather(ask(line, group("a")))
        scorer.asked.clear()
        await asyncio.gather(ask(line, group("bb")), ask(line, group("ccc")))
        return scorer.asked

    assert asyncio.run(play()) == [["bb0", "ccc0"]]


def test_a_long_queue_is_no_slow_item():
    """Every call takes longer than what is called held up, for those before it."""

    async def play():
        asked: list[list[str]] = []
        queue = asyncio.Lock()

        async def one_after_the_other(items: Sequence[Item], deadline: float) -> dict[str, Scored]:
            asked.append([item.id for item in items])
            async with queue:
                await asyncio.sleep(0.15)
            return {item.id: Scored({}, {}, {}) for item in items}

        line = ScorerLine(one_after_the_other)
        tasks = []
        for n in range(6):
            tasks += [ask(line, group("a", ids=f"{n}-")), ask(line, group("b", ids=f"{n}-"))]
            await asyncio.sleep(0.04)
        await asyncio.gather(*tasks)
        return asked

    assert asyncio.run(play()) == [[f"{n}-a0", f"{n}-b0"] for n in range(6)]


def test_a_call_is_given_up_while_the_first_of_its_groups_has_time_to_ask_alone():
    async def play():
        scorer = Scorer()
        line = ScorerLine(scorer)
        waits, soon = ask(line, group("late")), ask(line, group("bb"), seconds=3 * HELD_UP_SECONDS)
        assert list(await soon) == ["bb0"]
        assert not waits.done()
        scorer.release.set()
        assert list(await waits) == ["late0"]
        return scorer.asked

    asked = asyncio.run(play())
    assert asked[0] == ["late0", "bb0"] and sorted(asked[1:]) == [["bb0"], ["late0"]]


def test_what_a_scorer_raises_reaches_everybody_who_asked_and_nobody_after():
    async def play():
        broken = True

        async def call(items: Sequence[Item], deadline: float) -> dict[str, Scored]:
            if broken:
                raise ValueError("no scorer")
            return {item.id: Scored({}, {}, {}) for item in items}

        line = ScorerLine(call)
        found = await asyncio.gather(ask(line, group("a")), ask(line, group("bb")), return_exceptions=True)
        assert [str(each) for each in found] == ["no scorer", "no scorer"]
        broken = False
        assert list(await ask(line, group("a"))) == ["a0"]

    asyncio.run(play())
