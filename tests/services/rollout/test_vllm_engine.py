"""The vLLM engine with a stand-in for its policies: what it does for its callers beside asking vLLM."""

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from services.rollout import vllm_engine
from services.rollout.engine import EngineError, EngineFault, Generation, Prompt, Sampling, WeightSource
from services.rollout.vllm_engine import VllmEngine

SOURCE = WeightSource("policy", 1, "/w")


class SlowText:
    """Takes 20 ms to encode a prompt."""

    def __init__(self):
        self.encoded = 0

    def encode(self, prompt, max_new_tokens):
        self.encoded += 1
        time.sleep(0.02)
        return [1]

    def choices(self, sampling):
        return []


class StandIn:
    """Holds one policy; an update of it does not end."""

    def __init__(self, *_):
        self.text = SlowText()
        self.updating = asyncio.Event()

    @asynccontextmanager
    async def use(self, name):
        yield SimpleNamespace(source=SOURCE, text=self.text, core=None, adapter=None)

    async def update(self, source, gone):
        self.updating.set()
        await asyncio.Event().wait()

    async def watch(self):
        await asyncio.Event().wait()

    async def close(self):
        pass


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(vllm_engine, "Policies", StandIn)
    monkeypatch.setattr(vllm_engine, "resolved_dtype", lambda dtype: dtype)
    monkeypatch.setattr(vllm_engine, "transfer_workers", lambda _options: 0)
    return lambda: VllmEngine(1, "float32", {})


def test_other_calls_go_on_and_time_passes_while_prompts_are_encoded(engine):
    async def scene():
        vllm = engine()
        prompts = tuple(Prompt(str(number), "1") for number in range(50))
        request = Generation("policy", prompts, 1, Sampling())
        with pytest.raises(EngineError) as late:
            await anext(vllm.generate(request, 0.01))
        assert late.value.fault is EngineFault.DEADLINE_EXCEEDED
        assert vllm._policies.text.encoded < 5
        await vllm.close()

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_an_update_under_way_when_the_engine_is_closed_is_unavailable(engine):
    async def scene():
        vllm = engine()
        update = asyncio.create_task(vllm.update_weights(SOURCE))
        await vllm._policies.updating.wait()
        await vllm.close()
        assert not vllm._running
        with pytest.raises(EngineError) as ended:
            await update
        assert ended.value.fault is EngineFault.UNAVAILABLE

    asyncio.run(asyncio.wait_for(scene(), 30))
