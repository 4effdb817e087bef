"""The trainer's end of a transfer: what a call that ends, fails or is refused leaves, and what a job may ask for."""

import json
import struct
from types import SimpleNamespace

import grpc
import pytest
import torch

from services.client.channel import ServiceError
from services.rollout.engine import Description, Served, TensorInfo
from trainer import run
from trainer.config import JobFileError
from trainer.group import RankGroup
from trainer.job_sections import RolloutSection
from trainer.nccl import TransferError, absence
from trainer.rollouts import CanaryError, Rollouts, canary_errors
from trainer.weight_transfer import Sender, file_tensors, send_weights

CPU = torch.device("cpu")
ALONE = RankGroup(0, 1, CPU)


class Group:
    """Waits for each tensor until `stay` raises or it may go."""

    made = 0

    def __init__(self, world_size, device):
        type(self).made += 1
        self.unique_id = bytes([self.made]) * 128
        self.world_size, self.joined, self.aborted, self.sent = world_size, 0, 0, []

    def join(self, stay):
        self.joined += 1
        stay()

    def send(self, tensor, stay):
        stay()
        self.sent.append(tensor)

    def abort(self):
        self.aborted += 1


class Call:
    """Ends after `after` looks, with a result or an error."""

    def __init__(self, after=99, outcome=None):
        self.after, self.outcome, self.looks, self.cancelled = after, outcome or Served(1, 0.5), 0, False

    def ended(self):
        self.looks += 1
        return self.looks > self.after

    def cancel(self):
        self.cancelled = True

    def result(self):
        if isinstance(self.outcome, ServiceError):
            raise self.outcome
        return self.outcome


class Engine:
    """Two tensors; says which were asked for."""

    def __init__(self, **changes):
        self.tensors = {"a": torch.zeros(2), "b": torch.ones(3), **changes}
        self.asked = []

    def each_weight(self, names):
        for name in names:
            self.asked.append(name)
            yield self.tensors[name]


def error(code):
    return ServiceError("rollout", "here", code, "why")


@pytest.fixture
def folder(tmp_path):
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [3], "data_offsets": [8, 20]},
    }
    return written(tmp_path, header)


def written(folder, header):
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder


def send(sender, folder, call, engine=None):
    """The outcome and the transfer that the call was made with."""
    engine, told = engine or Engine(), []
    served = send_weights(engine, folder, ALONE, sender, lambda transfer: told.append(transfer) or call)  # type: ignore
    assert engine.asked == ["a", "b"]  # whatever fails, all ranks gather all of them
    return served, told[0]


def test_the_group_is_made_once_and_joined_once(folder):
    sender = Sender(3, CPU, Group)
    served, transfer = send(sender, folder, Call())
    assert served == Served(1, 0.5)
    infos = (TensorInfo("a", "float32", (2,)), TensorInfo("b", "float32", (3,)))
    assert (transfer.new_group, transfer.world_size, transfer.tensors) == (True, 4, infos)
    group = sender._group
    _, again = send(sender, folder, Call())
    assert (again.new_group, again.group) == (False, transfer.group)
    assert sender._group is group and (group.joined, len(group.sent), group.aborted) == (1, 4, 0)  # type: ignore


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_call_that_is_refused_meanwhile_ends_the_sending_and_the_group(folder, after):
    sender = Sender(1, CPU, Group)
    served, transfer = send(sender, folder, Call(after, error(grpc.StatusCode.UNAVAILABLE)))
    assert served is None and sender._group is None
    served, other = send(sender, folder, Call())
    assert served and other.new_group and other.group != transfer.group


def test_a_call_that_needed_no_tensors_is_served_all_the_same(folder):
    sender = Sender(1, CPU, Group)
    served, _ = send(sender, folder, Call(0, Served(4, 0.25)))
    assert served == Served(4, 0.25) and sender._group is None


def test_a_group_that_cannot_be_had_costs_no_version(folder):
    """NCCL finds no network interface, say."""

    class Never(Group):
        def __init__(self, world_size, device):
            raise TransferError("ncclGetUniqueId: unhandled system error")

    sender, told = Sender(1, CPU, Group), []
    send(sender, folder, Call(0, error(grpc.StatusCode.UNAVAILABLE)))
    sender._make_group = Never
    assert send_weights(Engine(), folder, ALONE, sender, told.append) is None  # type: ignore[arg-type]
    assert told == []


def test_a_tensor_that_is_not_as_its_file_says_ends_the_call(folder):
    sender, call = Sender(1, CPU, Group), Call()
    served, _ = send(sender, folder, call, Engine(b=torch.ones(3, dtype=torch.float16)))
    assert served is None and call.cancelled and sender._group is None


def test_a_missed_canary_is_the_run_s_error_and_nothing_that_files_would_mend(folder):
    with pytest.raises(CanaryError, match="version 3 of the weights is not what"), canary_errors(3):
        send(Sender(1, CPU, Group), folder, Call(99, error(grpc.StatusCode.DATA_LOSS)))


def test_a_dtype_that_cannot_be_sent_is_named(tmp_path):
    folder = written(tmp_path, {"n": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}})
    with pytest.raises(JobFileError, match="n is I64, which 'nccl' does not send; take 'files'"):
        file_tensors(folder)


def test_nccl_goes_with_vllm():
    numbers = {"prompts_per_step": 1, "samples_per_prompt": 1, "max_new_tokens": 1}
    assert RolloutSection(**numbers).transfer == "files"
    assert RolloutSection(**numbers, engine="vllm", transfer="nccl").transfer == "nccl"
    with pytest.raises(ValueError, match="transfer = 'nccl' needs engine = 'vllm'; 'transformers' takes 'files'"):
        RolloutSection(**numbers, transfer="nccl")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_trainer_without_a_gpu_says_so(monkeypatch, tmp_path):
    assert absence() == "torch sees no NVIDIA GPU"
    monkeypatch.setattr(run, "check_job", lambda _config: None)
    monkeypatch.setattr(run, "configure_logs", lambda _name: None)
    config = SimpleNamespace(rollout=SimpleNamespace(transfer="nccl"))
    with pytest.raises(JobFileError, match="the trainer cannot send: torch sees no NVIDIA GPU; take 'files'"):
        run._run(config, tmp_path, None)  # type: ignore[arg-type]


def test_a_service_without_gpus_is_refused():
    rollouts = Rollouts.__new__(Rollouts)
    rollouts.calls = {"rollout": 0}  # type: ignore[assignment]
    rollouts._config = SimpleNamespace(rollout=SimpleNamespace(engine="vllm", transfer="nccl"))  # type: ignore
    answer = Description("vllm", "float32", {}, 0)
    rollouts._client = SimpleNamespace(describe=lambda: answer, address="here:1")  # type: ignore
    with pytest.raises(JobFileError, match="the rollout service at here:1 does not compute on NVIDIA GPUs"):
        rollouts.check_engine()


def test_an_error_of_a_group_is_not_a_job_s():
    assert not issubclass(TransferError, (ServiceError, JobFileError))
