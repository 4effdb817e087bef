"""The engine's process from both sides: cancelled callers, deadlines, and what a new process comes back with."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.rollout.engine_host import EngineHost
from services.rollout.engine_process import EngineProcess
from services.server.pool import WorkerPool

ENGINE = {"max_policies": 4, "max_batch_sequences": 64, "dtype": "float32", "device": "cpu"}


@asynccontextmanager
async def waiting_engine(folder: Path) -> AsyncIterator[tuple[WorkerPool, EngineProcess]]:
    kwargs = {"folder": str(folder), "policies": []}
    pool = WorkerPool("tests.services.rollout.waiting_host:WaitingHost", kwargs, size=1)
    await pool.start()
    engine = EngineProcess(pool)
    yield pool, engine
    await pool.close()
    engine.close()


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - the condition is another process's doing
        await asyncio.sleep(0.01)


def test_a_cancelled_caller_stops_the_work_but_not_the_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (pool, engine):
            pids = pool.pids
            call = asyncio.create_task(engine.compute("generate", {"wait": True}, None))
            await until((tmp_path / "started").exists)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await engine.compute("generate", {"wait": False}, 30.0) == "done"
            assert pool.pids == pids
            await until(lambda: not any(Path(engine._cancel_files.name).iterdir()))

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_update_goes_on_without_its_caller_and_outlives_the_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with waiting_engine(tmp_path) as (pool, engine):
            update = asyncio.create_task(engine.update_weights("a", 4, "/models/a", ""))
            await until((tmp_path / "started").exists)
            update.cancel()
            with pytest.raises(asyncio.CancelledError):
                await update
            assert engine.versions == {}
            (tmp_path / "go").touch()
            await until(lambda: engine.versions)
            assert engine.versions == {"a": 4}
            source = {"policy": "a", "version": 4, "path": "/models/a", "sha256": ""}
            assert pool.kwargs["policies"] == [source]
            await engine.update_weights("b", 1, "/models/b", "")  # the host says that it holds no more than this one
            assert engine.versions == {"b": 1}
            assert pool.kwargs["policies"] == [source | {"policy": "b", "version": 1, "path": "/models/b"}]

    asyncio.run(asyncio.wait_for(scenario(), 60))


def work(deadline: float, cancel_file: Path) -> dict[str, Any]:
    return {
        "policy": "policy",
        "prompts": [{"id": str(number), "text": "1+1="} for number in range(60)],
        "samples": 100,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 120, "seed": 0},
        "min_policy_version": 0,
        "deadline": deadline,
        "cancel_file": str(cancel_file),
    }


def source(directory: Path) -> dict[str, Any]:
    return {"policy": "policy", "version": 2, "path": str(directory), "sha256": ""}


def test_the_engine_ends_its_work_when_it_is_told(tmp_path: Path, model_dir: Path) -> None:
    host = EngineHost(ENGINE, [source(model_dir)])
    cancel_file = tmp_path / "cancel"
    assert host.generate(work(time.time() - 1, cancel_file))["fault"] == "DEADLINE_EXCEEDED"
    threading.Timer(0.2, cancel_file.touch).start()
    assert host.generate(work(time.time() + 600, cancel_file))["fault"] == "CANCELLED"
    scoring = {"policy": "policy", "sequences": [[[1], [2]]], "deadline": time.time() + 600}
    assert host.logprobs(scoring | {"cancel_file": str(cancel_file)})["fault"] == "CANCELLED"
    assert (
        json.loads(json.dumps(host.logprobs(scoring | {"cancel_file": str(tmp_path / "no")})))["result"][
            "policy_version"
        ]
        == 2
    )


def test_a_policy_that_cannot_be_loaded_again_is_left_out(tmp_path: Path, model_dir: Path) -> None:
    host = EngineHost(ENGINE, [source(tmp_path / "pruned") | {"policy": "lost"}, source(model_dir)])
    answer = host.logprobs({"policy": "lost", "sequences": [], "deadline": 0.0, "cancel_file": ""})
    assert answer["fault"] == "NOT_FOUND"
    assert answer["message"] == "policy 'lost' is not held; held: policy"
