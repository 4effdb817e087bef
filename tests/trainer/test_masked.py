"""DPPO and prime-rl's masks by hand: which tokens are dropped, and what the others weigh."""

import math

import pytest
import torch

from tests.trainer.loss_batches import batch_of, metric, values_and_gradients
from trainer.losses.masked import dppo, prime_rl, prime_rl_ratio


def of_probabilities(tokens, lengths=None):
    """Tokens as (probability now, probability when sampled, advantage)."""
    now, before, advantages = zip(*tokens, strict=True)
    logs = [[math.log(p) for p in column] for column in (now, before)]
    return batch_of(logs[0], lengths, inference_logprobs=logs[1], advantages=list(advantages))


RISEN, FALLEN = (0.5, 0.2), (0.1, 0.4)
MOVED = [(*RISEN, 1.0), (*RISEN, -1.0), (*FALLEN, 1.0), (*FALLEN, -1.0), (0.05, 0.01, 1.0)]


def test_dppo_drops_what_the_advantage_would_move_further_away():
    values, gradients = values_and_gradients(dppo, of_probabilities(MOVED))
    assert values == pytest.approx([0.0, 2.5, -0.25, 0.0, -5.0], abs=1e-12)
    assert gradients == pytest.approx([0.0, 2.5, -0.25, 0.0, -5.0], abs=1e-12)
    assert metric(dppo(of_probabilities(MOVED)), "masked_fraction") == pytest.approx(0.4)


def test_dppo_has_a_bound_for_each_direction():
    values, _ = values_and_gradients(dppo, of_probabilities(MOVED), delta_low=0.35, delta_high=0.25)
    assert values == pytest.approx([0.0, 2.5, -0.25, 0.25, -5.0], abs=1e-12)
    values, _ = values_and_gradients(dppo, of_probabilities(MOVED), delta_low=0.25, delta_high=0.35)
    assert values == pytest.approx([-2.5, 2.5, -0.25, 0.0, -5.0], abs=1e-12)


def test_dppo_truncates_a_weight_and_keeps_its_gradient():
    values, gradients = values_and_gradients(dppo, of_probabilities(MOVED), ratio_max=2.0)
    assert values == pytest.approx([0.0, 2.0, -0.25, 0.0, -2.0], abs=1e-12)
    assert gradients == pytest.approx([0.0, 2.0, -0.25, 0.0, -2.0], abs=1e-12)


def test_dppo_by_kl_sees_a_likely_token_leave_its_place():
    # From 0.99 to 0.9: 0.0713 nats, but only 0.09 in probability.
    batch = of_probabilities([(0.9, 0.99, -1.0)])
    distance = 0.99 * math.log(0.99 / 0.9) + 0.01 * math.log(0.01 / 0.1)
    assert values_and_gradients(dppo, batch)[0] != [0.0]
    assert values_and_gradients(dppo, batch, divergence="kl")[0] == [0.0]
    for delta, dropped in ((distance * 1.001, 0.0), (distance * 0.999, 1.0)):
        assert metric(dppo(batch, divergence="kl", delta_low=delta), "masked_fraction") == dropped


def test_certain_tokens_have_a_finite_kl():
    sure = batch_of([0.0, 0.0, -1.0], inference_logprobs=[0.0, -1.0, 0.0], advantages=[1.0, 1.0, -1.0])
    values, gradients = values_and_gradients(dppo, sure, divergence="kl")
    assert values == pytest.approx([-1.0, 0.0, 0.0])
    assert gradients == pytest.approx([-1.0, 0.0, 0.0])


def test_prime_rl_pulls_dropped_tokens_back():
    logs = [math.log(2.5), math.log(2.5), math.log(0.25), math.log(0.25), math.log(5)]
    values, gradients = values_and_gradients(prime_rl, of_probabilities(MOVED), kl_tau=0.1)
    policy = [0.0, 2.5, -0.25, 0.0, -5.0]
    assert values == pytest.approx([p + 0.1 * d * d for p, d in zip(policy, logs, strict=True)], abs=1e-12)
    assert gradients == pytest.approx([p + 0.2 * d for p, d in zip(policy, logs, strict=True)], abs=1e-12)


def test_the_symmetric_mask_does_not_ask_for_the_advantage():
    values, _ = values_and_gradients(prime_rl, of_probabilities(MOVED), mask="symmetric", kl_tau=0.0)
    assert values == pytest.approx([0.0, 0.0, 0.0, 0.0, -5.0], abs=1e-12)


def of_ratios(ratios, lengths, advantage=1.0):
    below = (-torch.tensor(ratios, dtype=torch.float64).log() - 1).tolist()
    return batch_of([-1.0] * len(ratios), lengths, inference_logprobs=below, advantages=[advantage] * len(ratios))


def test_the_first_masks_of_prime_rl():
    # A token outside its bounds; a sequence whose mean is outside; a sequence with one token far outside.
    batch = of_ratios([9.0, 2.0, 3.0, 3.0, 0.5, 50.0, 2.0], [2, 2, 3])
    _, gradients = values_and_gradients(prime_rl_ratio, batch, geometric_max=2.9, ratio_max=8.0, sequence_max=40.0)
    assert gradients == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    _, gradients = values_and_gradients(prime_rl_ratio, batch, geometric_max=4.3, sequence_max=40.0)
    assert gradients == pytest.approx([0.0, -2.0, -3.0, -3.0, 0.0, 0.0, 0.0], abs=1e-12)
    _, gradients = values_and_gradients(prime_rl_ratio, batch)
    assert gradients == pytest.approx([0.0, -2.0, -3.0, -3.0, -0.5, 0.0, -2.0], abs=1e-12)
    output = prime_rl_ratio(batch, sequence_min=0.6)
    assert metric(output, "masked_fraction") == pytest.approx(4 / 7)


def test_the_first_prime_rl_weighs_the_log_ratio_against_the_advantage():
    values, gradients = values_and_gradients(prime_rl_ratio, of_ratios([2.0, 0.5], [2]), kl_tau=0.3)
    expected = [-2 * (1 - 0.3 * math.log(2)), -0.5 * (1 + 0.3 * math.log(2))]
    assert gradients == pytest.approx(expected, abs=1e-12)
    assert values == pytest.approx([-each for each in expected], abs=1e-12)


def test_the_first_prime_rl_can_weigh_by_the_sequence():
    batch = of_ratios([2.0, 3.0, 5.0, 6.0], [2, 2])
    _, gradients = values_and_gradients(prime_rl_ratio, batch, weight="sequence")
    assert gradients == pytest.approx([-6.0, -6.0, -10.0, -10.0], abs=1e-12)
