"""Weight updates: right for tied and untied embeddings, refused with the old weights served, harmless twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.rollout.engine import EngineError, EngineFault, TokenSequence
from services.rollout.transformers_engine import TransformersEngine
from tests.services.rollout.plain_engine import load
from tests.services.rollout.tiny_model import load_plain, plain_logprobs, save_tiny_model, sha256_of

SEQUENCE = TokenSequence((1, 5, 9, 20), (7, 8, 30, 2, 40, 12))


def new_engine() -> TransformersEngine:
    return TransformersEngine(4, 16, "float32", "cpu")


def served(engine: TransformersEngine) -> torch.Tensor:
    return torch.tensor(engine.logprobs("policy", [SEQUENCE], lambda: None).sequences[0])


def expected(directory: Path) -> torch.Tensor:
    return plain_logprobs(load_plain(directory), SEQUENCE.prompt_token_ids, SEQUENCE.completion_token_ids)


def model_of(engine: TransformersEngine) -> torch.nn.Module:
    return engine._policies["policy"].model


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("tied", [False, True])
def test_new_weights_go_into_the_same_module_and_are_exact(tmp_path: Path, tied: bool) -> None:
    engine = new_engine()
    directories = [save_tiny_model(tmp_path / str(seed), seed=seed, tied=tied) for seed in (1, 2, 3)]
    load(engine, "policy", 1, directories[0], sha256_of(directories[0]))
    module = model_of(engine)
    for version, directory in enumerate(directories[1:], start=2):
        before = served(engine)
        load(engine, "policy", version, directory, sha256_of(directory))
        assert (served(engine) - before).abs().max() > 0.1
        torch.testing.assert_close(served(engine), expected(directory), atol=1e-5, rtol=0)
        assert model_of(engine) is module
        assert engine.versions == {"policy": version}


def test_tied_weights_may_be_stored_under_either_name_or_both(tmp_path: Path) -> None:
    engine = new_engine()
    load(engine, "policy", 1, save_tiny_model(tmp_path / "1", seed=1, tied=True))
    module = model_of(engine)

    def as_head(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")

    def as_both(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    for version, change in enumerate((as_head, as_both), start=2):
        directory = save_tiny_model(tmp_path / str(version), seed=version, tied=True)
        right = expected(directory)
        rewrite(directory, change)
        load(engine, "policy", version, directory)
        torch.testing.assert_close(served(engine), right, atol=1e-5, rtol=0)
        assert model_of(engine) is module


def test_a_head_of_its_own_in_a_model_that_was_tied_is_not_lost(tmp_path: Path) -> None:
    engine = new_engine()
    load(engine, "policy", 1, save_tiny_model(tmp_path / "1", seed=1, tied=True))
    directory = save_tiny_model(tmp_path / "2", seed=2, tied=True)
    rewrite(directory, lambda tensors: tensors.update({"lm_head.weight": torch.randn(48, 32)}))
    load(engine, "policy", 2, directory)
    torch.testing.assert_close(served(engine), expected(directory), atol=1e-5, rtol=0)


def test_another_architecture_or_tokenizer_is_loaded_anew(tmp_path: Path, model_dir: Path) -> None:
    engine = new_engine()
    load(engine, "policy", 1, model_dir)
    for version, kind in enumerate(({"layers": 3}, {"tied": True}, {"hidden": 16}), start=2):
        directory = save_tiny_model(tmp_path / str(version), seed=version, **kind)
        load(engine, "policy", version, directory)
        torch.testing.assert_close(served(engine), expected(directory), atol=1e-5, rtol=0)
    config = directory / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 0.5}))
    load(engine, "policy", 9, directory)
    torch.testing.assert_close(served(engine), expected(directory), atol=1e-5, rtol=0)


def test_weights_in_shards_are_served(tmp_path: Path) -> None:
    engine = new_engine()
    for version in (1, 2):
        directory = save_tiny_model(tmp_path / str(version), seed=version)
        right = expected(directory)
        load_plain(directory).save_pretrained(directory, max_shard_size="10KB")
        (directory / "model.safetensors").unlink(missing_ok=True)
        assert (directory / "model.safetensors.index.json").is_file()
        load(engine, "policy", version, directory)
        torch.testing.assert_close(served(engine), right, atol=1e-5, rtol=0)
    with pytest.raises(EngineError, match="has its weights in shards, but sha256 is that of"):
        load(engine, "policy", 3, directory, "0" * 64)


def truncate(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def garble(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"\xff" * 5000)


def not_finite(directory: Path) -> None:
    rewrite(directory, lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))


def lacking(directory: Path) -> None:
    rewrite(directory, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))


def other_shape(directory: Path) -> None:
    rewrite(directory, lambda tensors: tensors.update({"model.norm.weight": torch.ones(7)}))


def without(*patterns: str) -> Callable[[Path], None]:
    def remove(directory: Path) -> None:
        for pattern in patterns:
            for file in directory.glob(pattern):
                file.unlink()

    return remove


def broken(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_text("{not json") and None


def shards(index: str) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / "model.safetensors").unlink()
        (directory / "model.safetensors.index.json").write_text(index)

    return write


def whole_numbers(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"I32"'))


BAD_DIRECTORIES = [
    (shards('{"weight_map": {}}'), "index.json whose weight_map does not name files of the directory"),
    (shards('{"weight_map": {"a": 5, "b": "c"}}'), "index.json whose weight_map does not name files of the directory"),
    (shards('{"weight_map": {"a": "../a"}}'), "index.json whose weight_map does not name files of the directory"),
    (shards("[" * 100_000), "has a file model.safetensors.index.json that cannot be read"),
    (whole_numbers, "has whole numbers for .*, which takes floating-point numbers"),
    (shutil.rmtree, "is not a directory that this service can read"),
    (without("config.json"), "has no config.json"),
    (without("model.safetensors"), "has no model.safetensors and no model.safetensors.index.json"),
    (without("tokenizer*"), "has no tokenizer"),
    (broken("config.json"), "cannot be loaded: .*config"),
    (broken("tokenizer.json"), "cannot be loaded"),
    (truncate, "has a file model.safetensors that cannot be read"),
    (garble, "has a file model.safetensors that cannot be read"),
    (not_finite, "has weights that are not finite: model.norm.weight"),
    (lacking, "lack 1 tensors of its config, model.layers.1.mlp.up_proj.weight first"),
    (other_shape, "cannot be loaded"),
]


@pytest.mark.parametrize(("damage", "message"), BAD_DIRECTORIES)
def test_a_bad_directory_is_refused_and_the_old_weights_are_served(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    engine = new_engine()
    good = save_tiny_model(tmp_path / "1", seed=1)
    load(engine, "policy", 1, good)
    before = served(engine)
    directory = save_tiny_model(tmp_path / "2", seed=2)
    damage(directory)
    with pytest.raises(EngineError, match=message) as caught:
        load(engine, "policy", 2, directory)
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION
    assert engine.versions == {"policy": 1}
    assert torch.equal(served(engine), before)


def test_a_name_longer_than_a_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is not a directory") as caught:
        load(new_engine(), "policy", 1, tmp_path / ("x" * 300))
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION


def test_a_wrong_checksum_is_refused(tmp_path: Path, model_dir: Path, other_dir: Path) -> None:
    engine = new_engine()
    with pytest.raises(EngineError, match=f"SHA-256 {sha256_of(model_dir)}, not {sha256_of(other_dir)}"):
        load(engine, "policy", 1, model_dir, sha256_of(other_dir))
    assert engine.versions == {}


def test_versions_grow_and_an_update_sent_twice_changes_nothing(
    tmp_path: Path, model_dir: Path, other_dir: Path
) -> None:
    engine = new_engine()
    copy = tmp_path / "published"
    shutil.copytree(model_dir, copy)
    load(engine, "policy", 5, copy, sha256_of(model_dir))
    shutil.rmtree(copy)
    load(engine, "policy", 5, copy, sha256_of(model_dir))  # the weights are not read again
    for version, directory, sha256 in ((4, model_dir, ""), (5, other_dir, ""), (5, copy, sha256_of(other_dir))):
        with pytest.raises(
            EngineError, match=f"version {version} of policy 'policy' .* cannot replace version 5"
        ) as caught:
            load(engine, "policy", version, directory, sha256)
        assert caught.value.fault is EngineFault.FAILED_PRECONDITION
    assert engine.versions == {"policy": 5}


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_files_that_vanish_while_they_are_read_are_an_error_of_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    directory = save_tiny_model(tmp_path)
    sha256 = sha256_of(directory)
    is_file = Path.is_file

    def last_seen(path: Path) -> bool:
        was_there = is_file(path)
        if path.name == file:
            path.unlink(missing_ok=True)
        return was_there

    monkeypatch.setattr(Path, "is_file", last_seen)
    with pytest.raises(EngineError) as caught:
        load(new_engine(), "policy", 1, directory, sha256)
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION
    assert str(tmp_path) in caught.value.message
