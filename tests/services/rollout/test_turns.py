"""Turns at an engine: updates first, nobody twice, nothing lost when somebody goes away."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.rollout.turns import Turns


def test_an_update_goes_before_those_who_wait_longer():
    async def play():
        turns, order = Turns(), []

        async def visit(name, urgent=False):
            async with turns.take(urgent=urgent):
                order.append(name)
                await asyncio.sleep(0)

        async with turns.take():
            visits = [asyncio.create_task(visit(name, urgent)) for name, urgent in VISITORS]
            await asyncio.sleep(0)
        await asyncio.gather(*visits)
        return order

    VISITORS = [("a", False), ("b", False), ("update 1", True), ("c", False), ("update 2", True)]
    assert asyncio.run(play()) == ["update 1", "update 2", "a", "b", "c"]


def test_a_turn_that_does_not_come_in_time_is_somebody_elses():
    async def play():
        turns = Turns()
        async with turns.take():
            with pytest.raises(TimeoutError):
                async with turns.take(0.01):
                    raise AssertionError("it was taken")
        async with asyncio.timeout(1), turns.take():
            return True

    assert asyncio.run(play())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 6) | st.none()), min_size=1, max_size=12))
def test_one_at_a_time_and_everybody_who_stays_gets_a_turn(visitors):
    """Of each: whether urgent, how long it holds its turn, and after how many ticks it goes away, if it does."""

    async def play():
        turns, inside, served = Turns(), [], []

        async def visit(name, urgent, ticks):
            async with turns.take(urgent=urgent):
                assert not inside
                inside.append(name)
                try:
                    for _ in range(ticks):
                        await asyncio.sleep(0)
                    served.append(name)
                finally:
                    inside.remove(name)

        tasks = [asyncio.create_task(visit(n, urgent, ticks)) for n, (urgent, ticks, _) in enumerate(visitors)]
        for tick in range(7):
            await asyncio.sleep(0)
            for task, (_, _, leaves) in zip(tasks, visitors, strict=True):
                if leaves == tick:
                    task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
            async with turns.take():
                pass
        return served, [not task.cancelled() for task in tasks]

    served, stayed = asyncio.run(play())
    assert sorted(served) == [n for n, stays in enumerate(stayed) if stays]
    assert {n for n, (_, _, leaves) in enumerate(visitors) if leaves is None} <= set(served)
