"""Likelihood terms: focal and smoothed forms by hand and against PyTorch's cross-entropy, extreme tokens."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.losses.divergence import mean_logprobs
from trainer.losses.packed import PackedBatch
from trainer.losses.supervised import sft, sft_smoothed


def pack(logprobs, **fields):
    return PackedBatch(
        trainer_logprobs=logprobs,
        sequence_index=torch.zeros(len(logprobs), dtype=torch.int64),
        sequence_count=1,
        loss_mask=torch.ones(len(logprobs), dtype=torch.bool),
        **fields,
    )


def leaf(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).requires_grad_()


def test_focal_by_hand():
    """Probabilities 1/2 and 1/4 with gamma 2: weights 1/4 and 9/16."""
    logprobs = leaf([math.log(0.5), math.log(0.25)])
    values = sft(pack(logprobs), focal=2.0).values
    (gradient,) = torch.autograd.grad(values.sum(), logprobs)
    assert values.tolist() == pytest.approx([math.log(2) / 4, math.log(4) * 9 / 16], abs=1e-12)
    # -(1 - p)^2 + 2 p (1 - p) log p
    assert gradient.tolist() == pytest.approx([-0.25 - math.log(2) / 2, -9 / 16 - 3 / 8 * math.log(4)], abs=1e-12)


def test_without_focal_it_is_the_likelihood():
    assert sft(pack(leaf([-0.5, -2.0]))).values.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("focal", [0.0, 0.5, 1.0, 2.0])
def test_gradcheck(focal):
    assert torch.autograd.gradcheck(lambda x: sft(pack(x), focal=focal).values, (leaf([-0.01, -1.0, -3.0]),))


@given(st.floats(0.0, 5.0), st.sampled_from([torch.float32, torch.float64]))
def test_certain_and_impossible_tokens_have_finite_gradients(focal, dtype):
    logprobs = leaf([0.0, -1e-300, -1e-9, 1e-7, -200.0, -1e30, -math.inf], dtype)
    values = sft(pack(logprobs), focal=focal).values
    (gradient,) = torch.autograd.grad(values.sum(), logprobs)
    assert values[:-1].isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[-1] == -1


def test_smoothing_is_that_of_the_cross_entropy():
    """The whole way from logits: the value and the gradient of PyTorch's label smoothing."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 3, 6, 6, 2])
    logprobs = logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
    values = sft_smoothed(pack(logprobs, mean_logprobs=mean_logprobs(logits)), label_smoothing=0.3).values
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.3, reduction="none")
    assert torch.allclose(values, expected, atol=1e-12, rtol=0)
    (gradient,) = torch.autograd.grad(values.sum(), logits, retain_graph=True)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), logits)
    assert torch.allclose(gradient, expected_gradient, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("term", "kwargs", "said"),
    [
        (sft, {"focal": -1.0}, "focal must be at least 0, not -1.0"),
        (sft_smoothed, {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, not 1.0"),
    ],
)
def test_values_outside_their_range_are_refused(term, kwargs, said):
    with pytest.raises(ValueError, match=said):
        term(pack(leaf([-1.0]), mean_logprobs=leaf([-1.0])), **kwargs)
