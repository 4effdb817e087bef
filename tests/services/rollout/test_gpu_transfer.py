"""Weights over NCCL from one GPU to a real vLLM on another: needs two NVIDIA GPUs and a vLLM built for them.

NCCL lets no two ranks share a GPU. `ASSAY_VLLM_PYTHON` names the environment with vLLM; its GPU is the second one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from services.client.channel import ServiceError
from services.client.rollout import PendingUpdate, RolloutClient
from services.rollout.engine import Prompt, Sampling, Transfer, WeightSource
from tests.services.rollout.vllm_service import ABSENT, PYTHON, VllmService, probes, save_model
from trainer.group import RankGroup
from trainer.nccl import NcclGroup, TransferError
from trainer.weight_transfer import Sender, send_weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs"),
    pytest.mark.skipif(not PYTHON.exists(), reason=ABSENT),
]
TOLERANCE = 0.1
"""In nats: float32 in vLLM on a GPU, against float32 on a CPU."""
FLAGS = ("--dtype", "float32", "--vllm", "gpu_memory_utilization=0.3", "--vllm", "enforce_eager=true")


class GpuEngine:
    """The trainer's engine on the first GPU, with the weights of a folder."""

    def __init__(self, directory: Path) -> None:
        self._tensors = load_file(directory / "model.safetensors", device="cuda:0")

    def each_weight(self, names):
        for name in names:
            yield self._tensors[name]


class BreakingGroup(NcclGroup):
    """Breaks off at its first tensor, which vLLM then waits for."""

    def send(self, tensor, stay):
        raise TransferError("the cable is out")


@pytest.mark.parametrize("tied", [False, True])
def test_weights_go_from_gpu_to_gpu_and_a_broken_transfer_leaves_the_policy_proven(tmp_path, monkeypatch, tied):
    first, second = (save_model(tmp_path / str(seed), seed=seed, tied=tied) for seed in (1, 2))
    group = RankGroup(0, 1, torch.device("cuda", 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # of the service alone: torch has looked here already
    service = VllmService(tmp_path / "service", *FLAGS)
    try:
        with RolloutClient(service.wait()) as client:

            def begin(version: int, right: Path, transfer: Transfer) -> PendingUpdate:
                canary = probes(right)
                given = WeightSource("p", version, str(first), canary=canary, tolerance=TOLERANCE, transfer=transfer)
                return client.begin_update(given)

            def send(sender: Sender, version: int, sent: Path, right: Path):
                return send_weights(GpuEngine(sent), first, group, sender, partial(begin, version, right))  # type: ignore

            assert client.describe().transfer_workers == 1
            client.update_weights("p", 1, first, canary=probes(first), tolerance=TOLERANCE)
            sender = Sender(1, group.device, NcclGroup)
            for version, sent in ((2, second), (3, first), (4, second), (5, first)):
                assert send(sender, version, sent, sent)
            with pytest.raises(ServiceError, match="canary: "):
                send(sender, 6, second, first)
            assert send(Sender(1, group.device, BreakingGroup), 6, second, second) is None
            (result,) = client.generate("p", [Prompt("1", "1 + 1 =")], 1, Sampling(max_new_tokens=8))
            assert set(result.completions[0].token_versions) == {5}
            assert send(Sender(1, group.device, NcclGroup), 6, second, second)
    finally:
        service.end()
