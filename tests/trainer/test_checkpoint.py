"""Checkpoints: resume bit-equal under real DeepSpeed, whole or absent when killed at any moment, published models."""

import json
import os
import random
import signal

import numpy as np
import pytest
import torch

from trainer.checkpoint import Checkpoints, random_state, set_random_state
from trainer.group import RankGroup

ALONE = RankGroup(0, 1, torch.device("cpu"))


class FileEngine:
    """Stands in for the engine where only files matter: DeepSpeed's own are written by the cases on real ranks."""

    zero_stage = 0

    def __init__(self, content=""):
        self.content = content

    def save(self, directory):
        (directory / "engine").mkdir()
        (directory / "engine" / "weights").write_text(self.content)

    def load(self, directory):
        self.content = (directory / "engine" / "weights").read_text()


def restore(checkpoints):
    engine = FileEngine()
    state = checkpoints.load(engine, checkpoints.latest())
    return state, engine.content


@pytest.mark.parametrize(("ranks", "stage"), [("one_rank", 0), ("two_ranks", 2), ("two_ranks", 3)])
def test_a_resumed_run_is_bit_equal_to_an_uninterrupted_one(ranks, stage, request):
    for found, _ in request.getfixturevalue(ranks):
        seen = found[f"resume:{stage}:fp32"]
        assert seen["none_at_first"] and seen["state"] == {"step": 2, "note": "é"}
        assert seen["same_metrics"] and seen["same_weights"] and seen["same_random"]
        assert f"written with zero_stage {stage}" in seen["refused"]


@pytest.mark.parametrize(("ranks", "case"), [("one_rank", "0:fp32"), ("two_ranks", "3:fp32"), ("two_ranks", "2:bf16")])
def test_a_published_model_gives_the_engines_log_probabilities(ranks, case, request):
    for found, _ in request.getfixturevalue(ranks):
        seen = found[f"publish:{case}"]
        assert seen["difference"] < (1e-5 if case.endswith("fp32") else 5e-2)
        assert {"config.json", "model.safetensors", "model.safetensors.sha256", "tokenizer.json"} <= set(seen["files"])
        assert seen["line"] == f"{seen['sha256']}  model.safetensors\n" and len(seen["sha256"]) == 64
        assert seen["same"] and seen["mode"] == "0o644"


@pytest.mark.parametrize(("ranks", "case"), [("one_rank", "0:fp32"), ("two_ranks", "3:fp32"), ("two_ranks", "2:bf16")])
def test_a_transfer_says_and_sends_what_the_published_file_holds(ranks, case, request):
    for found, _ in request.getfixturevalue(ranks):
        seen = found[f"publish:{case}"]
        assert seen["sent"] and seen["told"] and seen["tied_once"]


def test_a_checkpoint_is_restored_with_its_state_and_only_the_last_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, group=ALONE)
    assert checkpoints.latest() is None
    for step in (1, 2, 3):
        checkpoints.save(FileEngine(f"weights {step}"), f"step-{step}", {"step": step})
    assert restore(checkpoints) == ({"step": 3}, "weights 3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-2", "step-3"]


def test_the_latest_is_not_written_again_under_its_name(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, group=ALONE)
    checkpoints.save(FileEngine("first"), "step-1", {})
    checkpoints.save(FileEngine("second"), "step-1", {})
    assert restore(checkpoints)[1] == "first"


def test_another_number_of_ranks_is_refused(tmp_path):
    Checkpoints(tmp_path, 1, ALONE).save(FileEngine(), "step-1", {})
    state = tmp_path / "step-1" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"world_size": 4}))
    with pytest.raises(ValueError, match="step-1 was written with world_size 4, this run has 1"):
        restore(Checkpoints(tmp_path, 1, ALONE))


def die_at_sync(number, monkeypatch):
    """This process kills itself at its nth fsync: before and after each file, directory, rename and pointer."""
    real, calls = os.fsync, []

    def sync(descriptor):
        calls.append(descriptor)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)


def test_a_save_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1, group=ALONE)
    checkpoints.save(FileEngine("old"), "step-1", {"step": 1})
    outcomes = []
    for moment in range(1, 100):
        child = os.fork()
        if child == 0:
            die_at_sync(moment, monkeypatch)
            checkpoints.save(FileEngine("new"), "step-2", {"step": 2})
            os._exit(0)
        _, status = os.waitpid(child, 0)
        outcomes.append(restore(checkpoints))
        assert outcomes[-1] in (({"step": 1}, "old"), ({"step": 2}, "new"))
        if status == 0 or outcomes[-1][1] == "new":
            break
    assert len(outcomes) > 5 and outcomes[0][1] == "old" and outcomes[-1][1] == "new"
    checkpoints.save(FileEngine("newest"), "step-3", {"step": 3})
    assert restore(checkpoints) == ({"step": 3}, "newest")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-3"]


def test_random_generators_go_on_where_they_were():
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    np.random.randn()  # leaves a second normal number waiting inside the generator
    state = json.loads(json.dumps(random_state()))

    def draw():
        return [
            float(torch.rand(1)),
            float(np.random.randn()),
            float(np.random.rand()),
            random.gauss(0, 1),
            random.random(),
        ]

    expected = draw()
    draw()
    set_random_state(state)
    assert draw() == expected


def test_keeping_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep must be at least 1, not 0"):
        Checkpoints(tmp_path, 0, ALONE)
