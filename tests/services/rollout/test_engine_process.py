"""The engine's process from both sides: cancelled callers, deadlines, turns, and what a new process comes back with."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.rollout.engine import (
    EngineError,
    EngineFault,
    Finished,
    Generation,
    Probe,
    Prompt,
    Sampling,
    TokenSequence,
    WeightSource,
)
from services.rollout.engine_host import EngineHost
from services.rollout.engine_messages import SERVED, SOURCE, ServedSource
from services.rollout.engine_process import EngineProcess
from services.rollout.transformers_engine import TransformersEngine
from services.server.pool import WorkerPool

ENGINE = {"max_policies": 4, "max_batch_sequences": 64, "dtype": "float32", "device": "cpu"}


@asynccontextmanager
async def waiting_engine(folder: Path) -> AsyncIterator[tuple[WorkerPool, EngineProcess]]:
    kwargs = {"folder": str(folder), "policies": []}
    pool = WorkerPool("tests.services.rollout.waiting_host:WaitingHost", kwargs, size=1)
    await pool.start()
    engine = await EngineProcess.over(pool)
    yield pool, engine
    await engine.close()


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - the condition is another process's doing
        await asyncio.sleep(0.01)


def request(*texts: str) -> Generation:
    """A batch for each text; see `WaitingHost.sample`."""
    prompts = tuple(Prompt(str(place), text) for place, text in enumerate(texts))
    return Generation("policy", prompts, 1, Sampling())


async def everything(engine: EngineProcess, generation: Generation, seconds: float | None = None) -> list[Finished]:
    return [each async for each in engine.generate(generation, seconds)]


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_a_caller_that_leaves_stops_the_work_but_not_the_process(tmp_path: Path, way: str) -> None:
    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (pool, engine):
            pids = pool.pids
            if way == "cancel":
                call = asyncio.create_task(everything(engine, request("wait")))
                await until((tmp_path / "started").exists)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            else:
                async with aclosing(engine.generate(request("wait"), None)) as finished:
                    assert (await anext(finished)).prompt == 0  # it arrives while its batch goes on
            assert len(await everything(engine, request("", ""), 30.0)) == 2
            assert pool.pids == pids
            await until(lambda: not any(Path(engine._cancel_files.name).iterdir()))

    run(scenario)


def test_a_caller_that_leaves_before_its_turn_costs_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (_, engine):
            running = asyncio.create_task(everything(engine, request("gate")))
            await until((tmp_path / "started").exists)
            waiting = asyncio.create_task(everything(engine, request("wait")))
            with pytest.raises(EngineError, match="before the request's turn") as late:
                await everything(engine, request(""), 0.05)
            assert late.value.fault is EngineFault.DEADLINE_EXCEEDED
            waiting.cancel()
            (tmp_path / "go").touch()
            assert len(await running) == 1
            assert len(await everything(engine, request(""))) == 1

    run(scenario)


def test_an_engine_that_hangs_when_its_caller_has_left_is_replaced(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("services.rollout.engine_process.STUCK_SECONDS", 0.2)

    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (pool, engine):
            pids = pool.pids
            leaves = asyncio.create_task(everything(engine, request("gate")))  # never opened, and without a deadline
            await until((tmp_path / "started").exists)
            leaves.cancel()
            await until(lambda: pool.pids not in (pids, []))
            assert len(await everything(engine, request(""), 30.0)) == 1
            await until(lambda: not any(Path(engine._cancel_files.name).iterdir()))

    run(scenario)


def test_log_probs_and_updates_wait_for_no_requests_in_the_queue(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (_, engine):
            generating = [asyncio.create_task(everything(engine, request("gate", ""))) for _ in range(3)]
            await until((tmp_path / "started").exists)
            update = asyncio.create_task(engine.update_weights(WeightSource("policy", 1, "/models/a")))
            scoring = [asyncio.create_task(engine.logprobs("policy", [], None)) for _ in range(2)]
            await asyncio.sleep(0.05)
            (tmp_path / "go").touch()
            await asyncio.gather(*generating, update, *scoring)
            calls = (tmp_path / "calls").read_text().split()
            one_request = ["begin", "sample", "sample"]
            assert calls == [*one_request[:2], "logprobs", "logprobs", "sample", "update_weights", *one_request * 2]

    run(scenario)


def test_an_update_goes_on_without_its_caller_and_outlives_the_process(tmp_path: Path) -> None:
    probe = Probe(TokenSequence((1,), (2,)), (-0.5,))
    source = WeightSource("a", 4, "/models/a", canary=(probe,), tolerance=0.125)
    other = WeightSource("b", 1, "/models/b")

    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (pool, engine):
            update = asyncio.create_task(engine.update_weights(source))
            await until((tmp_path / "started").exists)
            update.cancel()
            with pytest.raises(asyncio.CancelledError):
                await update
            assert engine.versions == {}
            (tmp_path / "go").touch()
            await until(lambda: engine.versions)
            assert engine.versions == {"a": 4}
            assert SERVED.validate_python(pool.kwargs["policies"]) == [ServedSource(source, None)]
            # sent again without a canary, the one that it passed is kept for the next process
            await engine.update_weights(WeightSource("a", 4, "/models/a"))
            assert SERVED.validate_python(pool.kwargs["policies"]) == [ServedSource(source, None)]
            assert await engine.update_weights(other) == 0.25  # the host holds no more than this one
            assert engine.versions == {"b": 1}
            assert SERVED.validate_python(pool.kwargs["policies"]) == [ServedSource(other, None)]

    run(scenario)


def test_a_process_that_dies_is_unavailable_to_its_callers_and_back_for_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (pool, engine):
            (tmp_path / "go").touch()
            await engine.update_weights(WeightSource("policy", 1, "/models/a"))
            (tmp_path / "started").unlink()
            call = asyncio.create_task(everything(engine, request("", "wait")))
            await until((tmp_path / "started").exists)
            os.kill(pool.pids[0], signal.SIGKILL)
            with pytest.raises(EngineError, match="ended during the call") as gone:
                await call
            assert gone.value.fault is EngineFault.UNAVAILABLE
            assert len(await everything(engine, request(""))) == 1
            assert engine.versions == {"policy": 1}

    run(scenario)


def test_an_engine_that_is_closed_refuses(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (_, engine):
            calls = [asyncio.create_task(everything(engine, request("wait"))) for _ in range(2)]
            await until((tmp_path / "started").exists)
            await engine.close()
            for call in calls:
                with pytest.raises(EngineError) as ended:
                    await call
                assert ended.value.fault is EngineFault.UNAVAILABLE

    run(scenario)


def limits(deadline: float, cancel_file: Path) -> dict[str, Any]:
    return {"limits": {"deadline": deadline, "cancel_file": str(cancel_file)}}


WORK = {
    "policy": "policy",
    "prompts": [{"id": str(number), "text": "1+1="} for number in range(60)],
    "samples": 100,
    "sampling": {"max_new_tokens": 120},
}


def result(parts: Any) -> dict[str, Any]:
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


def served(policy: str, directory: Path, base: str = "", base_version: int | None = None) -> ServedSource:
    return ServedSource(WeightSource(policy, 2, str(directory), base=base), base_version)


def host_of(*policies: ServedSource) -> EngineHost:
    return EngineHost(ENGINE, SERVED.dump_python(list(policies), mode="json"))


def test_the_engine_ends_its_work_when_it_is_told(tmp_path: Path, model_dir: Path) -> None:
    host = host_of(served("policy", model_dir))
    late, cancel_file = limits(time.time() - 1, tmp_path / "no"), tmp_path / "cancel"
    in_time = limits(time.time() + 600, cancel_file)
    assert result(host.sample({"batch": 0, **in_time}))["fault"] == "UNAVAILABLE"  # no request has begun
    assert host.begin({"request": WORK, **late})["fault"] == "DEADLINE_EXCEEDED"
    assert host.begin({"request": WORK, **in_time}) == {"result": 94, "held": ["policy"]}
    assert result(host.sample({"batch": 0, **late}))["fault"] == "DEADLINE_EXCEEDED"
    threading.Timer(0.05, cancel_file.touch).start()
    assert result(host.sample({"batch": 0, **in_time}))["fault"] == "CANCELLED"
    scoring = {"policy": "policy", "sequences": [{"prompt_token_ids": [1], "completion_token_ids": [2]}]}
    assert host.logprobs(scoring | in_time)["fault"] == "CANCELLED"
    answer = json.loads(json.dumps(host.logprobs(scoring | limits(time.time() + 600, tmp_path / "no"))))
    assert answer["result"]["policy_version"] == 2


def test_a_policy_that_cannot_be_loaded_again_is_left_out(tmp_path: Path, model_dir: Path) -> None:
    host = host_of(
        served("adapted", model_dir, base="policy", base_version=1),
        served("lost", tmp_path / "pruned"),
        served("policy", model_dir),
    )
    answer = host.logprobs({"policy": "lost", "sequences": [], **limits(time.time() + 600, tmp_path / "no")})
    assert answer == {
        "fault": "NOT_FOUND",
        "message": "policy 'lost' is not held; held: policy",
        "held": ["policy"],
    }


def test_one_policy_that_breaks_costs_a_new_process_no_other(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = TransformersEngine.update_weights

    def out_of_memory(engine: TransformersEngine, source: WeightSource) -> float:
        if source.policy == "large":
            raise RuntimeError("no memory")
        return update(engine, source)

    monkeypatch.setattr(TransformersEngine, "update_weights", out_of_memory)
    host = host_of(served("large", model_dir), served("policy", model_dir))
    assert host.begin({"request": WORK, **limits(time.time() + 600, Path("/no"))})["held"] == ["policy"]


def test_a_policy_that_made_room_is_not_kept_by_the_request_before(tmp_path: Path, model_dir: Path) -> None:
    host = EngineHost(ENGINE | {"max_policies": 1}, SERVED.dump_python([served("policy", model_dir)], mode="json"))
    assert host.begin({"request": WORK, **limits(time.time() + 600, tmp_path / "no")})["held"] == ["policy"]
    model = weakref.ref(host._engine._policies["policy"].model)
    answer = host.update_weights(SOURCE.dump_python(served("other", model_dir).source, mode="json"))
    assert answer["held"] == ["other"]
    gc.collect()
    assert model() is None
