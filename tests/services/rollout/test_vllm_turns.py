"""Requests share, an update is alone: the order in which they get their turns."""

import asyncio

import pytest

from services.rollout.vllm_turns import Turns


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Scene:
    """Requests (`r`) and updates (`u`) by name, which stay until they are let go."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.inside: list[str] = []
        self._doors: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task] = {}

    async def come(self, name: str) -> None:
        self._doors[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._stay(name))
        await settle()

    async def _stay(self, name: str) -> None:
        async with self.turns.alone() if name[0] == "u" else self.turns.shared():
            self.inside.append(name)
            assert name[0] == "r" or self.inside == [name]
            try:
                await self._doors[name].wait()
            finally:
                self.inside.remove(name)

    async def go(self, name: str) -> None:
        self._doors[name].set()
        await settle()


def run(scene):
    asyncio.run(asyncio.wait_for(scene, 5))


def test_an_update_waits_for_requests_and_later_requests_for_it():
    async def scene():
        s = Scene()
        for name in ("r1", "r2", "u1", "r3"):
            await s.come(name)
        assert s.inside == ["r1", "r2"]
        await s.go("r1")
        assert s.inside == ["r2"]
        await s.go("r2")
        assert s.inside == ["u1"]
        await s.come("u2")
        await s.go("u1")
        assert s.inside == ["u2"]
        await s.go("u2")
        assert s.inside == ["r3"]

    run(scene())


@pytest.mark.parametrize("cancelled", ["r1", "u1"])
def test_who_is_cancelled_holds_nobody_up(cancelled):
    async def scene():
        s = Scene()
        for name in ("r1", "u1", "r2"):
            await s.come(name)
        s.tasks[cancelled].cancel()
        await settle()
        assert s.inside == (["u1"] if cancelled == "r1" else ["r1", "r2"])
        if cancelled == "r1":
            await s.go("u1")
            assert s.inside == ["r2"]

    run(scene())


def test_an_update_that_fails_gives_its_turn_on():
    async def scene():
        turns = Turns()
        with pytest.raises(ZeroDivisionError):
            async with turns.alone():
                raise ZeroDivisionError
        async with turns.shared(), turns.shared():
            pass
        async with turns.alone():
            pass

    run(scene())
