"""Draws: frequencies, nucleus, log-probabilities, and streams that depend on nothing but their keys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.rollout.engine import EngineError, EngineFault, Sampling
from services.rollout.sampling import draw, uniform_stream

DRAWS = 20_000
CHI_SQUARE_7 = 24.32
"""0.999 quantile of the chi-square distribution with 7 degrees of freedom."""


def draws(logits: list[float], sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    uniforms = torch.from_numpy(uniform_stream(sampling.seed, "p", 0, DRAWS))
    return draw(torch.tensor(logits).expand(DRAWS, -1), uniforms, sampling)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_softmax(temperature: float) -> None:
    logits = [0.0, 1.0, -1.0, 0.5, 2.0, -0.5, 1.5, 0.25]
    tokens, _ = draws(logits, Sampling(temperature=temperature, seed=7))
    weights = np.exp(np.array(logits) / temperature)
    expected = DRAWS * weights / weights.sum()
    observed = np.bincount(tokens.numpy(), minlength=8)
    assert ((observed - expected) ** 2 / expected).sum() < CHI_SQUARE_7


def test_logprobs_are_those_of_temperature_1_and_full_nucleus() -> None:
    logits = [math.log(0.5), math.log(0.3), math.log(0.2)]
    tokens, logprobs = draws(logits, Sampling(temperature=0.3, top_p=0.9))
    assert set(tokens.tolist()) == {0, 1}
    for token, share in ((0, 0.5), (1, 0.3)):
        assert logprobs[tokens == token].unique().tolist() == pytest.approx([math.log(share)], abs=1e-6)


def test_greedy_takes_the_most_probable_token() -> None:
    tokens, logprobs = draw(torch.tensor([[0.0, 3.0, 1.0]]), torch.tensor([0.99], dtype=torch.float64), Sampling(0.0))
    assert tokens.tolist() == [1]
    assert logprobs.item() == pytest.approx(3 - math.log(1 + math.e**3 + math.e), abs=1e-6)


def test_a_temperature_near_0_is_greedy() -> None:
    tokens, _ = draws([1.0, 1.001, 0.5], Sampling(temperature=1e-300))
    assert set(tokens.tolist()) == {1}


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.0, 4), (1.0, 4), (0.4, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3), (0.96, 4)]
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p: float, kept: int) -> None:
    logits = [math.log(0.3), math.log(0.05), math.log(0.5), math.log(0.15)]
    tokens, _ = draws(logits, Sampling(top_p=top_p, seed=3))
    assert set(tokens.tolist()) == set([2, 0, 3, 1][:kept])


@pytest.mark.parametrize(
    ("min_p", "temperature", "top_p", "kept"),
    [
        (0.09, 1.0, 1.0, 4),
        (0.11, 1.0, 1.0, 3),  # 0.05 is a tenth of 0.5
        (0.31, 1.0, 1.0, 2),
        (0.61, 1.0, 1.0, 1),
        (1.0, 1.0, 1.0, 1),
        (0.31, 2.0, 1.0, 4),  # at temperature 2 the shares are the roots: 0.1 is 0.32
        (0.32, 2.0, 1.0, 3),
        (0.31, 1.0, 0.6, 1),  # of 0.5 and 0.3, which is 0.625 and 0.375, one is the nucleus
        (0.31, 1.0, 0.63, 2),
    ],
)
def test_min_p_is_a_share_of_the_likeliest(min_p: float, temperature: float, top_p: float, kept: int) -> None:
    logits = [math.log(0.3), math.log(0.05), math.log(0.5), math.log(0.15)]
    sampling = Sampling(min_p=min_p, temperature=temperature, top_p=top_p, seed=3)
    tokens, logprobs = draws(logits, sampling)
    assert set(tokens.tolist()) == set([2, 0, 3, 1][:kept])
    assert logprobs[tokens == 2].unique().tolist() == pytest.approx([math.log(0.5)], abs=1e-6)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.0), Sampling(top_p=0.5, min_p=0.5)])
def test_only_allowed_tokens_are_drawn_and_their_log_probabilities_are_not_guided(sampling: Sampling) -> None:
    logits = torch.tensor([[math.log(0.7), math.log(0.1), math.log(0.2)]]).expand(200, -1)
    allowed = torch.tensor([False, True, True]).expand(200, -1)
    uniforms = torch.from_numpy(uniform_stream(1, "p", 0, 200))
    tokens, logprobs = draw(logits, uniforms, sampling, allowed)
    assert set(tokens.tolist()) == ({1, 2} if sampling == Sampling() else {2})
    assert logprobs[tokens == 2].unique().tolist() == pytest.approx([math.log(0.2)], abs=1e-6)


@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=40),
    uniform=st.floats(0, 1 - 2**-53),
    temperature=st.floats(1e-3, 1e3),
    top_p=st.floats(0, 1),
)
def test_every_draw_is_a_token_of_the_nucleus(
    logits: list[float], uniform: float, temperature: float, top_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p)
    token = int(draw(torch.tensor([logits]), torch.tensor([uniform], dtype=torch.float64), sampling)[0])
    assert 0 <= token < len(logits)
    probabilities = ((torch.tensor(logits) - torch.tensor(logits).max()).double() / temperature).softmax(0)
    more_probable = probabilities[probabilities > probabilities[token]].sum()
    assert top_p in (0, 1) or more_probable < top_p + 1e-12


def test_logits_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(EngineError) as caught:
        draw(torch.tensor([[0.0, float("nan")]]), torch.zeros(1, dtype=torch.float64), Sampling())
    assert caught.value.fault is EngineFault.INTERNAL


def test_streams_depend_on_seed_prompt_and_sample_and_are_prefix_stable() -> None:
    reference = uniform_stream(5, "a", 1, 8)
    assert reference.tolist() == uniform_stream(5, "a", 1, 16)[:8].tolist()
    for other in (uniform_stream(6, "a", 1, 8), uniform_stream(5, "b", 1, 8), uniform_stream(5, "a", 2, 8)):
        assert not set(other.tolist()) & set(reference.tolist())
    assert uniform_stream(1, "1/a", 1, 4).tolist() != uniform_stream(1, "a", 11, 4).tolist()
    assert reference.min() >= 0
    assert reference.max() < 1
