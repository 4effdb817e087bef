"""LoRA adapters against weights merged by hand, and what is refused because it would be another model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.rollout.adapter import read_adapter
from services.rollout.engine import EngineError, EngineFault, TokenSequence, WeightSource
from services.rollout.transformers_engine import TransformersEngine
from tests.services.rollout.adapters import factors_for, save_adapter, save_merged
from tests.services.rollout.plain_engine import engine_with, load, scored
from tests.services.rollout.tiny_model import load_plain, plain_logprobs, save_tiny_model, sha256_of

SEQUENCE = TokenSequence((1, 5, 9, 20), (7, 8, 30, 2, 40, 12))
Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def lay(engine: TransformersEngine, version: int, directory: Path, *, base: str = "policy", sha256: str = "") -> None:
    engine.update_weights(WeightSource("adapted", version, str(directory), sha256, base))


def expected(directory: Path) -> torch.Tensor:
    return plain_logprobs(load_plain(directory), SEQUENCE.prompt_token_ids, SEQUENCE.completion_token_ids)


def served(engine: TransformersEngine, policy: str = "adapted") -> torch.Tensor:
    return torch.tensor(scored(engine, policy, [SEQUENCE])[0])


def weight(engine: TransformersEngine, policy: str, name: str) -> torch.Tensor:
    return engine._policies[policy].model.get_parameter(name)


def test_the_sum_is_right_to_the_digit(model_dir: Path, tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj"
    down, up = torch.zeros(2, 32), torch.zeros(32, 2)
    down[0, 3], down[1, 5] = 0.5, -1.0
    up[7, 0], up[7, 1], up[9, 1] = 2.0, 4.0, 0.25
    tensors = {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
    engine = engine_with(model_dir)
    lay(engine, 1, save_adapter(tmp_path / "plain", tensors, r=2, lora_alpha=3))  # a scale of 3 / 2
    change = weight(engine, "adapted", f"{name}.weight") - weight(engine, "policy", f"{name}.weight")
    wanted = torch.zeros(32, 32)
    wanted[7, 3], wanted[7, 5], wanted[9, 5] = 1.5 * 2.0 * 0.5, 1.5 * 4.0 * -1.0, 1.5 * 0.25 * -1.0
    torch.testing.assert_close(change, wanted, atol=1e-6, rtol=0)
    lay(engine, 2, save_adapter(tmp_path / "rslora", tensors, r=2, lora_alpha=3, use_rslora=True))
    change = weight(engine, "adapted", f"{name}.weight") - weight(engine, "policy", f"{name}.weight")
    torch.testing.assert_close(change, wanted / 1.5 * 3 / math.sqrt(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_answers_as_the_merged_model_and_leaves_its_base(tmp_path: Path, tied: bool) -> None:
    base = save_tiny_model(tmp_path / "base", seed=1, tied=tied)
    engine = engine_with(base)
    for version in (1, 2):  # the second goes into the model of the first
        tensors = factors_for(base, seed=version)
        adapter = save_adapter(tmp_path / str(version), tensors)
        lay(engine, version, adapter, sha256=_sha256(adapter))
        right = expected(save_merged(tmp_path / f"merged-{version}", base, tensors, 8 / 4))
        torch.testing.assert_close(served(engine), right, atol=1e-5, rtol=0)
        assert (right - expected(base)).abs().max() > 0.1
        torch.testing.assert_close(served(engine, "policy"), expected(base), atol=1e-5, rtol=0)
    lay(engine, 2, adapter)  # sent again
    assert engine.versions == {"policy": 3, "adapted": 2}
    moved = save_tiny_model(tmp_path / "moved", seed=2, tied=tied)
    load(engine, "policy", 4, moved)  # an adapter stays on the weights that it was laid on
    torch.testing.assert_close(served(engine), right, atol=1e-5, rtol=0)
    whole = save_tiny_model(tmp_path / "whole", seed=3, tied=tied)
    load(engine, "adapted", 3, whole)
    torch.testing.assert_close(served(engine), expected(whole), atol=1e-5, rtol=0)


def _sha256(directory: Path) -> str:
    copy = directory / "model.safetensors"
    copy.write_bytes((directory / "adapter_model.safetensors").read_bytes())
    found = sha256_of(directory)
    copy.unlink()
    return found


def config(**changes: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        file = directory / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def rewrite(directory: Path) -> None:
        file = directory / "adapter_model.safetensors"
        held = load_file(file)
        change(held)
        save_file(held, file)

    return rewrite


def renamed(old: str, new: str) -> Callable[[Path], None]:
    return tensors(lambda held: held.update({name.replace(old, new): held.pop(name) for name in list(held)}))


BAD = [
    (lambda path: (path / "adapter_config.json").unlink(), "has no adapter_config.json; it must be a LoRA adapter"),
    (lambda path: (path / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
    (lambda path: (path / "adapter_config.json").write_text("{"), "has a file adapter_config.json that cannot be read"),
    (lambda path: (path / "adapter_config.json").write_text("[]"), "that is no object"),
    (lambda path: (path / "adapter_model.safetensors").write_bytes(b"x" * 99), "that cannot be read"),
    (config(peft_type="IA3"), 'has peft_type = "IA3" in its adapter_config.json; it must be "LORA"'),
    (config(use_dora=True), "has use_dora = true in its adapter_config.json; it must be empty or false"),
    (config(bias="lora_only"), 'has bias = "lora_only" in its adapter_config.json; it must be "none"'),
    (config(modules_to_save=["lm_head"]), r'has modules_to_save = \["lm_head"\]'),
    (config(rank_pattern={"q_proj": 8}), "has rank_pattern = "),
    (config(init_lora_weights="pissa"), 'has init_lora_weights = "pissa" in its adapter_config.json; it must be true'),
    (config(fan_in_fan_out=True), "has fan_in_fan_out = true"),
    (config(r=0), "has r = 0 in its adapter_config.json; it must be a whole number of at least 1"),
    (config(r=True), "has r = true"),
    (config(r=5), r"of the shapes \(4, 32\) and \(32, 4\) for .*; with r = 5 they must be \(5, in\) and \(out, 5\)"),
    (
        config(lora_alpha=float("inf")),
        r"has lora_alpha = Infinity in its adapter_config.json; it must be a number from -1e\+30 to 1e\+30",
    ),
    (config(lora_alpha=None), "has lora_alpha = null"),
    (config(lora_alpha=10**400), "has lora_alpha = 1000"),
    (lambda path: (path / "adapter_config.json").write_text("[" * 100_000), "adapter_config.json that cannot be read"),
    (tensors(lambda held: [each.fill_(1e30) for each in held.values()]), "makes weights that are not finite: model"),
    (tensors(lambda held: held.clear()), "has no tensors"),
    (
        tensors(lambda held: held.pop(Q)),
        "has lora_B of 'model.layers.0.self_attn.q_proj' alone; both factors are needed",
    ),
    (tensors(lambda held: held[Q].fill_(float("nan"))), "has weights that are not finite"),
    (tensors(lambda held: held.update({Q: torch.ones(4, 7)})), r"of shape \(32, 32\) by a product of shape \(32, 7\)"),
    (
        renamed("q_proj", "w_proj"),
        "changes 'model.layers.0.self_attn.w_proj.weight', which its base does not have",
    ),
    (renamed("layers.0.self_attn.q_proj", "norm"), r"of shape \(32,\) by a product of shape"),
    (
        renamed("lora_A.weight", "lora_magnitude_vector"),
        "only base_model.model.<module>.lora_A.weight and lora_B.weight",
    ),
    (renamed("base_model.model.", ""), "only base_model.model.<module>.lora_A.weight and lora_B.weight"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> TransformersEngine:
    """Holds a base and an adapter."""
    engine = engine_with(model_dir)
    lay(engine, 1, save_adapter(tmp_path_factory.mktemp("adapter") / "1", factors_for(model_dir)))
    return engine


@pytest.mark.parametrize(("damage", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_merged_is_refused_and_nothing_is_changed(
    engine: TransformersEngine, model_dir: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    before = served(engine)
    adapter = save_adapter(tmp_path / "adapter", factors_for(model_dir, seed=9))
    damage(adapter)
    with pytest.raises(EngineError, match=message) as caught:
        lay(engine, 2, adapter)
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION
    assert engine.versions["adapted"] == 1
    assert torch.equal(served(engine), before)


def test_a_checksum_and_a_base_are_looked_at(engine: TransformersEngine, model_dir: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", factors_for(model_dir))
    for change, message in (
        ({"sha256": "0" * 64}, "has a file adapter_model.safetensors with the SHA-256 "),
        ({"base": "absent"}, "base 'absent' is not held; held: adapted, policy"),
    ):
        with pytest.raises(EngineError, match=message) as caught:
            lay(engine, 2, adapter, **change)
        assert caught.value.fault is EngineFault.FAILED_PRECONDITION


def test_a_head_that_is_tied_to_the_embeddings_is_not_changed_alone(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", tied=True)
    factors = {
        "base_model.model.lm_head.lora_A.weight": torch.ones(4, 32),
        "base_model.model.lm_head.lora_B.weight": torch.ones(48, 4),
    }
    with pytest.raises(EngineError, match=r"changes 'lm_head\.weight', which its base ties to another weight"):
        lay(engine_with(base), 1, save_adapter(tmp_path / "adapter", factors))


def test_half_precision_factors_are_read_as_numbers(model_dir: Path, tmp_path: Path) -> None:
    halves = {name: tensor.bfloat16() for name, tensor in factors_for(model_dir).items()}
    adapter = read_adapter(save_adapter(tmp_path / "adapter", halves), "")
    assert adapter.scale == 2.0
    for factors in adapter.factors.values():
        assert factors.down.dtype == factors.up.dtype == torch.float32


def test_a_base_is_no_adapter_and_makes_no_room_for_its_own(model_dir: Path, other_dir: Path, tmp_path: Path) -> None:
    engine = TransformersEngine(2, 16, "float32", "cpu")
    load(engine, "policy", 1, model_dir)
    load(engine, "teacher", 1, other_dir)
    for version in (1, 2):
        lay(engine, version, save_adapter(tmp_path / str(version), factors_for(model_dir, seed=version)))
        assert set(engine.versions) == {"policy", "adapted"}
    with pytest.raises(EngineError, match="base 'adapted' is itself an adapter, on 'policy'") as caught:
        engine.update_weights(WeightSource("second", 1, str(tmp_path / "1"), base="adapted"))
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION
