"""The canary: an engine that does not compute with the weights it was told to load serves none of them."""

from __future__ import annotations

import gc
import itertools
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.rollout import policy
from services.rollout.canary import check_canary
from services.rollout.engine import EngineError, EngineFault, Probe, Prompt, Sampling, WeightSource
from services.rollout.engine import TokenSequence as Tokens
from services.rollout.engine_host import EngineHost
from services.rollout.engine_messages import SERVED, SOURCE, ServedSource
from services.rollout.transformers_engine import TransformersEngine
from services.rollout.weights import exchange_weights
from tests.services.rollout.plain_engine import engine_with, generated, load, never, scored
from tests.services.rollout.stale_weights import stale
from tests.services.rollout.tiny_model import load_plain, plain_probes, save_tiny_model, tiny_tokenizer

TOLERANCE = 1e-4
PROMPTS = [Prompt("sum", "12 + 30 = ")]
SEQUENCES = [Tokens((1, 5, 9, 20), (7, 8, 30, 2, 40, 12)), Tokens((1,), (3,))]


def probe(*logprobs: float) -> Probe:
    return Probe(Tokens((1,), (2,) * len(logprobs)), logprobs)


def canary_of(directory: Path) -> tuple[Probe, ...]:
    return plain_probes(directory, SEQUENCES)


def source(directory: Path, version: int, canary: tuple[Probe, ...], name: str = "policy") -> WeightSource:
    return WeightSource(name, version, str(directory), canary=canary, tolerance=TOLERANCE)


def test_the_largest_difference_counts_and_its_place_is_named() -> None:
    probes = [probe(-1.0, -2.0), probe(-3.0, -0.5, -4.0)]
    found = [(-1.25, -2.0), (-3.0, -0.5, -3.5)]
    assert check_canary(probes, found, 0.5) == 0.5
    with pytest.raises(EngineError) as caught:
        check_canary(probes, found, 0.49)
    assert caught.value.fault is EngineFault.DATA_LOSS
    assert caught.value.message == (
        "canary: the engine's log-probability differs by 0.5 nats at token 2 of probe 1; tolerance 0.49"
    )
    assert check_canary([], [], 0.0) == 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_never_within_the_tolerance(value: float) -> None:
    with pytest.raises(EngineError, match=re.escape(f"log-probability is {value} at token 1 of probe 0")):
        check_canary([probe(-1.0, -1.0)], [(-1.0, value)], 1e300)


@given(st.lists(st.lists(st.tuples(st.floats(-50, 0), st.floats(-50, 0)), min_size=1, max_size=5), max_size=5))
def test_the_difference_is_the_largest_of_all(pairs: list[list[tuple[float, float]]]) -> None:
    probes = [probe(*(right for right, _ in each)) for each in pairs]
    found = [[value for _, value in each] for each in pairs]
    worst = max((abs(a - b) for a, b in itertools.chain(*pairs)), default=0.0)
    assert check_canary(probes, found, worst) == worst
    if worst > 0:
        with pytest.raises(EngineError):
            check_canary(probes, found, worst * 0.999)


STALE = ["", "embed_tokens", "lm_head", "layers.0", "layers.1.mlp", "self_attn.v_proj", "layers.1.post_attention"]
CASES = [(part, tied) for part in STALE for tied in (False, True) if not (tied and part == "lm_head")]


@pytest.mark.parametrize(("part", "tied"), CASES)
def test_a_stale_engine_is_caught_and_serves_what_it_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, tied: bool
) -> None:
    old, new = (save_tiny_model(tmp_path / str(seed), seed=seed, tied=tied) for seed in (1, 2))
    if "post_attention" in part:  # norms are all ones in a new model
        for seed, directory in enumerate((old, new)):
            model = load_plain(directory)
            torch.manual_seed(seed)
            with torch.no_grad():
                model.get_submodule("model.layers.1.post_attention_layernorm").weight.uniform_(0.5, 2.0)  # pyright: ignore
            model.save_pretrained(directory)
    engine = engine_with(old)
    before = scored(engine, "policy", SEQUENCES)
    sampled = generated(engine, "policy", PROMPTS, 4, Sampling(max_new_tokens=8))
    canary = canary_of(new)
    with monkeypatch.context() as patched:
        patched.setattr(policy, "exchange_weights", stale([part]))
        with pytest.raises(
            EngineError, match=r"canary: .* differs by .* nats at token \d of probe \d; tolerance 0.0001"
        ):
            engine.update_weights(source(new, 4, canary))
    assert engine.versions == {"policy": 3}
    assert scored(engine, "policy", SEQUENCES) == before  # to the bit
    assert generated(engine, "policy", PROMPTS, 4, Sampling(max_new_tokens=8)) == sampled
    assert engine.update_weights(source(new, 4, canary)) <= TOLERANCE
    assert engine.versions == {"policy": 4}


def test_no_token_is_sampled_from_weights_before_they_are_proven(model_dir: Path, other_dir: Path) -> None:
    engine = TransformersEngine(4, 16, "float32", "cpu")
    with pytest.raises(EngineError, match="canary"):
        engine.update_weights(source(model_dir, 1, canary_of(other_dir)))
    assert engine.versions == {}
    engine.update_weights(source(model_dir, 1, canary_of(model_dir)))
    with pytest.raises(EngineError, match=r"canary\[0\] has the token 48; the vocabulary ends at 47") as caught:
        engine.update_weights(source(other_dir, 2, (Probe(Tokens((1,), (48,)), (-1.0,)),)))
    assert caught.value.fault is EngineFault.INVALID_ARGUMENT
    right = [each.logprobs for each in canary_of(model_dir)]
    assert list(scored(engine, "policy", SEQUENCES)) == [pytest.approx(each, abs=TOLERANCE) for each in right]


def test_a_version_sent_again_is_proven_again(model_dir: Path, other_dir: Path) -> None:
    engine = engine_with(model_dir)
    assert 0 <= engine.update_weights(source(model_dir, 3, canary_of(model_dir))) <= TOLERANCE
    with pytest.raises(EngineError, match="canary") as caught:
        engine.update_weights(source(model_dir, 3, canary_of(other_dir)))
    assert caught.value.fault is EngineFault.DATA_LOSS
    assert engine.versions == {}  # whatever it is that is served, it is not that version


def test_an_exchange_that_fails_half_way_changes_nothing(model_dir: Path, other_dir: Path) -> None:
    module, other = load_plain(model_dir), load_plain(other_dir)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    tensors = dict(other.state_dict())
    last = list(tensors)[-1]
    tensors[last] = tensors[last].to("meta")  # cannot be copied from
    with pytest.raises(NotImplementedError):
        exchange_weights(module, tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_an_update_leaves_no_second_copy_of_the_weights(tmp_path: Path) -> None:
    def numbers() -> int:
        gc.collect()
        found = [each for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)]
        return sum({each.data_ptr(): each.numel() for each in found if each.device.type == "cpu"}.values())

    directories = [save_tiny_model(tmp_path / str(seed), seed=seed, hidden=64) for seed in (1, 2)]
    canaries = [canary_of(directory) for directory in directories]
    engine = TransformersEngine(4, 16, "float32", "cpu")
    engine.update_weights(source(directories[0], 1, canaries[0]))
    before = numbers()
    engine.update_weights(source(directories[1], 2, canaries[1]))
    with pytest.raises(EngineError):
        engine.update_weights(source(directories[0], 3, canaries[1]))
    assert numbers() == before


def test_a_process_that_is_started_again_proves_its_weights_again(model_dir: Path, other_dir: Path) -> None:
    settings = {"max_policies": 4, "max_batch_sequences": 16, "dtype": "float32", "device": "cpu"}
    right = ServedSource(source(model_dir, 1, canary_of(model_dir)), None)
    wrong = ServedSource(source(model_dir, 1, canary_of(other_dir), "other"), None)
    host = EngineHost(settings, SERVED.dump_python([right, wrong], mode="json"))
    answer = host.update_weights(SOURCE.dump_python(source(other_dir, 2, canary_of(other_dir)), mode="json"))
    assert 0 <= answer["result"] <= TOLERANCE
    assert answer["held"] == ["policy"]
    answer = host.update_weights(SOURCE.dump_python(source(other_dir, 2, canary_of(model_dir)), mode="json"))
    assert (answer["fault"], answer["held"]) == ("DATA_LOSS", [])


def test_the_canary_asks_the_model_that_samples(model_dir: Path, tmp_path: Path) -> None:
    engine = engine_with(model_dir)
    tied = save_tiny_model(tmp_path, seed=5, tied=True)  # another architecture: a model of its own
    assert engine.update_weights(source(tied, 4, canary_of(tied))) <= TOLERANCE
    load(engine, "policy", 5, model_dir)
    (result,) = generated(engine, "policy", PROMPTS, 1, Sampling(max_new_tokens=6))
    tokens = Tokens(result.prompt_token_ids, result.completions[0].token_ids)
    mine = Probe(tokens, result.completions[0].logprobs)
    assert engine.update_weights(source(model_dir, 5, (mine,))) < 1e-5
    assert engine.logprobs("policy", [tokens], never).sequences[0] == pytest.approx(mine.logprobs, abs=1e-5)


def test_log_probs_that_are_not_finite_reach_nobody(model_dir: Path, tmp_path: Path) -> None:
    model = load_plain(model_dir)
    with torch.no_grad():
        model.get_submodule("model.norm").weight.fill_(3e38)  # pyright: ignore
        model.get_submodule("lm_head").weight.mul_(1e3)  # pyright: ignore
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    engine = engine_with(tmp_path)  # the weights are finite
    with pytest.raises(EngineError, match="log-probabilities are not finite") as caught:
        scored(engine, "policy", SEQUENCES)
    assert caught.value.fault is EngineFault.INTERNAL
    with pytest.raises(EngineError, match=r"canary: the engine's log-probability is (nan|-?inf) at token") as caught:
        engine.update_weights(source(tmp_path, 4, canary_of(model_dir)))
    assert caught.value.fault is EngineFault.DATA_LOSS
