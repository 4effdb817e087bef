"""Who runs next, with orders worked out by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from services.sandbox.slots import FullError, Slots


async def order_of(asked: list[tuple[str, str, int]], count: int = 1) -> list[str]:
    """The names of runs in the order in which they begin. asked: name, caller, priority, in order of arrival, while
    another run holds the slots."""
    slots = Slots(count, 1000)
    began: list[str] = []
    holding = asyncio.Event()

    async def hold() -> None:
        async with slots.slot("holder"):
            await holding.wait()

    async def run(name: str, caller: str, priority: int) -> None:
        async with slots.slot(caller, priority):
            began.append(name)
            await asyncio.sleep(0)

    holders = [asyncio.create_task(hold()) for _ in range(count)]
    await asyncio.sleep(0)
    tasks = []
    for each in asked:
        tasks.append(asyncio.create_task(run(*each)))
        await asyncio.sleep(0)
    holding.set()
    await asyncio.gather(*holders, *tasks)
    return began


def test_long_runs_leave_slots_to_short_ones() -> None:
    """Two slots: long runs hold both while there is no short one, and one when there is; short ones have two more."""

    async def main() -> list[str]:
        slots = Slots(2, 100)
        began: list[str] = []
        release = {name: asyncio.Event() for name in ("l1", "l2", "l3", "l4", "s1", "s2", "s3")}

        async def run(name: str) -> None:
            is_long = name[0] == "l"
            async with slots.slot(name, 9 if is_long else 0, 60.0 if is_long else 0.5):
                began.append(name)
                await release[name].wait()

        async def after(name: str) -> list[str]:
            release[name].set()
            await asyncio.sleep(0.05)
            return began[4:]

        tasks = []
        for name in release:
            tasks.append(asyncio.create_task(run(name)))
            await asyncio.sleep(0)
        assert began == ["l1", "l2", "s1", "s2"]
        assert await after("l1") == ["s3"]
        assert await after("l2") == ["s3", "l3"]
        assert await after("s1") == await after("s2") == ["s3", "l3"]
        assert await after("s3") == ["s3", "l3"], "another short one may come at once"
        await asyncio.sleep(0.2)
        assert began[4:] == ["s3", "l3", "l4"]
        await after("l3"), await after("l4")
        await asyncio.gather(*tasks)
        assert slots._busy == slots._long == 0 and not slots._queues
        return began

    asyncio.run(main())


def test_a_single_slot_serves_long_runs_beside_short_ones() -> None:
    async def main() -> None:
        slots = Slots(1, 100)
        async with slots.slot("short", 5, 0.4), slots.slot("long", 4, 60.0):
            assert slots._busy == 2

    asyncio.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 a2 a3 b1", "a1 b1 a2 a3"),
        ("a1 a2 a3 b1 b2 c1", "a1 b1 c1 a2 b2 a3"),
        ("b1 a1 a2 a3 a4 b2", "b1 a1 b2 a2 a3 a4"),
        ("a1 a2 b1+5 b2+5 a3+5", "b1 a3 b2 a1 a2"),
        ("a1 b1+1 c1+9 a2+9", "c1 a2 b1 a1"),
        ("", ""),
    ],
)
def test_callers_take_turns_within_a_priority(asked: str, expected: str) -> None:
    """`a3+5` is the third run of the caller a, with priority 5."""
    runs = []
    for text in asked.split():
        name, _, priority = text.partition("+")
        runs.append((name, name[0], int(priority or 0)))
    assert asyncio.run(order_of(runs)) == expected.split()


def test_one_run_is_not_held_up_by_a_thousand_of_another() -> None:
    began = asyncio.run(order_of([*((f"a{n}", "a", 0) for n in range(1000)), ("b", "b", 0)]))
    assert began[:3] == ["a0", "b", "a1"] and len(began) == 1001


def test_no_more_run_at_once_than_there_are_slots() -> None:
    async def main() -> int:
        slots, running, most = Slots(3, 100), 0, 0

        async def run() -> None:
            nonlocal running, most
            async with slots.slot():
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1

        await asyncio.gather(*(run() for _ in range(30)))
        return most

    assert asyncio.run(main()) == 3


def bounded(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_those_that_give_up_waiting_do_not_hold_a_turn() -> None:
    async def main() -> None:
        slots = Slots(1, 100)
        async with slots.slot():
            waiting = [asyncio.create_task(slots.slot(str(n)).__aenter__()) for n in range(5)]
            await asyncio.sleep(0)
            for task in waiting[:4]:
                task.cancel()
            await asyncio.sleep(0)
        await waiting[4]

    bounded(main())


def test_a_slot_that_is_given_to_one_who_gives_up_in_the_same_moment_is_not_lost() -> None:
    async def main() -> None:
        slots = Slots(1, 100)
        first = slots.slot()
        await first.__aenter__()
        waiting = asyncio.create_task(slots.slot("late").__aenter__())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)  # which gives it to `waiting`
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with slots.slot():
            pass

    bounded(main())


def test_a_run_that_fails_gives_its_slot_back() -> None:
    async def main() -> None:
        slots = Slots(1, 1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), slots.admit(1):
                async with slots.slot():
                    1 / 0  # noqa: B018
        with slots.admit(2):
            pass

    bounded(main())


def test_beyond_its_bound_it_is_full_and_says_when_to_try_again() -> None:
    slots = Slots(2, 3)
    with slots.admit(5):
        with pytest.raises(FullError) as caught, slots.admit(1):
            pass
        assert caught.value.retry_after_seconds == pytest.approx(0.05 * 5 / 2)
    with slots.admit(64), pytest.raises(FullError), slots.admit(1):  # an idle sandbox takes in any number
        pass
    with slots.admit(4), slots.admit(1):
        pass


def test_the_hint_grows_with_how_long_runs_take() -> None:
    async def main() -> None:
        slots = Slots(1, 0)
        for _ in range(3):
            async with slots.slot():
                await asyncio.sleep(0.5)
        with slots.admit(1), pytest.raises(FullError) as caught, slots.admit(1):
            pass
        # 0.05 s at first; each of the three weighs a tenth: 0.05 * 0.729 + 0.5 * 0.271 or more
        assert caught.value.retry_after_seconds >= 0.17

    bounded(main())
