"""What every engine does behind the rollout service, over a real socket, against transformers' own forward passes.

The models have heads of 32 numbers, the smallest that vLLM's attention on a CPU computes right.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from transformers import PreTrainedModel

from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.rollout.engine import Completion, FinishReason, Probe, Prompt, PromptCompletions, Sampling, TokenSequence
from tests.services.rollout.adapters import factors_for, save_adapter, save_merged
from tests.services.rollout.tiny_model import (
    ALPHABET,
    EOS_ID,
    SPECIALS,
    VOCABULARY,
    load_plain,
    plain_logprobs,
    plain_probes,
    save_tiny_model,
    tiny_tokenizer,
)
from tests.services.rollout.vllm_service import ABSENT, PYTHON

TOLERANCE = 1e-4
"""In nats, between an engine and transformers' own forward pass in float32."""
PROMPTS = [Prompt("sum", "12 + 30 = "), Prompt("one", "a"), Prompt("long", "what is (7 * 8) - 40 / 5 ?\n")]
SOME = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=12, seed=5)
TIED = [pytest.param(False, id="untied"), pytest.param(True, id="tied")]


@dataclass(frozen=True)
class Served:
    """A service and the models that it may be told to serve."""

    engine: str
    address: str
    folder: Path

    def model(self, number: int, tied: bool) -> Path:
        """One of several models of the same architecture."""
        directory = self.folder / f"{number}-{tied}"
        if not directory.exists():
            save_tiny_model(directory, seed=number, tied=tied, hidden=128, flat=0.5)
        return directory


@pytest.fixture(
    scope="module",
    params=[
        "transformers",
        pytest.param(
            "vllm",
            marks=[
                pytest.mark.vllm,
                pytest.mark.slow,
                pytest.mark.timeout(600),
                pytest.mark.skipif(not PYTHON.exists(), reason=ABSENT),
            ],
        ),
    ],
)
def served(
    request: pytest.FixtureRequest, start_service: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Served:
    """A service that holds version 1 of `untied` and of `tied`: the models of number 1."""
    python, flags = sys.executable, ["--max-policies", "8"]
    if request.param == "vllm":
        python, flags = str(PYTHON), ["--max-policies", "3", "--vllm", "enable_lora=true"]
    service = start_service(
        "services.rollout", "--engine", request.param, "--metrics-port", "0", *flags, wait=False, python=python
    )
    while not service.ready_file.exists() and service.process.poll() is None:
        time.sleep(0.05)
    service.wait_until_ready()
    found = Served(request.param, service.address, tmp_path_factory.mktemp("models"))
    with RolloutClient(found.address) as client:
        for tied in (False, True):
            client.update_weights(name(tied), 1, found.model(1, tied))
    return found


@pytest.fixture
def client(served: Served) -> Iterator[RolloutClient]:
    with RolloutClient(served.address) as client:
        yield client


def name(tied: bool) -> str:
    return "tied" if tied else "untied"


def completions(results: Sequence[PromptCompletions]) -> list[tuple[tuple[int, ...], Completion]]:
    """(the prompt's tokens, completion) of all."""
    return [(each.prompt_token_ids, completion) for each in results for completion in each.completions]


def assert_right(model: PreTrainedModel, results: Sequence[PromptCompletions]) -> None:
    """The log-probabilities are the model's."""
    for prompt, completion in completions(results):
        right = plain_logprobs(model, prompt, completion.token_ids)
        torch.testing.assert_close(torch.tensor(completion.logprobs), right, atol=TOLERANCE, rtol=0)


def canary_of(directory: Path) -> tuple[Probe, ...]:
    return plain_probes(directory, [TokenSequence((1, 5, 9), (7, 8, 30, 2, 40)), TokenSequence((1,), (33, 12))])


def written(tokens: Sequence[int]) -> str:
    """The text of tokens by the tiny tokenizer's own rule: a character a token."""
    return "".join(ALPHABET[token - len(SPECIALS)] for token in tokens if token >= len(SPECIALS))


def test_the_service_says_what_it_is(served: Served, client: RolloutClient) -> None:
    description = client.describe()
    assert (description.engine, description.dtype) == (served.engine, "float32")
    assert {"tied", "untied"} <= description.policies.keys()


@pytest.mark.parametrize("tied", TIED)
def test_samples_have_the_models_log_probabilities(served: Served, client: RolloutClient, tied: bool) -> None:
    results = client.generate(name(tied), PROMPTS, 4, SOME)
    assert [each.id for each in results] == [prompt.id for prompt in PROMPTS]
    assert_right(load_plain(served.model(1, tied)), results)
    for prompt, result in zip(PROMPTS, results, strict=True):
        assert list(result.prompt_token_ids) == tiny_tokenizer()(prompt.text)["input_ids"]
        assert len(result.completions) == 4
    for _, completion in completions(results):
        assert len(completion.token_ids) == len(completion.logprobs) == len(completion.token_versions) > 0
        assert completion.policy_version == 1
        assert set(completion.token_versions) == {1}
        assert completion.text == written(completion.token_ids)
        ended = completion.token_ids[-1] == EOS_ID
        assert completion.finish_reason is (FinishReason.STOP if ended else FinishReason.LENGTH)
        assert ended or len(completion.token_ids) == 12


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.0, max_new_tokens=20),
        Sampling(min_p=1.0, max_new_tokens=20),  # only the likeliest is as likely as itself
        Sampling(top_p=1e-9, max_new_tokens=20),
    ],
    ids=["temperature", "min-p", "nucleus"],
)
def test_the_likeliest_tokens_are_those_of_transformers(
    served: Served, client: RolloutClient, sampling: Sampling
) -> None:
    model = load_plain(served.model(1, False))
    for result in client.generate("untied", PROMPTS, 1, sampling):
        prompt = torch.tensor([result.prompt_token_ids])
        everything = torch.ones_like(prompt)  # `?` is the padding's token
        right = model.generate(prompt, attention_mask=everything, do_sample=False, max_new_tokens=20)[0]
        right = right[prompt.shape[1] :]
        assert list(result.completions[0].token_ids) == right.tolist()


def test_min_p_leaves_out_what_is_unlikely_at_the_temperature(served: Served, client: RolloutClient) -> None:
    sampling = Sampling(temperature=0.7, min_p=0.4, max_new_tokens=1, seed=3)
    (result,) = client.generate("untied", PROMPTS[:1], 200, sampling)
    with torch.inference_mode():
        logits = load_plain(served.model(1, False))(torch.tensor([result.prompt_token_ids])).logits[0, -1]
    shares = (logits / 0.7).softmax(0)
    likely = {token for token in range(VOCABULARY) if shares[token] >= 0.4 * shares.max()}
    assert 1 < len(likely) < VOCABULARY
    assert {completion.token_ids[0] for completion in result.completions} == likely


def test_a_seed_reproduces_and_another_does_not(client: RolloutClient) -> None:
    def tokens(seed: int) -> list[tuple[int, ...]]:
        results = client.generate("untied", PROMPTS, 3, Sampling(max_new_tokens=12, seed=seed))
        return [completion.token_ids for _, completion in completions(results)]

    assert tokens(1) == tokens(1)
    assert not set(tokens(1)) & set(tokens(2))
    assert len(set(tokens(1))) == 9


def test_a_stop_string_ends_a_completion_with_the_token_that_completes_it(client: RolloutClient) -> None:
    free = Sampling(max_new_tokens=40, seed=8)
    (whole,) = client.generate("untied", PROMPTS[:1], 16, free)
    texts = [completion.text for completion in whole.completions]
    stop = next(text for text in texts if len(text) > 20)[8:10], "q"  # one of two tokens, one of one
    (result,) = client.generate("untied", PROMPTS[:1], 16, Sampling(max_new_tokens=40, seed=8, stop=stop))
    found = 0
    for before, completion in zip(whole.completions, result.completions, strict=True):
        places = [place for place in (before.text.find(each) for each in stop) if place >= 0]
        if not places:
            assert completion.token_ids == before.token_ids
            continue
        found += 1
        assert completion.text == before.text[: min(places)]
        assert completion.finish_reason is FinishReason.STOP
        assert completion.token_ids == before.token_ids[: len(completion.token_ids)]
        text = written(completion.token_ids)
        assert any(text.endswith(each) for each in stop)
        assert not any(each in text[:-1] for each in stop)
    assert found > 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_choices_are_all_that_is_written(served: Served, client: RolloutClient, temperature: float) -> None:
    choices = ("yes", "yes and no", "no", "0")
    sampling = Sampling(temperature=temperature, max_new_tokens=11, seed=2, choices=choices)
    results = client.generate("untied", PROMPTS, 30, sampling)
    assert_right(load_plain(served.model(1, False)), results)
    for _, completion in completions(results):
        assert completion.text in choices
        assert completion.text == written(completion.token_ids[:-1])
        assert completion.token_ids[-1] == EOS_ID
        assert completion.finish_reason is FinishReason.STOP
    if temperature:
        assert {completion.text for _, completion in completions(results)} == set(choices)


def test_a_prompt_may_begin_with_tokens(client: RolloutClient) -> None:
    turns = (1, 5, 9, EOS_ID, 4)
    prompts = [Prompt("both", "ab", token_ids=turns), Prompt("tokens", token_ids=turns)]
    both, tokens = client.generate("untied", prompts, 1, Sampling(max_new_tokens=2))
    letters = tiny_tokenizer()("ab", add_special_tokens=False)["input_ids"]
    assert both.prompt_token_ids == (*turns, *letters)
    assert tokens.prompt_token_ids == turns


def test_a_stream_has_the_completions_of_the_whole_answer(client: RolloutClient) -> None:
    (*results,) = client.generate("untied", PROMPTS, 5, SOME)
    found = {(each.prompt, each.sample): each for each in client.generate_stream("untied", PROMPTS, 5, SOME)}
    assert len(found) == 15
    for place, result in enumerate(results):
        for sample, completion in enumerate(result.completions):
            each = found[place, sample]
            assert each.prompt_token_ids == result.prompt_token_ids
            assert each.completion.token_ids == completion.token_ids
            assert each.completion.logprobs == pytest.approx(completion.logprobs, abs=TOLERANCE)


def test_a_stream_that_is_closed_leaves_the_engine_free(client: RolloutClient) -> None:
    prompts = [Prompt(str(number), "1+1=") for number in range(10)]
    stream = client.generate_stream("untied", prompts, 100, Sampling(temperature=2.0, max_new_tokens=100))
    next(stream)
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    start = time.monotonic()
    assert client.generate("untied", PROMPTS, 1, SOME)
    assert time.monotonic() - start < 60  # the rest of it would not take that long either: it is here to end a hang


def test_given_tokens_are_scored_as_by_a_plain_forward_pass(served: Served, client: RolloutClient) -> None:
    sequences = [
        TokenSequence((1, 5, 9), (7, 8, 2, 4)),
        TokenSequence((1,), (3,) * 127),  # as long as the model's positions
        TokenSequence((1, 4), ()),
        TokenSequence((1, 4), (6,)),
    ]
    for tied in (False, True):
        model = load_plain(served.model(1, tied))
        scored = client.logprobs(name(tied), sequences)
        assert scored.policy_version == 1
        for sequence, values in zip(sequences, scored.sequences, strict=True):
            if sequence.completion_token_ids:
                right = plain_logprobs(model, sequence.prompt_token_ids, sequence.completion_token_ids)
                torch.testing.assert_close(torch.tensor(values), right, atol=TOLERANCE, rtol=0)
            else:
                assert values == ()


def refusal(code: grpc.StatusCode, message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        call()
    assert caught.value.code is code


def test_what_does_not_fit_is_named(client: RolloutClient) -> None:
    def ask(prompt: Prompt, sampling: Sampling) -> Callable[[], Any]:
        return lambda: client.generate("untied", [prompt], 1, sampling)

    def score(*tokens: int) -> Callable[[], Any]:
        return lambda: client.logprobs("untied", [TokenSequence((1,), tokens)])

    one, bad = Sampling(max_new_tokens=1), grpc.StatusCode.INVALID_ARGUMENT
    last = VOCABULARY - 1
    refusal(
        bad,
        "prompt 'p' has 6 tokens and max_new_tokens is 123",
        ask(Prompt("p", "12345"), Sampling(max_new_tokens=123)),
    )
    refusal(
        bad, f"the token {VOCABULARY}; the vocabulary ends at {last}", ask(Prompt("p", token_ids=(VOCABULARY,)), one)
    )
    refusal(bad, f"the token {VOCABULARY}; the vocabulary ends at {last}", score(VOCABULARY))
    refusal(bad, "has 129 tokens; the model has 128 positions", score(*[1] * 128))
    for choices, message in (
        (("0", "DONE"), r"sampling.choices\[1\] cannot be written by the policy's tokenizer"),
        (("yes", "0"), r"sampling.choices\[0\] has 4 tokens with the end of the sequence; max_new_tokens is 3"),
    ):
        refusal(bad, message, ask(PROMPTS[0], Sampling(max_new_tokens=3, choices=choices)))
    refusal(grpc.StatusCode.NOT_FOUND, "'absent' is not held", lambda: client.generate("absent", PROMPTS, 1, one))


@pytest.mark.parametrize("tied", TIED)
def test_updates_are_served_once_they_pass_their_canary(served: Served, client: RolloutClient, tied: bool) -> None:
    policy = name(tied)
    version = client.describe().policies[policy]
    before = load_plain(served.model(1, tied))
    for number in (2, 3):
        directory = served.model(number, tied)
        canary = canary_of(directory)
        result = client.update_weights(policy, version + number, directory, canary=canary, tolerance=TOLERANCE)
        assert result.version == version + number
        assert 0 < result.canary_difference <= TOLERANCE
        results = client.generate(policy, PROMPTS, 2, SOME, min_policy_version=version + number)
        assert_right(load_plain(directory), results)
        assert all(set(each.token_versions) == {version + number} for _, each in completions(results))
    with pytest.raises(AssertionError):  # they are others than those from before
        assert_right(before, results)
    wrong = canary_of(served.model(1, tied))
    refusal(
        grpc.StatusCode.DATA_LOSS,
        r"canary: the engine's log-probability differs by .* nats at token \d of probe \d; tolerance 0.0001",
        lambda: client.update_weights(policy, version + 9, served.model(4, tied), canary=wrong, tolerance=TOLERANCE),
    )
    assert client.describe().policies[policy] == version + 3
    assert_right(load_plain(served.model(3, tied)), client.generate(policy, PROMPTS, 2, SOME))
    refusal(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"cannot replace version {version + 3}, which is served; versions must grow",
        lambda: client.update_weights(policy, version + 2, served.model(2, tied)),
    )
    client.update_weights(policy, version + 10, served.model(1, tied), canary=wrong, tolerance=TOLERANCE)
    # the other tests find what they expect
    assert_right(before, client.generate(policy, PROMPTS, 2, SOME))


def test_a_policy_that_misses_its_first_canary_is_not_held(served: Served, client: RolloutClient) -> None:
    wrong = canary_of(served.model(2, False))
    refusal(
        grpc.StatusCode.DATA_LOSS,
        "canary: ",
        lambda: client.update_weights("unproven", 1, served.model(1, False), canary=wrong, tolerance=TOLERANCE),
    )
    assert "unproven" not in client.describe().policies
    refusal(grpc.StatusCode.NOT_FOUND, "not held", lambda: client.generate("unproven", PROMPTS, 1, SOME))


def test_each_completion_has_the_log_probabilities_of_the_version_that_it_names(
    served: Served, client: RolloutClient
) -> None:
    start = client.describe().policies["untied"]
    numbers = {start: 1, start + 1: 2, start + 2: 3, start + 3: 1}
    models = {number: load_plain(served.model(number, False)) for number in (1, 2, 3)}
    done = threading.Event()

    def sample(worker: int) -> list[PromptCompletions]:
        results: list[PromptCompletions] = []
        while not done.is_set():
            sampling = Sampling(max_new_tokens=16, seed=100 * worker + len(results))
            results += client.generate("untied", PROMPTS, 3, sampling)
        return results

    with ThreadPoolExecutor(3) as threads:
        sampling = [threads.submit(sample, worker) for worker in range(3)]
        try:
            for version in list(numbers)[1:]:
                client.update_weights("untied", version, served.model(numbers[version], False))
                client.logprobs("untied", [TokenSequence((1,), (2, 3))])
        finally:
            done.set()
        results = [result for each in sampling for result in each.result()]
    versions = {completion.policy_version for _, completion in completions(results)}
    assert len(versions) > 1
    seen = [each for version in versions for each in _of_version(results, version)[:20]]
    for prompt, completion in seen:
        assert completion.policy_version == min(completion.token_versions)
        for version in set(completion.token_versions):
            right = plain_logprobs(models[numbers[version]], prompt, completion.token_ids)
            mine = torch.tensor([each == version for each in completion.token_versions])
            torch.testing.assert_close(torch.tensor(completion.logprobs)[mine], right[mine], atol=TOLERANCE, rtol=0)


def _of_version(results: Sequence[PromptCompletions], version: int) -> list[tuple[tuple[int, ...], Completion]]:
    return [each for each in completions(results) if each[1].policy_version == version]


def test_an_adapter_is_served_as_the_model_that_it_stands_for(
    served: Served, client: RolloutClient, tmp_path: Path
) -> None:
    base = served.model(1, False)
    for version, rank_stabilised in ((1, False), (2, True)):
        tensors = factors_for(base, seed=version)
        adapter = save_adapter(tmp_path / f"adapter-{version}", tensors, use_rslora=rank_stabilised)
        scale = 8 / 2 if rank_stabilised else 8 / 4  # alpha over the root of r, or over r
        merged = save_merged(tmp_path / f"merged-{version}", base, tensors, scale)
        result = client.update_weights(
            "adapted", version, adapter, base="untied", canary=canary_of(merged), tolerance=TOLERANCE
        )
        assert 0 < result.canary_difference <= TOLERANCE
        results = client.generate("adapted", PROMPTS, 3, SOME)
        assert_right(load_plain(merged), results)
        assert all(completion.policy_version == version for _, completion in completions(results))
    assert_right(load_plain(base), client.generate("untied", PROMPTS, 3, SOME))  # the base is what it was
