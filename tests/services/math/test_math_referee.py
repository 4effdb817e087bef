"""Processes that compare: what they may use up, whose fault it is when one ends, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from services.math.referee import Referee

ENDLESS = r"\int_0^{\infty} e^{-x^{2}} \sin(x^{7}) dx"


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    made = Referee()
    yield made
    made.nursery.process.kill()
    made.nursery.process.wait()


def _children(referee: Referee) -> list[psutil.Process]:
    return psutil.Process(referee.nursery.process.pid).children()


@pytest.mark.parametrize(
    ("gold", "answer", "finding"),
    [
        (r"\frac{1}{2}", r"\int_0^1 x dx", "same"),
        (r"\frac{1}{3}", r"\int_0^1 x dx", "different"),
        (r"\sin(2x)", r"2\sin(x)\cos(x)", "same"),
        ("1", r"\foo\bar\frac{", "unreadable"),
        ("1", ENDLESS, "timeout"),
        (r"\frac{", "1", "bad gold"),
    ],
)
def test_findings(referee: Referee, gold: str, answer: str, finding: str) -> None:
    assert asyncio.run(referee.compare(gold, answer, 0.0)) == finding


def test_endless_answers_do_not_hold_up_the_others(referee: Referee) -> None:
    async def run() -> list[str]:
        endless = [referee.compare("1", ENDLESS, 0.0) for _ in range(4)]
        honest = [referee.compare(str(n), r"\int_0^1 2x dx", 0.0) for n in range(3)]
        return list(await asyncio.gather(*endless, *honest))

    assert asyncio.run(run()) == ["timeout"] * 4 + ["different", "same", "different"]


async def _disturbed(referee: Referee, signals: int) -> str:
    """The finding for an endless pair whose child is killed from outside so many times."""
    comparing = asyncio.create_task(referee.compare("1", ENDLESS, 0.0))
    killed: set[int] = set()
    while len(killed) < signals and not comparing.done():
        for child in _children(referee):
            if child.pid not in killed and child.cpu_times().user > 0.01:
                os.kill(child.pid, signal.SIGKILL)
                killed.add(child.pid)
        await asyncio.sleep(0.002)
    return await comparing


def test_a_child_killed_from_outside_is_not_the_answers_fault(referee: Referee) -> None:
    assert asyncio.run(_disturbed(referee, 1)) == "timeout"
    assert asyncio.run(_disturbed(referee, 2)) in ("lost", "timeout")
    assert asyncio.run(referee.compare("1", r"\int_0^1 2x dx", 0.0)) == "same"


def test_a_child_that_is_killed_each_time_is_lost(referee: Referee) -> None:
    async def run() -> str:
        comparing = asyncio.create_task(referee.compare("1", ENDLESS, 0.0))
        while not comparing.done():
            for child in _children(referee):
                os.kill(child.pid, signal.SIGKILL)
            await asyncio.sleep(0.001)
        return await comparing

    assert asyncio.run(run()) == "lost"


def test_a_child_that_gets_no_cpu_time_is_lost(referee: Referee, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.math.referee.WALL_SECONDS", 0.5)

    async def run() -> str:
        comparing = asyncio.create_task(referee.compare("1", ENDLESS, 0.0))
        while not comparing.done():
            for child in _children(referee):
                os.kill(child.pid, signal.SIGSTOP)
            await asyncio.sleep(0.001)
        return await comparing

    assert asyncio.run(run()) == "lost"


def test_memory_is_limited(referee: Referee) -> None:
    """A matrix's power whose entries would take gigabytes; whether time or memory ends it, it is no answer."""
    answer = (
        r"\det(\begin{pmatrix}"
        + r"\\".join("&".join(f"x_{i}{j}" for j in range(9)) for i in range(9))
        + r"\end{pmatrix})"
    )
    assert asyncio.run(referee.compare("1", answer, 0.0)) in ("timeout", "memory", "unreadable", "different")
    assert all(child.memory_info().rss < 2**30 for child in _children(referee))


def test_a_nursery_that_died_is_started_anew(referee: Referee) -> None:
    before = referee.nursery.process.pid
    os.kill(before, signal.SIGKILL)
    time.sleep(0.2)
    assert asyncio.run(referee.compare("1", r"\int_0^1 2x dx", 0.0)) == "same"
    assert referee.nursery.process.pid != before


def test_nothing_is_left_behind(wait_until_gone) -> None:
    made = Referee()
    assert asyncio.run(made.compare("1", ENDLESS, 0.0)) == "timeout"
    assert asyncio.run(made.compare("1", r"\int_0^1 2x dx", 0.0)) == "same"
    processes = [psutil.Process(made.nursery.process.pid), *_children(made)]
    made.nursery.close()
    wait_until_gone(processes)
