"""Corrections for another sampler by hand, and what they refuse."""

import math

import pytest

from tests.trainer.loss_batches import batch_of, metric, values_and_gradients
from trainer.losses.clipped import grpo
from trainer.losses.reinforce import reinforce

# Weights 1.5 and 3 in the first sequence, whose product is 4.5 and whose geometric mean is 2.12; 0.4 in the second.
OLD = {"old_logprobs": [-1.0] * 3, "inference_logprobs": [-1 - math.log(w) for w in (1.5, 3.0, 0.4)]}


def batch():
    return batch_of([-1.0] * 3, [2, 1], advantages=[-1.0] * 3, **OLD)


@pytest.mark.parametrize(
    ("kwargs", "weights", "outside"),
    [
        ({"correction": "token_tis"}, [1.5, 2.0, 0.4], 1),
        ({"correction": "token_tis", "correction_min": 0.5, "correction_max": 4.0}, [1.5, 3.0, 0.5], 1),
        ({"correction": "sequence_tis"}, [2.0, 2.0, 0.4], 2),
        ({"correction": "sequence_tis", "correction_max": 5.0}, [4.5, 4.5, 0.4], 0),
        ({"correction": "icepop"}, [1.5, 3.0, 0.0], 1),
        ({"correction": "icepop", "correction_min": 0.3, "correction_max": 2.0}, [1.5, 0.0, 0.4], 1),
        ({"correction": "sequence_mask"}, [0.0, 0.0, 0.4], 2),
        ({"correction": "sequence_mask", "correction_min": 0.5, "correction_max": 5.0}, [4.5, 4.5, 0.0], 1),
        ({"correction": "geometric_mask"}, [0.0, 0.0, 0.0], 3),
        ({"correction": "geometric_mask", "correction_min": 0.5, "correction_max": 2.2}, [1.5, 3.0, 0.0], 1),
    ],
)
@pytest.mark.parametrize(("term", "anchor"), [(reinforce, {}), (grpo, {"anchor": "old"})])
def test_weights_by_hand(kwargs, weights, outside, term, anchor):
    values, gradients = values_and_gradients(term, batch(), **kwargs, **anchor)
    assert values == pytest.approx(weights, abs=1e-12)
    assert gradients == pytest.approx(weights, abs=1e-12)
    output = term(batch(), **kwargs, **anchor)
    assert metric(output, "correction_weight") == pytest.approx(sum(weights) / 3)
    assert metric(output, "correction_outside") == pytest.approx(outside / 3)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"correction": "tis"}, "correction must be one of 'none', 'token_tis'.*not 'tis'"),
        ({"correction_max": 2.0}, "correction_min and correction_max need a correction"),
        ({"correction": "token_tis", "correction_max": 0.9}, "correction_max must be at least 1, not 0.9"),
        ({"correction": "icepop", "correction_min": 1.1}, "correction_min must lie between 0 and 1, not 1.1"),
        ({"correction": "icepop", "correction_min": -0.1}, "correction_min must lie between 0 and 1, not -0.1"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(kwargs, said):
    with pytest.raises(ValueError, match=said):
        reinforce(batch(), **kwargs)


def test_a_ratio_against_the_behaviour_policy_is_not_corrected_twice():
    with pytest.raises(ValueError, match=r"'token_tis' needs anchor = 'old'.*twice"):
        grpo(batch(), correction="token_tis")
