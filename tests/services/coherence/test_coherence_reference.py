"""Fluency under a reference policy, with a real rollout service and a tiny model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from services.client.rollout import RolloutClient
from services.client.scoring import ScoringClient
from services.coherence.reference import Likelihood, Reference, _split
from services.coherence.scorer import CoherenceScorer
from services.verdicts import ErrorReason, Item, ItemError, Verdict
from tests.services.rollout.tiny_model import load_plain, plain_logprobs, save_tiny_model, tiny_tokenizer

ITEMS = [Item("1", "2 + 2 =", " 4"), Item("2", "who are you", " i am a tiny model"), Item("3", "", "no prompt")]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), seed=3)


@pytest.fixture(scope="module")
def address(start_service, model_dir: Path) -> str:
    """Of a rollout service that holds `reference`, version 5."""
    service = start_service("services.rollout", "--metrics-port", "0")
    with RolloutClient(service.address) as client:
        client.update_weights("reference", 5, model_dir)
    return service.address


def test_fluency_is_the_geometric_mean_of_the_models_probabilities(address: str, model_dir: Path) -> None:
    model, tokenizer = load_plain(model_dir), tiny_tokenizer()
    for item, found in zip(ITEMS, Reference(address, "reference").likelihoods(ITEMS), strict=True):
        prompt = tokenizer(item.prompt or "\n")["input_ids"]
        response = tokenizer(item.response, add_special_tokens=False)["input_ids"]
        mean = plain_logprobs(model, tuple(prompt), tuple(response)).mean().item()
        assert isinstance(found, Likelihood)
        assert (found.tokens, found.version) == (len(item.response), 5)
        assert found.mean_logprob == pytest.approx(mean, abs=1e-5)
        assert found.fluency == pytest.approx(math.exp(mean), abs=1e-5)


def test_an_item_that_does_not_fit_holds_up_no_other(address: str) -> None:
    reference = Reference(address, "reference")
    alone = reference.likelihoods(ITEMS)
    long = Item("4", "x", "a" * 500)  # the model has 128 positions
    first, second, error, third = reference.likelihoods([*ITEMS[:2], long, ITEMS[2]])
    for found, expected in zip((first, second, third), alone, strict=True):
        assert isinstance(found, Likelihood)
        assert isinstance(expected, Likelihood)
        assert found.mean_logprob == pytest.approx(expected.mean_logprob, abs=1e-5)
    assert isinstance(error, ItemError)
    assert error.reason is ErrorReason.INVALID_ITEM


def test_a_service_without_the_policy_or_no_service_is_unavailable(address: str) -> None:
    for reference in (Reference(address, "other"), Reference("127.0.0.1:1", "reference")):
        found = reference.likelihoods(ITEMS)
        assert [error.reason for error in found if isinstance(error, ItemError)] == [ErrorReason.UNAVAILABLE] * 3


def test_no_items_need_no_service() -> None:
    assert Reference("127.0.0.1:1", "reference").likelihoods([]) == []


@pytest.mark.parametrize(
    ("before", "whole", "cut"),
    [
        ((1, 2), (1, 2, 3), 2),
        ((1, 2, 9), (1, 2, 3, 4), 2),  # a tokenizer that ends texts, or joins prompt and response
        ((1, 2), (1, 2), 1),  # nothing was added: the last token stands for the response
        ((5,), (1, 2), 1),
    ],
)
def test_the_response_is_what_differs(before: tuple[int, ...], whole: tuple[int, ...], cut: int) -> None:
    sequence = _split(before, whole)
    assert (sequence.prompt_token_ids, sequence.completion_token_ids) == (whole[:cut], whole[cut:])


def test_the_coherence_service_asks_the_rollout_service_it_is_given(start_service, address: str) -> None:
    service = start_service("services.coherence", "--metrics-port", "0", "--rollout-address", address)
    client = ScoringClient("coherence", service.address, patience_seconds=5.0)
    first, second, empty = client.score([*ITEMS[:2], Item("3", "Go on.", "")], 60.0).values()
    client.close()
    for outcome in (first, second):
        assert isinstance(outcome, Verdict)
        assert outcome.evidence["fluency"].startswith("reference policy, version 5")
    assert isinstance(empty, Verdict)
    assert empty.components["coherence/fluency"] == 0.0
    assert service.end() == 0


def test_no_estimate_takes_the_place_of_a_policy_that_does_not_answer() -> None:
    scorer = CoherenceScorer(rollout_address="127.0.0.1:1")
    error, empty = scorer.score([ITEMS[0], Item("2", "Go on.", "")])
    assert isinstance(error, ItemError)
    assert error.reason is ErrorReason.UNAVAILABLE
    assert isinstance(empty, Verdict)
    assert not scorer.cacheable
