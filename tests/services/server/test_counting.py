"""What workers count arrives, once, in the metrics of the process that owns them."""

import asyncio
import json
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.server.errors import CallFailedError
from services.server.pool import WorkerPool

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(scope="module", autouse=True)
def counted():
    """The module that both sides import."""
    sys.path.insert(0, str(HERE))
    import counted

    yield counted
    sys.path.remove(str(HERE))


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


def in_pool(factory, scene, monkeypatch, **kwargs):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(HERE)]))

    async def run():
        pool = WorkerPool(f"counted:{factory}", kwargs, size=1)
        await pool.start()
        try:
            return await scene(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


@pytest.mark.parametrize("factory", ["Baker", "AsyncBaker"])
def test_counts_and_observations_arrive_with_the_answer(factory, monkeypatch):
    before = {kind: value("test_cakes_total", kind=kind) for kind in ("plum", "rye", "burnt")}
    sizes = value("test_cake_size_bucket", kind="plum", le="2.0"), value("test_cake_size_sum", kind="plum")
    made = value("test_plain_total")

    async def scene(pool):
        await pool.call("bake", [["plum", 2], ["rye", 0.5], ["plum", 3]], 30)
        assert value("test_cakes_total", kind="plum") == before["plum"] + 5
        await pool.call("bake", [], 30)
        await pool.call("bake", [["plum", 1.0]], 30)
        with suppress(CallFailedError):
            await pool.call("burn", None, 30)

    in_pool(factory, scene, monkeypatch)
    after = {kind: value("test_cakes_total", kind=kind) - before[kind] for kind in before}
    assert after == {"plum": 6.0, "rye": 0.5, "burnt": 1.0}
    assert value("test_cake_size_bucket", kind="plum", le="2.0") == sizes[0] + 2, "2 and 1; 3 is larger"
    assert value("test_cake_size_sum", kind="plum") == sizes[1] + 6
    assert value("test_plain_total") == made + 100, (
        "what is counted while the object is made goes with the first answer"
    )


def test_many_calls_side_by_side_lose_and_double_nothing(monkeypatch):
    before = value("test_cakes_total", kind="many")

    async def scene(pool):
        await asyncio.gather(*(pool.call("bake", [["many", 1]] * 3, 30) for _ in range(300)))

    in_pool("AsyncBaker", scene, monkeypatch)
    assert value("test_cakes_total", kind="many") - before == 900


def test_a_call_that_is_cancelled_has_counted(monkeypatch):
    before = value("test_cakes_total", kind="slow")

    async def scene(pool):
        call = asyncio.create_task(pool.call("slowly", None, 600))
        await pool.call("bake", [], 30)
        call.cancel()
        async with asyncio.timeout(20):
            while value("test_cakes_total", kind="slow") == before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        await pool.call("bake", [], 30)

    in_pool("AsyncBaker", scene, monkeypatch)
    assert value("test_cakes_total", kind="slow") == before + 1


def test_what_the_owner_has_not_declared_is_dropped_and_harms_nothing(monkeypatch):
    before = value("test_cakes_total", kind="known")

    async def scene(pool):
        pids = {await pool.call("bake", [["known", 1]], 30) for _ in range(3)}
        assert len(pids) == 1, "the worker lives on"

    in_pool("Baker", scene, monkeypatch, undeclared=True)
    assert value("test_cakes_total", kind="known") == before + 3
    assert value("test_undeclared_total") == 0


@pytest.mark.parametrize("amount", [-1, math.nan, math.inf])
def test_a_counter_refuses_what_would_spoil_it(counted, amount):
    with pytest.raises(ValueError, match="test_cakes_total can count up by"):
        counted.CAKES.add(amount, kind="bad")


def test_outside_a_worker_it_counts_at_once(counted):
    before = value("test_cakes_total", kind="here")
    counted.CAKES.add(2, kind="here")
    assert value("test_cakes_total", kind="here") == before + 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1000)), max_size=30), st.integers(1, 5))
def test_however_they_are_taken_the_sums_are_the_same(counts, every):
    from counted import CAKES

    from services.server import counting

    before = {kind: value("test_cakes_total", kind=kind) for kind in "ab"}
    try:
        counting.keep_counts()
        frames = []
        for place, (kind, amount) in enumerate(counts):
            CAKES.add(amount, kind=kind)
            if place % every == 0:
                frames.append(counting.take_counts())
        frames.append(counting.take_counts())
        assert counting.take_counts() == {}
    finally:
        counting._kept = None
    for frame in frames:
        counting.absorb(json.loads(json.dumps(frame)).get("counts", ()))
    for kind in "ab":
        assert value("test_cakes_total", kind=kind) - before[kind] == sum(n for k, n in counts if k == kind)
