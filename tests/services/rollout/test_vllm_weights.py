"""What vLLM is given to read: adapters that fit their base, in files that nobody else changes."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from services.rollout.engine import EngineError, EngineFault
from services.rollout.vllm_weights import AdapterCopy, Contents, read_contents
from tests.services.rollout.adapters import factors_for, save_adapter

Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture(scope="module")
def contents(model_dir: Path) -> Contents:
    return read_contents(model_dir)


def test_an_adapter_is_read_from_a_copy_that_goes_with_its_last_user(
    contents: Contents, model_dir: Path, tmp_path: Path
) -> None:
    tensors = factors_for(model_dir)
    adapter = save_adapter(tmp_path / "adapter", tensors)
    copy = AdapterCopy(str(adapter), "", contents.tensors)
    shutil.rmtree(adapter)
    copied = load_file(copy.path / "adapter_model.safetensors")
    assert copied.keys() == tensors.keys()
    assert all(torch.equal(copied[name], tensor) for name, tensor in tensors.items())
    folder = copy.path
    del copy
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (lambda held: held[Q].fill_(float("nan")), {}, "has weights that are not finite: base_model"),
        (lambda held: None, {"r": 8}, r"with r = 8 they must be \(8, in\)"),
        (lambda held: None, {"alpha_pattern": {"q_proj": 32}}, "has alpha_pattern ="),
        (lambda held: held.update({Q: torch.ones(4, 7)}), {}, r"of shape \(32, 32\) by a product of shape \(32, 7\)"),
        (
            lambda held: held.update({name.replace("layers.1", "layers.7"): held.pop(name) for name in list(held)}),
            {},
            "changes 'model.layers.7.mlp.down_proj.weight', which its base does not have",
        ),
    ],
)
def test_an_adapter_that_vllm_would_take_and_get_wrong_is_refused(
    contents: Contents,
    model_dir: Path,
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], Any],
    config: dict[str, Any],
    message: str,
) -> None:
    tensors = factors_for(model_dir)
    change(tensors)
    adapter = save_adapter(tmp_path / "adapter", tensors, **config)
    with pytest.raises(EngineError, match=message) as caught:
        AdapterCopy(str(adapter), "", contents.tensors)
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION
    assert str(adapter) in caught.value.message


@pytest.mark.parametrize("path", ["/" + "a" * 300, "/\0"])
def test_a_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(EngineError, match="is not a directory that this service can read"):
        AdapterCopy(path, "", ())


def test_another_checksum_is_refused(contents: Contents, model_dir: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", factors_for(model_dir))
    with pytest.raises(EngineError, match=f"with the SHA-256 .*, not {'a' * 64}"):
        AdapterCopy(str(adapter), "a" * 64, contents.tensors)
