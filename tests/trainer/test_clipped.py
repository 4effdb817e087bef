"""Clipped surrogates by hand: bounds, dual clip, spans and the policy that the ratio is taken against."""

import pytest
import torch

from tests.trainer.loss_batches import batch_of, metric, values_and_gradients
from trainer.composite import Composite
from trainer.losses.aggregation import Aggregation, Counts
from trainer.losses.clipped import dapo, dr_grpo, grpo, gspo, luspo, ppo_clip
from trainer.term import make_term

# Ratios 1.5, 1.1, 1.5, 0.5, 0.9 with advantages 1, 1, -1, -1, -1 and bounds 0.8 to 1.2.
RATIOS = torch.tensor([1.5, 1.1, 1.5, 0.5, 0.9], dtype=torch.float64)
SURROGATE = {"inference_logprobs": (-RATIOS.log() - 1).tolist(), "advantages": [1.0, 1.0, -1.0, -1.0, -1.0]}


@pytest.mark.parametrize("term", [grpo, ppo_clip, dr_grpo])
def test_clipped_surrogate_by_hand(term):
    values, gradients = values_and_gradients(term, batch_of([-1.0] * 5, **SURROGATE))
    assert values == pytest.approx([-1.2, -1.1, 1.5, 0.8, 0.9], abs=1e-12)
    assert gradients == pytest.approx([0.0, -1.1, 1.5, 0.0, 0.9], abs=1e-12)


def test_clip_higher_moves_only_the_upper_bound():
    values, gradients = values_and_gradients(grpo, batch_of([-1.0] * 5, **SURROGATE), eps_low=0.2, eps_high=0.6)
    assert values == pytest.approx([-1.5, -1.1, 1.5, 0.8, 0.9], abs=1e-12)
    assert gradients == pytest.approx([-1.5, -1.1, 1.5, 0.0, 0.9], abs=1e-12)
    assert values_and_gradients(dapo, batch_of([-1.0] * 5, **SURROGATE))[0][0] == pytest.approx(-1.28, abs=1e-12)


def test_dual_clip_bounds_what_a_bad_token_can_cost():
    values, gradients = values_and_gradients(ppo_clip, batch_of([-1.0] * 5, **SURROGATE), dual_clip=1.4)
    assert values == pytest.approx([-1.2, -1.1, 1.4, 0.8, 0.9], abs=1e-12)
    assert gradients == pytest.approx([0.0, -1.1, 0.0, 0.0, 0.9], abs=1e-12)


def test_metrics_are_sums_with_counts():
    metrics = grpo(batch_of([-1.0] * 5, **SURROGATE)).metrics
    assert {name: m.count for name, m in metrics.items()} == {"ratio": 5, "clip_fraction": 5, "anchor_kl": 5}
    assert float(metrics["ratio"].total) == pytest.approx(5.5)
    assert float(metrics["clip_fraction"].total) == 2.0
    assert float(metrics["anchor_kl"].total) == pytest.approx(float((RATIOS - 1 - RATIOS.log()).sum()))
    assert not any(m.total.requires_grad for m in metrics.values())


def of_ratios(ratios, lengths, advantages, **tensors):
    below = (-torch.tensor(ratios, dtype=torch.float64).log() - 1).tolist()
    return batch_of([-1.0] * len(ratios), lengths, **{"inference_logprobs": below, "advantages": advantages, **tensors})


def test_a_sequence_is_clipped_by_the_geometric_mean_of_its_ratios():
    # Geometric means: 1.2 of the first two tokens, 0.7 of the third.
    batch = of_ratios([1.44, 1.0, 0.7], [2, 1], [1.0, 1.0, 1.0])
    values, gradients = values_and_gradients(gspo, batch, eps_low=0.1, eps_high=0.1)
    assert values == pytest.approx([-1.1, -1.1, -0.7], abs=1e-12)
    assert gradients == pytest.approx([0.0, 0.0, -0.7], abs=1e-12)


def test_in_a_span_each_token_is_moved_by_its_own_advantage():
    values, gradients = values_and_gradients(gspo, of_ratios([1.44, 1.0], [2], [-1.0, -2.0]), eps_low=0.1, eps_high=0.1)
    assert values == pytest.approx([1.2, 2.4], abs=1e-12)
    assert gradients == pytest.approx([1.2, 2.4], abs=1e-12)


def test_a_segment_is_clipped_apart_from_the_others_of_its_sequence():
    batch = of_ratios([1.44, 1.0, 0.9, 1.3], [3, 1], [1.0] * 4, segment_index=torch.tensor([0, 0, 1, 2]))
    values, gradients = values_and_gradients(grpo, batch, eps_low=0.1, eps_high=0.1, span="segment")
    assert values == pytest.approx([-1.1, -1.1, -0.9, -1.1], abs=1e-12)
    assert gradients == pytest.approx([0.0, 0.0, -0.9, 0.0], abs=1e-12)


def test_the_default_bounds_of_gspo_are_those_of_sequences():
    batch = of_ratios([1.00035, 1.0005, 0.9996], [1, 1, 1], [1.0, 1.0, -1.0])
    assert values_and_gradients(gspo, batch)[1] == pytest.approx([-1.00035, 0.0, 0.0], abs=1e-12)


def test_the_ratio_can_be_taken_against_the_trainer_at_collection():
    batch = of_ratios([1.5], [1], [1.0], old_logprobs=[-1.1])
    values, _ = values_and_gradients(grpo, batch, anchor="old")
    assert values == pytest.approx([-torch.tensor(0.1, dtype=torch.float64).exp().item()], abs=1e-12)
    assert metric(grpo(batch, anchor="old"), "clip_fraction") == 0.0
    assert metric(grpo(batch), "clip_fraction") == 1.0


# Two sequences of 2 and 1 tokens, ratios 1, advantages 3 and -5.
@pytest.mark.parametrize(
    ("type", "aggregation", "loss"),
    [
        ("ppo_clip", None, -1 / 3),
        ("dapo", None, -1 / 3),
        ("gspo", None, 1.0),
        ("luspo", None, -1 / 2),
        ("dr_grpo", None, -1 / 2),
        ("dr_grpo", Aggregation("sequence_sum", constant=10), -1 / 20),
    ],
)
def test_what_each_is_divided_by(type, aggregation, loss):
    batch = of_ratios([1.0] * 3, [2, 1], [3.0, 3.0, -5.0])
    composite = Composite([make_term("policy", type=type, aggregation=aggregation)])
    output = composite.loss(batch, composite.normalisers(Counts(tokens=3, sequences=2)), 0, 1)
    assert output.loss.item() == pytest.approx(loss, abs=1e-12)


def test_luspo_weighs_a_sequence_by_its_length():
    batch = of_ratios([1.44, 1.0, 0.7], [2, 1], [1.0, 1.0, -1.0])
    values, _ = values_and_gradients(luspo, batch, eps_low=0.4, eps_high=0.4)
    assert sum(values) / 2 == pytest.approx((-2 * 1.2 + 1 * 0.7) / 2, abs=1e-12)
