"""Weights from the trainer to a real vLLM by its own engine for transfers, over gloo where a GPU would have NCCL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from services.client.channel import ServiceError
from services.client.rollout import PendingUpdate, RolloutClient
from services.rollout.engine import Prompt, Sampling, Transfer, WeightSource
from tests.services.rollout.gloo_transfer import GlooGroup
from tests.services.rollout.tiny_model import load_plain, plain_logprobs
from tests.services.rollout.vllm_service import ABSENT, PYTHON, VllmService, probes, save_model
from trainer.group import RankGroup
from trainer.nccl import TransferError
from trainer.weight_transfer import Sender, send_weights

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.exists(), reason=ABSENT),
]
TOLERANCE = 1e-4
ALONE = RankGroup(0, 1, torch.device("cpu"))
PROMPTS = [Prompt(str(number), f"{number} + {number} =") for number in range(8)]


class FolderEngine:
    """The trainer's engine, with the weights of a folder."""

    def __init__(self, directory: Path) -> None:
        self._tensors = load_file(directory / "model.safetensors")

    def each_weight(self, names):
        for name in names:
            yield self._tensors[name]


class BreakingGroup(GlooGroup):
    """Breaks off before its third tensor."""

    sent = 0

    def send(self, tensor, stay):
        self.sent += 1
        if self.sent == 3:
            raise TransferError("the cable is out")
        super().send(tensor, stay)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [save_model(folder / str(seed), seed=seed, tied=False) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[RolloutClient]:
    service = VllmService(tmp_path_factory.mktemp("service"), module="tests.services.rollout.gloo_transfer")
    try:
        with RolloutClient(service.wait()) as client:
            client.service = service  # type: ignore[attr-defined]
            yield client
    finally:
        service.end()


def begin(client: RolloutClient, version: int, directory: Path, right: Path, transfer: Transfer) -> PendingUpdate:
    canary = probes(right)
    return client.begin_update(
        WeightSource("policy", version, str(directory), canary=canary, tolerance=TOLERANCE, transfer=transfer)
    )


def transfer(client, sender, version, directory, *, sent=None, right=None):
    """Sends the weights of `sent`; `directory` is what the call names, `right` what its canary is of."""
    update = partial(begin, client, version, directory, right or directory)
    return send_weights(FolderEngine(sent or directory), directory, ALONE, sender, update)  # type: ignore[arg-type]


def engine_core(client):
    """vLLM's process that lives."""
    found = client.service.processes("EngineCor")
    (process,) = [each for each in found if each.status() != psutil.STATUS_ZOMBIE]
    return process


def assert_from(client: RolloutClient, directory: Path, version: int) -> None:
    model = load_plain(directory)
    for result in client.generate("policy", PROMPTS, 2, Sampling(max_new_tokens=20)):
        for completion in result.completions:
            right = plain_logprobs(model, result.prompt_token_ids, completion.token_ids)
            assert completion.logprobs == pytest.approx(right.tolist(), abs=TOLERANCE)
            assert set(completion.token_versions) == {version}


def test_weights_go_to_the_running_engine_and_a_wrong_or_broken_transfer_is_never_served(client, models):
    first, second, third = models
    assert client.describe().transfer_workers == 1
    client.update_weights("policy", 1, first, canary=probes(first), tolerance=TOLERANCE)
    sender = Sender(1, ALONE.device, GlooGroup)
    process = engine_core(client)

    # the folder is of the right shapes only: what is served comes from the sender
    served = transfer(client, sender, 2, first, sent=second, right=second)
    assert served and 0 < served.canary_difference <= TOLERANCE
    assert_from(client, second, 2)
    assert transfer(client, sender, 3, third)
    assert_from(client, third, 3)
    assert sender._group.joins == 1 and engine_core(client) == process  # one group, one process

    with pytest.raises(ServiceError, match="canary: the engine's log-probability differs"):
        transfer(client, sender, 4, first, sent=second)
    assert client.describe().policies == {"policy": 3}
    assert_from(client, third, 3)

    broken = Sender(1, ALONE.device, BreakingGroup)
    assert transfer(client, broken, 4, first) is None
    assert_from(client, third, 3)  # waits for the engine that was started anew
    assert engine_core(client) != process

    stale = Sender(1, ALONE.device, GlooGroup)
    assert transfer(client, stale, 4, first)
    assert_from(client, first, 4)
    engine_core(client).kill()
    assert_from(client, first, 4)
    assert transfer(client, stale, 5, second) is None  # its group died with the process; the next one is new
    assert transfer(client, stale, 5, second)
    assert_from(client, second, 5)


def test_an_update_by_transfer_waits_for_what_has_begun(client, models):
    version = client.describe().policies["policy"]
    found = {}
    long = Sampling(max_new_tokens=100)
    many = [Prompt(str(number), f"{number} -") for number in range(60)]
    sampling = threading.Thread(target=lambda: found.update(before=client.generate("policy", many, 4, long)))
    sampling.start()
    time.sleep(0.5)
    assert transfer(client, Sender(1, ALONE.device, GlooGroup), version + 1, models[2])
    assert_from(client, models[2], version + 1)
    sampling.join()
    versions = {v for result in found["before"] for each in result.completions for v in each.token_versions}
    assert versions == {version}
