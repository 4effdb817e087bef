"""Generation and scoring against transformers' own forward pass and `generate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import Gemma2Config, GPT2Config, MistralConfig, Qwen2Config

from services.rollout.engine import EngineError, EngineFault, FinishReason, Generation, Prompt, Sampling, TokenSequence
from services.rollout.text import load_text
from services.rollout.transformers_engine import TransformersEngine
from tests.services.rollout.plain_engine import engine_with, generated, load, never
from tests.services.rollout.tiny_model import (
    ALPHABET,
    EOS_ID,
    SPECIALS,
    VOCABULARY,
    load_plain,
    plain_logprobs,
    save_other_architecture,
    save_tiny_model,
    tiny_tokenizer,
)

CHI_SQUARE_47 = 82.7
"""0.999 quantile of the chi-square distribution with 47 degrees of freedom: one less than the vocabulary."""
PROMPTS = [
    Prompt("sum", "12 + 30 = "),
    Prompt("one", "a"),
    Prompt("long", "what is (7 * 8) - 40 / 5 ?\n"),
    Prompt("x", "xy"),
]


@pytest.fixture(scope="module")
def engine(model_dir: Path) -> TransformersEngine:
    return engine_with(model_dir)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that the test needs to be absent")
def test_a_build_for_gpus_computes_on_the_cpu_where_there_is_none(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch._C, "_accelerator_getAccelerator", lambda: torch.device("cuda"))
    engine = TransformersEngine(4, 64, "float32", "auto")
    load(engine, "policy", 3, model_dir)
    assert engine.versions == {"policy": 3}


def test_logprobs_of_samples_equal_a_plain_forward_pass(engine: TransformersEngine, model_dir: Path) -> None:
    model = load_plain(model_dir)
    sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=20, seed=11)
    for prompt in generated(engine, "policy", PROMPTS, 6, sampling, 3):
        assert len(prompt.completions) == 6
        for completion in prompt.completions:
            expected = plain_logprobs(model, prompt.prompt_token_ids, completion.token_ids)
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-5, rtol=0)
            assert completion.policy_version == 3


SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
    "eos_token_id": EOS_ID,
}
ARCHITECTURES = {
    "grouped queries": Qwen2Config(**SMALL, num_key_value_heads=2, max_position_embeddings=128),
    "a sliding window": MistralConfig(**SMALL, num_key_value_heads=2, max_position_embeddings=128, sliding_window=6),
    "some layers with a sliding window": Gemma2Config(
        **SMALL, num_key_value_heads=1, head_dim=8, max_position_embeddings=128, sliding_window=6
    ),
    "learned positions": GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.2,
        eos_token_id=EOS_ID,
    ),
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_other_architectures_are_sampled_and_scored_right(tmp_path: Path, kind: str) -> None:
    engine = engine_with(save_other_architecture(tmp_path, ARCHITECTURES[kind]))
    model = load_plain(tmp_path)
    results = generated(engine, "policy", PROMPTS, 3, Sampling(max_new_tokens=20, seed=1))
    for prompt in results:
        sequences = [TokenSequence(prompt.prompt_token_ids, each.token_ids) for each in prompt.completions]
        scored = engine.logprobs("policy", sequences, never).sequences
        for sequence, completion, values in zip(sequences, prompt.completions, scored, strict=True):
            expected = plain_logprobs(model, sequence.prompt_token_ids, sequence.completion_token_ids)
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(torch.tensor(values), expected, atol=1e-5, rtol=0)


def test_given_tokens_are_scored_as_by_a_plain_forward_pass(engine: TransformersEngine, model_dir: Path) -> None:
    model = load_plain(model_dir)
    sequences = [TokenSequence((1, 5, 9), (7, 8, 2, 4)), TokenSequence((1,), (3,) * 30), TokenSequence((1, 4), ())]
    scored = engine.logprobs("policy", sequences, never)
    assert scored.policy_version == 3
    assert scored.sequences[2] == ()
    for sequence, values in zip(sequences[:2], scored.sequences[:2], strict=True):
        expected = plain_logprobs(model, sequence.prompt_token_ids, sequence.completion_token_ids)
        torch.testing.assert_close(torch.tensor(values), expected, atol=1e-5, rtol=0)


def test_scoring_in_batches_of_one_changes_nothing_but_rounding(engine: TransformersEngine, model_dir: Path) -> None:
    sequences = [TokenSequence((1, 5), tuple(range(3, 3 + length))) for length in (4, 1, 12, 7)]
    together = engine.logprobs("policy", sequences, never).sequences
    alone = engine_with(model_dir, rows=1).logprobs("policy", sequences, never).sequences
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_greedy_equals_transformers_generate(engine: TransformersEngine, model_dir: Path) -> None:
    model, tokenizer = load_plain(model_dir), tiny_tokenizer()
    greedy = Sampling(temperature=0, max_new_tokens=24)
    for prompt, result in zip(PROMPTS, generated(engine, "policy", PROMPTS, 1, greedy), strict=True):
        inputs = tokenizer(prompt.text, return_tensors="pt", return_token_type_ids=False)
        expected = model.generate(**inputs, do_sample=False, max_new_tokens=24)[0, inputs["input_ids"].shape[1] :]
        assert result.id == prompt.id
        assert list(result.prompt_token_ids) == inputs["input_ids"][0].tolist()
        assert list(result.completions[0].token_ids) == expected.tolist()


def test_a_seed_reproduces_and_another_does_not(engine: TransformersEngine) -> None:
    def tokens(seed: int) -> list[tuple[int, ...]]:
        results = generated(engine, "policy", PROMPTS, 4, Sampling(max_new_tokens=12, seed=seed))
        return [completion.token_ids for prompt in results for completion in prompt.completions]

    assert tokens(1) == tokens(1)
    assert not set(tokens(1)) & set(tokens(2))
    assert len(set(tokens(1))) == len(tokens(1))


def test_samples_do_not_depend_on_the_company_of_a_prompt(engine: TransformersEngine, model_dir: Path) -> None:
    sampling = Sampling(max_new_tokens=16, seed=4)
    together = generated(engine, "policy", PROMPTS, 3, sampling)
    alone = engine_with(model_dir, rows=1)
    for prompt, batched in zip(PROMPTS, together, strict=True):
        (single,) = generated(alone, "policy", [prompt], 3, sampling)
        for one, other in zip(single.completions, batched.completions, strict=True):
            assert one.token_ids == other.token_ids
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_sampled_first_tokens_follow_the_models_distribution(engine: TransformersEngine, model_dir: Path) -> None:
    sampling = Sampling(max_new_tokens=1, seed=9)
    (result,) = generated(engine, "policy", [PROMPTS[0]], 1024, sampling)
    with torch.inference_mode():
        logits = load_plain(model_dir)(torch.tensor([result.prompt_token_ids])).logits[0, -1]
    expected = 1024 * logits.double().softmax(0)
    observed = torch.zeros(VOCABULARY, dtype=torch.float64)
    for completion in result.completions:
        observed[completion.token_ids[0]] += 1
    assert expected.min() >= 5, "the chi-square statistic needs five expected in each class"
    statistic = float(((observed - expected) ** 2 / expected).sum())
    assert statistic < CHI_SQUARE_47


def test_a_completion_ends_with_the_end_of_sequence_and_its_text_has_none(engine: TransformersEngine) -> None:
    results = generated(engine, "policy", PROMPTS, 64, Sampling(max_new_tokens=40, seed=2))
    completions = [completion for prompt in results for completion in prompt.completions]
    stopped = [completion for completion in completions if completion.finish_reason is FinishReason.STOP]
    cut = [completion for completion in completions if completion.finish_reason is FinishReason.LENGTH]
    assert stopped and cut
    assert all(completion.token_ids.index(EOS_ID) == len(completion.token_ids) - 1 for completion in stopped)
    assert all(len(completion.token_ids) == 40 and EOS_ID not in completion.token_ids for completion in cut)
    assert all(len(completion.logprobs) == len(completion.token_ids) for completion in completions)
    for completion in completions:
        letters = [ALPHABET[token - len(SPECIALS)] for token in completion.token_ids if token >= len(SPECIALS)]
        assert completion.text == "".join(letters)


def test_a_prompt_never_ends_with_an_end_of_sequence(model_dir: Path, tmp_path: Path) -> None:
    save_tiny_model(tmp_path, seed=1, flat=0.5)
    tiny_tokenizer(adds_eos=True).save_pretrained(tmp_path)
    with_eos, without = engine_with(tmp_path), engine_with(model_dir)
    sampling = Sampling(max_new_tokens=5, seed=1)
    assert generated(with_eos, "policy", PROMPTS, 2, sampling) == generated(without, "policy", PROMPTS, 2, sampling)


def test_an_interrupt_ends_the_work_between_two_tokens(engine: TransformersEngine) -> None:
    calls = 0

    def after_three() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise EngineError(EngineFault.CANCELLED, "enough")

    with pytest.raises(EngineError, match="enough"):
        generated(engine, "policy", PROMPTS, 2, Sampling(temperature=0, max_new_tokens=100), 0, after_three)
    assert calls == 4


def test_a_completion_comes_as_soon_as_its_last_token_is_sampled(engine: TransformersEngine) -> None:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    sampling = Sampling(max_new_tokens=40, seed=2, stop=("ab", "7"))
    request = Generation("policy", tuple(PROMPTS), 16, sampling)  # 64 completions: one batch
    plan = engine.plan(request, never)
    ended = set()
    for finished in engine.sample(plan, 0, count):
        assert steps == len(finished.completion.token_ids)
        ended.add(steps)
    assert len(ended) > 10
    assert steps == 40
    steps = 0
    generator = engine.sample(plan, 0, count)
    next(generator)
    before = steps
    generator.close()
    assert steps == before < 40


def test_the_batches_of_a_request_are_computed_one_by_one(model_dir: Path) -> None:
    engine = engine_with(model_dir, rows=5)
    request = Generation("policy", tuple(PROMPTS), 3, Sampling(max_new_tokens=8, seed=1))
    plan = engine.plan(request, never)
    assert plan.batches == 3  # of 5, 5 and 2 completions
    parts = [list(engine.sample(plan, batch, never)) for batch in range(3)]
    assert [len(part) for part in parts] == [5, 5, 2]
    found = {(each.prompt, each.sample): each.completion for part in parts for each in part}
    for place, result in enumerate(generated(engine, "policy", PROMPTS, 3, request.sampling)):
        assert [found[place, sample] for sample in range(3)] == list(result.completions)


def test_a_policy_without_an_end_of_sequence_cannot_end_a_choice(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, seed=1)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        held = json.loads((tmp_path / name).read_text())
        held.pop("eos_token_id", None)
        held.pop("eos_token", None)
        (tmp_path / name).write_text(json.dumps(held))
    engine = engine_with(tmp_path)
    with pytest.raises(
        EngineError, match=r"sampling.choices\[0\] cannot end: the policy's files name no end"
    ) as caught:
        generated(engine, "policy", PROMPTS, 1, Sampling(max_new_tokens=8, choices=("1",)))
    assert caught.value.fault is EngineFault.INVALID_ARGUMENT


def test_an_end_of_sequence_after_a_text_is_taken_off_and_one_among_tokens_is_not(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, seed=1, flat=0.5)
    tiny_tokenizer(adds_eos=True).save_pretrained(tmp_path)
    prompts = [
        Prompt("text", "12"),
        Prompt("turns", "12", token_ids=(1, 4, EOS_ID)),
        Prompt("all", token_ids=(4, EOS_ID)),
    ]
    found = [
        each.prompt_token_ids
        for each in generated(engine_with(tmp_path), "policy", prompts, 1, Sampling(max_new_tokens=1))
    ]
    one, two = (len(SPECIALS) + ALPHABET.index(letter) for letter in "12")
    assert found == [(1, one, two), (1, 4, EOS_ID, one, two), (4, EOS_ID)]


@pytest.mark.parametrize(
    ("prompt", "tokens", "message"),
    [
        (Prompt("p1", "12345"), 123, "prompt 'p1' has 6 tokens and max_new_tokens is 123; together .* at most 128"),
        (Prompt("p2", "1" * 200), 1, "prompt 'p2' has 201 tokens"),
    ],
)
def test_a_prompt_that_does_not_fit_is_named(
    engine: TransformersEngine, prompt: Prompt, tokens: int, message: str
) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        generated(engine, "policy", [prompt], 1, Sampling(max_new_tokens=tokens))
    assert caught.value.fault is EngineFault.INVALID_ARGUMENT


def test_the_longest_request_that_fits_is_served(engine: TransformersEngine) -> None:
    greedy = Sampling(temperature=0, max_new_tokens=122)
    (result,) = generated(engine, "policy", [Prompt("p", "12345")], 1, greedy)
    assert result.completions[0].token_ids


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (TokenSequence((), (1,)), r"sequences\[0\] has no prompt_token_ids"),
        (TokenSequence((1,), (VOCABULARY,)), rf"the token {VOCABULARY}; the vocabulary ends at {VOCABULARY - 1}"),
        (TokenSequence((1,) * 100, (1,) * 29), "has 129 tokens; the model has 128 positions"),
    ],
)
def test_tokens_that_cannot_be_scored_are_named(
    engine: TransformersEngine, sequence: TokenSequence, message: str
) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        engine.logprobs("policy", [sequence], never)
    assert caught.value.fault is EngineFault.INVALID_ARGUMENT


def test_an_older_version_than_asked_for_does_not_answer(engine: TransformersEngine) -> None:
    with pytest.raises(EngineError, match="at version 3, older than min_policy_version 4") as caught:
        generated(engine, "policy", PROMPTS, 1, Sampling(), 4)
    assert caught.value.fault is EngineFault.FAILED_PRECONDITION


def test_the_policy_not_used_for_longest_makes_room(model_dir: Path) -> None:
    engine = TransformersEngine(2, 8, "float32", "cpu")
    for name in ("a", "b"):
        load(engine, name, 1, model_dir)
    generated(engine, "a", PROMPTS, 1, Sampling(max_new_tokens=1))
    load(engine, "c", 1, model_dir)
    assert engine.versions == {"a": 1, "c": 1}
    with pytest.raises(EngineError, match="policy 'b' is not held; held: a, c") as caught:
        engine.logprobs("b", [TokenSequence((1,), (2,))], never)
    assert caught.value.fault is EngineFault.NOT_FOUND


def test_ends_of_sequence_outside_the_vocabulary_are_none(tmp_path: Path) -> None:
    directory = save_tiny_model(tmp_path, flat=0.5)
    settings = directory / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": [-1, EOS_ID, 10**6]}))
    (result,) = generated(
        engine_with(directory), "policy", [Prompt("a", "1")], 20, Sampling(max_new_tokens=4, choices=("12", "ab"))
    )
    assert {each.text for each in result.completions} == {"12", "ab"}
    assert {each.token_ids[-1] for each in result.completions} == {EOS_ID}
    assert load_text(directory, 128, VOCABULARY).stop_ids == (EOS_ID,)


def test_an_interrupt_ends_the_reading_of_prompts(engine: TransformersEngine) -> None:
    calls: list[None] = []

    def interrupt() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise EngineError(EngineFault.CANCELLED, "enough")

    bad_last = (*(Prompt(str(number), "1") for number in range(9)), Prompt("late", token_ids=(99,)))
    with pytest.raises(EngineError, match="enough"):
        engine.plan(Generation("policy", bad_last, 1, Sampling(max_new_tokens=2)), interrupt)
