"""Which policies are held after what, with a stand-in for vLLM: it keeps the name of the folder it was told to load.

What vLLM itself does is in test_vllm_service.py and test_engine_conformance.py.
"""

import asyncio
from dataclasses import replace
from typing import ClassVar

import pytest

from services.rollout import vllm_policies
from services.rollout.engine import EngineError, EngineFault, Probe, TokenSequence, WeightSource
from services.rollout.vllm_policies import Policies
from services.rollout.vllm_turns import Turns
from tests.services.rollout.tiny_model import VOCABULARY, save_tiny_model

SEQUENCE = TokenSequence((1,), (2,))
HERE = asyncio.Event()
"""Of a caller that stays."""


class StandIn:
    """Computes -1, -2, ... by the folder's name (`weights-1`, `weights-2`)."""

    started: ClassVar[list[str]] = []
    stopped: ClassVar[list[str]] = []
    broken = False
    """Nothing can be loaded any more."""

    def __init__(self, dtype, options):
        self.turns = Turns()
        self.dead, self.takes_adapters, self.positions, self.vocabulary = True, False, 128, VOCABULARY
        self.holds = ""
        self.served = asyncio.Event()

    async def serve(self, directory, contents, version, *, afresh=False):
        if self.broken:
            raise EngineError(EngineFault.FAILED_PRECONDITION, "cannot be loaded")
        if self.dead or afresh:
            self.started.append(directory.name)
        self.dead = False
        self.holds = directory.name
        self.served.set()

    async def stop(self):
        self.dead = True
        self.stopped.append(self.holds)


@pytest.fixture
def policies(monkeypatch):
    async def computed(core, sequence, adapter):
        return (-float(core.holds.removeprefix("weights-")),)

    monkeypatch.setattr(vllm_policies, "Core", StandIn)
    monkeypatch.setattr(vllm_policies, "given_logprobs", computed)
    for name, value in {"started": [], "stopped": [], "broken": False}.items():
        monkeypatch.setattr(StandIn, name, value)
    return Policies(2, "float32", {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for number in (1, 2, 3):
        save_tiny_model(folder / f"weights-{number}", seed=number)
    return folder


@pytest.fixture
def source(folder):
    def make(policy, version, number, *, canary=None):
        probes = () if canary == 0 else (Probe(SEQUENCE, (-float(canary or number),)),)
        return WeightSource(policy, version, str(folder / f"weights-{number}"), canary=probes, tolerance=0.1)

    return make


def test_the_policy_that_was_not_used_for_longest_makes_room(policies, source):
    async def scene():
        await policies.update(source("a", 1, 1), HERE)
        await policies.update(source("b", 1, 2), HERE)
        async with policies.use("a"):
            pass
        await policies.update(source("c", 1, 3), HERE)
        assert policies.versions == {"a": 1, "c": 1}
        assert StandIn.stopped == ["weights-2"]

    asyncio.run(scene())


def test_a_missed_canary_brings_the_weights_from_before_back(policies, source):
    async def scene():
        await policies.update(source("a", 1, 1), HERE)
        with pytest.raises(EngineError, match="canary: ") as caught:
            await policies.update(source("a", 2, 2, canary=9), HERE)
        assert caught.value.fault is EngineFault.DATA_LOSS
        async with policies.use("a") as held:
            assert (held.source.version, held.core.holds) == (1, "weights-1")
        assert StandIn.started == ["weights-1"]  # they could be proven in the process that ran
        assert await policies.update(source("a", 2, 2), HERE) == 0
        assert policies.versions == {"a": 2}

    asyncio.run(scene())


def test_weights_that_cannot_be_proven_come_back_in_a_new_process(policies, source):
    async def scene():
        await policies.update(source("a", 1, 1, canary=0), HERE)
        with pytest.raises(EngineError, match="canary: "):
            await policies.update(source("a", 2, 2, canary=9), HERE)
        assert StandIn.started == ["weights-1", "weights-1"]
        assert policies.versions == {"a": 1}

    asyncio.run(scene())


def test_a_policy_whose_weights_do_not_come_back_is_held_no_more(policies, source, monkeypatch):
    async def scene():
        await policies.update(source("a", 1, 1), HERE)
        monkeypatch.setattr(StandIn, "broken", True)
        with pytest.raises(EngineError, match="cannot be loaded"):
            await policies.update(source("a", 2, 2), HERE)
        with pytest.raises(EngineError, match="'a' is not held; held: none") as caught:
            async with policies.use("a"):
                pass
        assert caught.value.fault is EngineFault.NOT_FOUND
        assert StandIn.stopped == ["weights-1"]

    asyncio.run(scene())


def test_the_canary_of_the_served_version_is_looked_at_again(policies, source):
    async def scene():
        served = source("a", 1, 1)
        near = replace(served, canary=(Probe(SEQUENCE, (-1.0625,)),))
        assert await policies.update(near, HERE) == 0.0625
        assert await policies.update(served, HERE) == 0
        assert await policies.update(near, HERE) == 0.0625
        assert await policies.update(replace(served, canary=()), HERE) == 0  # nothing was looked at
        other = WeightSource("a", 1, served.path, canary=(Probe(SEQUENCE, (-1.5,)),), tolerance=0.1)
        with pytest.raises(EngineError, match=r"differs by 0\.5"):
            await policies.update(other, HERE)
        assert policies.versions == {}

    asyncio.run(scene())


def test_a_process_that_ended_is_started_again_with_its_weights(policies, source):
    async def scene():
        await policies.update(source("a", 1, 1), HERE)
        await policies.update(source("a", 2, 2), HERE)
        async with policies.use("a") as held:
            core = held.core
        watching = asyncio.create_task(policies.watch())
        core.served.clear()
        core.dead, core.holds = True, "nothing"
        await core.served.wait()
        watching.cancel()
        assert core.holds == "weights-2"
        assert StandIn.started == ["weights-1", "weights-2"]

    asyncio.run(asyncio.wait_for(scene(), 10))


def test_versions_grow_and_a_base_stays_a_base(policies, source, folder):
    async def scene():
        await policies.update(source("a", 5, 1), HERE)
        with pytest.raises(EngineError, match=r"version 4 of policy 'a'.* cannot replace version 5"):
            await policies.update(source("a", 4, 2), HERE)
        with pytest.raises(EngineError, match=r"version 5 of policy 'a'.* cannot replace version 5"):
            await policies.update(source("a", 5, 2), HERE)
        with pytest.raises(EngineError, match="policy 'a' has base '', not 'b'; use another name"):
            await policies.update(WeightSource("a", 6, str(folder), base="b"), HERE)
        with pytest.raises(EngineError, match="base 'b' is not held; held: a") as caught:
            await policies.update(WeightSource("c", 6, str(folder), base="b"), HERE)
        assert caught.value.fault is EngineFault.FAILED_PRECONDITION
        with pytest.raises(EngineError, match="takes no LoRA adapters; start it with --vllm enable_lora=true"):
            await policies.update(WeightSource("c", 6, str(folder), base="a"), HERE)

    asyncio.run(scene())
