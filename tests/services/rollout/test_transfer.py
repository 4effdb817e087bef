"""Transfers of weights without vLLM and without a GPU: what a request may say, the order of calls, what breaks off.

The same against a real vLLM is in test_vllm_transfer.py.
"""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from protos.gen.assay.v1 import rollout_pb2
from services.rollout import vllm_core, vllm_policies
from services.rollout.engine import EngineError, EngineFault, Probe, TensorInfo, TokenSequence, Transfer, WeightSource
from services.rollout.engine_process import EngineProcess
from services.rollout.requests import BadRequestError, checked_source
from services.rollout.vllm_core import Core
from services.rollout.vllm_policies import Policies
from services.rollout.vllm_transfer import check_group, check_transfer, transfer_workers
from services.rollout.vllm_weights import read_contents
from services.rollout.wire import source_to_wire
from tests.services.rollout.tiny_model import save_tiny_model
from trainer.weight_transfer import file_tensors

GROUP = bytes(range(128))
TENSOR = TensorInfo("a", "float32", (2, 3))


def transfer(**changes):
    given = {"backend": "nccl", "group": GROUP, "new_group": True, "world_size": 2, "tensors": (TENSOR,)}
    return Transfer(**given | changes)


def source(**changes):
    return WeightSource("p", 1, "/w", **{"transfer": transfer(), **changes})


def test_a_transfer_comes_through_the_wire_as_it_was():
    several = (TENSOR, TensorInfo("b", "bfloat16", ()), TensorInfo("c", "float16", (5,)))
    sent = source(transfer=transfer(tensors=several, new_group=False, world_size=9), canary=(), sha256="ab" * 32)
    assert checked_source(source_to_wire(sent)) == sent
    assert checked_source(rollout_pb2.UpdateWeightsRequest(policy="p", path="/w")).transfer is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "ipc"}, "transfer.backend is 'ipc'; it must be 'nccl'"),
        ({"backend": ""}, "transfer.backend is ''"),
        ({"group": GROUP[1:]}, "transfer.group has 127 bytes; NCCL's unique id has 128"),
        ({"world_size": 1}, "transfer.world_size is 1; it must be 2 to 4096"),
        ({"world_size": 4097}, "transfer.world_size is 4097"),
        ({"tensors": ()}, "transfer.tensors is empty"),
        ({"tensors": (TENSOR, TENSOR)}, r"transfer.tensors\[1\].name is 'a' again"),
        ({"tensors": (TensorInfo("", "float32", (1,)),)}, r"transfer.tensors\[0\].name has 0 characters"),
        ({"tensors": (TensorInfo("a", "cuda", (1,)),)}, r"dtype is 'cuda'; it must be one of float32, bfloat16"),
        ({"tensors": (TensorInfo("a", "float32", (0, 5)),)}, r"shape is \[0, 5\]; it must have at most 8 dimensions"),
        ({"tensors": (TensorInfo("a", "float32", (2**63, 2**63)),)}, "1 to 1099511627776 numbers"),
        ({"tensors": (TensorInfo("a", "float32", (1,) * 9),)}, "at most 8 dimensions"),
    ],
)
def test_what_is_wrong_in_a_transfer_is_named(changes, message):
    with pytest.raises(BadRequestError, match=message):
        checked_source(source_to_wire(source(transfer=transfer(**changes))))


def test_an_adapter_is_not_transferred():
    with pytest.raises(BadRequestError, match="transfer and base are both given"):
        checked_source(source_to_wire(source(base="b")))


def test_the_transformers_engine_refuses_by_name():
    engine = EngineProcess(None, "float32")  # type: ignore[arg-type]
    assert engine.transfer_workers == 0
    with pytest.raises(EngineError, match="the engine transformers takes weights from their folder only") as caught:
        asyncio.run(engine.update_weights(source()))
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION


def test_workers_are_counted_and_must_fit(monkeypatch):
    platform = SimpleNamespace(is_cuda=lambda: True)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "vllm.platforms", SimpleNamespace(current_platform=platform))
    assert transfer_workers({}) == 1
    assert transfer_workers({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}) == 8
    platform.is_cuda = lambda: False
    assert transfer_workers({"tensor_parallel_size": 4}) == 0
    check_transfer(transfer(world_size=5), 4)
    with pytest.raises(EngineError, match="does not compute on an NVIDIA GPU here"):
        check_transfer(transfer(), 0)
    with pytest.raises(EngineError, match="world_size is 2; it must be 5, the trainer and 4 of vLLM"):
        check_transfer(transfer(), 4)
    check_group(transfer(new_group=False), GROUP)
    with pytest.raises(EngineError, match="Send a new one"):
        check_group(transfer(new_group=False), b"")


class Llm:
    """Says that it is an AsyncLLM, and writes down what it is asked."""

    errored = False

    def __init__(self, hangs_at=""):
        self.asked, self._hangs_at, self.hanging = [], hangs_at, asyncio.Event()

    def __getattr__(self, name):
        async def call(*given, **more):
            self.asked.append(
                (name, *(vars(each) if isinstance(each, SimpleNamespace) else each for each in given), more)
            )
            if name == self._hangs_at:
                self.hanging.set()
                await asyncio.Event().wait()

        return call

    def shutdown(self):
        self.asked.append(("shutdown",))


@pytest.fixture
def vllm(monkeypatch):
    request = SimpleNamespace(WeightTransferInitRequest=SimpleNamespace, WeightTransferUpdateRequest=SimpleNamespace)
    for name in ("vllm", "vllm.distributed", "vllm.distributed.weight_transfer"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "vllm.distributed.weight_transfer.base", request)


def started(llm):
    core = Core("float32", {})
    core._llm = llm
    return core


def test_vllm_is_asked_in_its_own_order_and_the_group_is_made_once(vllm):
    async def scene():
        llm = Llm()
        core = started(llm)
        await core.receive(transfer(), 7, asyncio.Event())
        assert core.group == GROUP
        names = [name for name, *_ in llm.asked]
        update = ["start_weight_update", "update_weights", "finish_weight_update"]
        end = ["resume_generation", "update_weight_version"]
        assert names == ["pause_generation", "init_weight_transfer_engine", *update, *end]
        assert llm.asked[0][-1] == {"mode": "abort", "clear_cache": True}
        init = llm.asked[1][1]["init_info"]
        assert init["nccl_unique_id_b64"].startswith("AAECAwQF") and len(init["nccl_unique_id_b64"]) == 172
        assert (init["rank_offset"], init["world_size"], init["packed"]) == (1, 2, False)
        assert llm.asked[3][1]["update_info"] == {"names": ["a"], "dtype_names": ["float32"], "shapes": [[2, 3]]}
        assert llm.asked[-1][1] == "7"
        llm.asked.clear()
        await core.receive(transfer(new_group=False), 8, asyncio.Event())
        assert [name for name, *_ in llm.asked] == ["pause_generation", *update, *end]
        llm.asked.clear()
        await core.receive(transfer(group=GROUP[::-1]), 9, asyncio.Event())
        init = ["shutdown_weight_transfer_engine", "init_weight_transfer_engine"]
        assert [name for name, *_ in llm.asked] == ["pause_generation", *init, *update, *end]

    asyncio.run(scene())


@pytest.mark.parametrize("place", ["init_weight_transfer_engine", "update_weights", "finish_weight_update"])
def test_a_sender_that_goes_away_ends_the_wait_and_the_process_is_trusted_no_more(vllm, place):
    async def scene():
        gone = asyncio.Event()
        core = started(Llm(hangs_at=place))
        core._contents = contents = object()  # type: ignore[assignment]
        assert core.has(contents)  # type: ignore[arg-type]
        receiving = asyncio.create_task(core.receive(transfer(), 2, gone))
        await core._llm.hanging.wait()
        gone.set()
        with pytest.raises(EngineError, match="the transfer broke off") as caught:
            await receiving
        assert caught.value.fault is EngineFault.UNAVAILABLE
        assert not core.has(contents) and core.group == b""  # type: ignore[arg-type]

    asyncio.run(asyncio.wait_for(scene(), 10))


class PolicyCore(Core):
    """Keeps the number of the folder, or that of what was sent."""

    sent = 0
    breaks = False
    starts = loads = 0
    dead, takes_adapters, positions, vocabulary = False, False, 128, 48  # type: ignore[assignment]

    async def serve(self, directory, contents, version, *, afresh=False):
        if contents != self._contents or afresh:
            type(self).starts += 1
        type(self).loads += 1
        self.holds, self._contents = int(directory.name), contents

    async def receive(self, transfer, version, gone):
        self.holds = 0
        if self.breaks:
            self._contents = None
            raise EngineError(EngineFault.UNAVAILABLE, "the transfer broke off")
        self.holds, self.group = self.sent, transfer.group

    async def stop(self):
        pass


@pytest.fixture
def policies(monkeypatch):
    async def computed(core, sequence, adapter):
        return (-float(core.holds),)

    monkeypatch.setattr(vllm_policies, "Core", PolicyCore)
    monkeypatch.setattr(vllm_policies, "given_logprobs", computed)
    for name, value in {"sent": 0, "breaks": False, "starts": 0, "loads": 0}.items():
        monkeypatch.setattr(PolicyCore, name, value)
    return Policies(2, "float32", {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for number in (1, 2):
        save_tiny_model(folder / str(number), seed=number)
    return folder


def version(folder, number, *, transfer=None, path=None):
    canary = (Probe(TokenSequence((1,), (2,)), (-float(number),)),)
    return WeightSource("p", number, str(path or folder / str(number)), canary=canary, tolerance=0.1, transfer=transfer)


async def held(policies):
    async with policies.use("p") as policy:
        return policy.source.version, policy.core.holds


def test_a_policy_begins_with_files_goes_on_by_transfer_and_never_serves_what_is_not_proven(
    policies, folder, monkeypatch
):
    tensors = tuple(file_tensors(folder / "2"))
    ours = transfer(tensors=tensors)

    async def scene():
        here = asyncio.Event()
        monkeypatch.setattr(PolicyCore, "sent", 2)
        await policies.update(version(folder, 1, transfer=ours), here)
        assert await held(policies) == (1, 1) and PolicyCore.starts == 1  # vLLM starts from files
        with pytest.raises(EngineError, match="Send a new one"):
            await policies.update(version(folder, 2, transfer=transfer(tensors=tensors, new_group=False)), here)
        with pytest.raises(EngineError, match="tensors are not those in path; 'a' is one that differs"):
            await policies.update(version(folder, 2, transfer=transfer(tensors=(*tensors, TENSOR))), here)
        monkeypatch.setattr(PolicyCore, "sent", 9)
        with pytest.raises(EngineError, match="canary: ") as caught:
            await policies.update(version(folder, 2, transfer=ours), here)
        assert caught.value.fault is EngineFault.DATA_LOSS
        assert await held(policies) == (1, 1) and PolicyCore.starts == 1  # from its files, in the same process
        monkeypatch.setattr(PolicyCore, "breaks", True)
        with pytest.raises(EngineError, match="broke off"):
            await policies.update(version(folder, 2, transfer=ours), here)
        assert await held(policies) == (1, 1) and PolicyCore.starts == 2  # in a new process
        monkeypatch.setattr(PolicyCore, "breaks", False)
        monkeypatch.setattr(PolicyCore, "sent", 2)
        await policies.update(version(folder, 2, transfer=ours), here)
        assert await held(policies) == (2, 2) and PolicyCore.starts == 2
        async with policies.use("p") as policy:
            assert policy.source.transfer is None and policy.core.group == GROUP

    asyncio.run(scene())


def test_nothing_is_touched_for_a_sender_that_went_away_while_requests_ran(policies, folder, monkeypatch):
    monkeypatch.setattr(PolicyCore, "breaks", True)
    ours = transfer(tensors=tuple(file_tensors(folder / "2")))

    async def scene():
        gone = asyncio.Event()
        await policies.update(version(folder, 1), gone)
        async with policies.use("p") as policy:
            update = asyncio.create_task(policies.update(version(folder, 2, transfer=ours), gone))
            while not policy.core.turns._updates:  # noqa: ASYNC110 - a thread reads the folder
                await asyncio.sleep(0.01)
            gone.set()
        with pytest.raises(EngineError, match="went away") as caught:
            await update
        assert caught.value.fault is EngineFault.CANCELLED
        assert await held(policies) == (1, 1) and PolicyCore.loads == 1

    asyncio.run(asyncio.wait_for(scene(), 10))


def test_a_policy_whose_old_weights_do_not_come_back_after_a_transfer_is_withdrawn(
    policies, folder, tmp_path, monkeypatch
):
    ours = transfer(tensors=tuple(file_tensors(folder / "2")))
    first = save_tiny_model(tmp_path / "1", seed=1)

    async def scene():
        await policies.update(version(folder, 1, path=first), asyncio.Event())
        (first / "model.safetensors").unlink()
        monkeypatch.setattr(PolicyCore, "breaks", True)
        with pytest.raises(EngineError, match="broke off"):
            await policies.update(version(folder, 2, transfer=ours), asyncio.Event())
        assert policies.versions == {}

    asyncio.run(scene())


def test_headers_say_what_the_numbers_say(folder):
    assert read_contents(folder / "1", numbers=False) == read_contents(folder / "1")
    assert vllm_core.Core("float32", {}).group == b""
