"""Flights by themselves: what no caller from outside can time. The pool and the grader are stand-ins."""

import asyncio
from contextlib import contextmanager

import pytest

from services.server.errors import PoolFullError
from services.server.flights import LATE, Flights
from services.verdicts import Verdict

RIGHT = Verdict({"a/b": 1.0})


class Pool:
    def __init__(self):
        self.admitted = 0
        self.full = False

    @contextmanager
    def admit(self, count):
        if self.full:
            raise PoolFullError
        self.admitted += count
        yield
        self.admitted -= count


class Grader:
    """Delivers when it is let go."""

    def __init__(self):
        self.graded = []
        self.go = asyncio.Event()
        self.error = None

    async def grade(self, items, deliver):
        self.graded += [item["id"] for item in items]
        await self.go.wait()
        if self.error:
            raise self.error
        for item in items:
            deliver(item["id"], RIGHT)


def flying(test):
    """A test that is a coroutine function of flights, their pool, their grader and what they keep."""

    def run():
        async def fly():
            pool, grader, kept = Pool(), Grader(), []
            await test(Flights(pool, grader, lambda key, verdict: kept.append(key)), pool, grader, kept)
            await asyncio.sleep(0)
            assert pool.admitted == 0

        asyncio.run(fly())

    return run


KEY = (b"k", 1.0)


def item(name):
    return {"id": name}


@flying
async def test_who_asks_while_an_abandoned_flight_ends_gets_one_of_their_own(flights, _pool, grader, kept):
    first = asyncio.create_task(flights.score([item("a")], [KEY], None))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(flights.score([item("b")], [KEY], None))  # runs next, before the cancelled grading does
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.sleep(0)
    grader.go.set()
    assert await second == [RIGHT]
    assert grader.graded == ["a", "b"]
    assert kept == [b"k"]


@flying
async def test_a_refused_request_leaves_nothing_behind(flights, pool, grader, _kept):
    pool.full = True
    with pytest.raises(PoolFullError):
        await flights.score([item("a"), item("b")], [KEY, None], None)
    pool.full = False
    grader.go.set()
    assert await flights.score([item("c")], [KEY], None) == [RIGHT]
    assert grader.graded == ["c"]


@flying
async def test_what_is_already_under_way_is_not_admitted_again(flights, pool, grader, _kept):
    first = asyncio.create_task(flights.score([item("a")], [KEY], None))
    await asyncio.sleep(0)
    pool.full = True
    second = asyncio.create_task(flights.score([item("b"), item("c")], [KEY, KEY], None))
    await asyncio.sleep(0)
    grader.go.set()
    assert (await first, await second) == ([RIGHT], [RIGHT, RIGHT])
    assert grader.graded == ["a"]


@flying
async def test_items_without_a_key_are_graded_each(flights, _pool, grader, kept):
    grader.go.set()
    assert await flights.score([item("a"), item("b")], [None, None], None) == [RIGHT, RIGHT]
    assert grader.graded == ["a", "b"]
    assert kept == []


@flying
async def test_late_items_are_late_and_the_rest_is_not(flights, _pool, grader, _kept):
    slow = asyncio.create_task(flights.score([item("a")], [KEY], None))
    await asyncio.sleep(0)
    assert await flights.score([item("b")], [KEY], 0.05) == [LATE]
    grader.go.set()
    assert await slow == [RIGHT]


@flying
async def test_a_defect_of_the_grader_is_raised_to_all_who_wait(flights, _pool, grader, _kept):
    grader.error = RuntimeError("a defect")
    calls = [asyncio.create_task(flights.score([item(name)], [KEY], None)) for name in "ab"]
    await asyncio.sleep(0)
    grader.go.set()
    for call in calls:
        with pytest.raises(RuntimeError, match="a defect"):
            await call
