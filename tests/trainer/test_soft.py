"""CISPO, SAPO, GMPO and VESPO by hand."""

import math

import pytest
import torch

from tests.trainer.loss_batches import batch_of, metric, values_and_gradients
from trainer.losses.soft import cispo, gmpo, sapo, vespo


def of_ratios(ratios, advantages, lengths=None, **tensors):
    below = (-torch.tensor(ratios, dtype=torch.float64).log() - 1).tolist()
    return batch_of([-1.0] * len(ratios), lengths, inference_logprobs=below, advantages=advantages, **tensors)


def test_cispo_clips_the_weight_and_keeps_the_gradient():
    batch = of_ratios([0.5, 2.0, 10.0], [1.0, -1.0, 1.0])
    values, gradients = values_and_gradients(cispo, batch, ratio_max=5.0)
    assert values == pytest.approx([0.5, -2.0, 5.0], abs=1e-12)
    assert gradients == pytest.approx([-0.5, 2.0, -5.0], abs=1e-12)
    assert metric(cispo(batch), "clip_fraction") == pytest.approx(1 / 3)
    assert values_and_gradients(cispo, batch, ratio_min=0.8)[1] == pytest.approx([-0.8, 2.0, -5.0], abs=1e-12)


def test_cispo_over_a_sequence_weighs_all_its_tokens_alike():
    _, gradients = values_and_gradients(cispo, of_ratios([4.0, 1.0, 3.0], [1.0] * 3, [2, 1]), span="sequence")
    assert gradients == pytest.approx([-2.0, -2.0, -3.0], abs=1e-12)


def test_sapo_by_hand():
    batch = of_ratios([1.0, 2.0, 2.0], [3.0, 1.0, -1.0])
    values, gradients = values_and_gradients(sapo, batch, tau_pos=1.0, tau_neg=2.0)
    one, two = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    assert values == pytest.approx([-6.0, -4 * one, 2 * two], abs=1e-12)
    assert gradients == pytest.approx([-3.0, -8 * one * (1 - one), 8 * two * (1 - two)], abs=1e-12)
    gates = [1.0, 4 * one * (1 - one), 4 * two * (1 - two)]
    assert metric(sapo(batch, tau_pos=1.0, tau_neg=2.0), "gate") == pytest.approx(sum(gates) / 3)


def test_sapo_keeps_a_temperature_that_float32_has_not():
    values, _ = values_and_gradients(sapo, of_ratios([1.0], [-1.0]), tau_neg=1.05)
    assert values == pytest.approx([2 / 1.05], abs=1e-15)


# Log ratios 0.6 and 0.1, or -0.6 and 0.1, bounds of 0.4.
@pytest.mark.parametrize(
    ("first", "advantage", "mean", "alive"),
    [(0.6, 1.0, 0.25, (0, 1)), (0.6, -1.0, 0.35, (1, 1)), (-0.6, 1.0, -0.25, (1, 1)), (-0.6, -1.0, -0.15, (0, 1))],
)
def test_gmpo_clips_tokens_before_the_geometric_mean(first, advantage, mean, alive):
    batch = of_ratios([math.exp(first), math.exp(0.1)], [advantage] * 2)
    values, gradients = values_and_gradients(gmpo, batch)
    assert values == pytest.approx([-advantage * math.exp(mean)] * 2, abs=1e-12)
    assert gradients == pytest.approx([-advantage * math.exp(mean) * living for living in alive], abs=1e-12)
    assert metric(gmpo(batch), "clip_fraction") == (0.5 if 0 in alive else 0.0)


def test_vespo_weighs_by_the_ratio_of_the_whole_sequence():
    # Sequence ratios 2, 2 and 1.
    batch = of_ratios([4.0, 0.5, 2.0, 1.0], [1.0, 1.0, -1.0, 7.0], [2, 1, 1])
    values, gradients = values_and_gradients(vespo, batch)
    positive, negative = 2**2 * math.exp(-3), 2**3 * math.exp(-2)
    assert gradients == pytest.approx([-positive, -positive, negative, -7.0], abs=1e-12)
    assert values == pytest.approx([positive, positive, -negative, 7.0], abs=1e-12)
    assert metric(vespo(batch), "phi") == pytest.approx((2 * positive + negative + 1) / 4)


def test_vespo_weighs_most_where_the_ratio_is_k_over_lambda():
    def weight(ratio):
        return -values_and_gradients(vespo, of_ratios([ratio], [1.0]), k_pos=2.0, lambda_pos=4.0)[1][0]

    assert weight(0.5) > max(weight(0.45), weight(0.55))
    assert weight(1e-8) < 1e-12 and weight(40.0) < 1e-12
