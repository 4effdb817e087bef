"""Value head terms and robust residuals: by hand, gradcheck, sequences without tokens, hostile inputs."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.losses.packed import PackedBatch
from trainer.losses.robust import residual_loss
from trainer.losses.value import TERMS, bradley_terry, reward_regression, value


def pack(lengths, values, **fields):
    index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
    whole = {"chosen", "rejected"}
    return PackedBatch(
        trainer_logprobs=torch.full((len(index),), -1.0, dtype=torch.float64, requires_grad=True),
        sequence_index=index,
        sequence_count=len(lengths),
        loss_mask=torch.ones(len(index), dtype=torch.bool),
        values=torch.tensor(values, dtype=torch.float64).requires_grad_(),
        **{n: torch.tensor(v, dtype=torch.int64 if n in whole else torch.float64) for n, v in fields.items()},
    )


def values_and_gradients(term, batch, **kwargs):
    losses = term(batch, **kwargs).values
    (gradients,) = torch.autograd.grad(losses.sum(), batch.values)
    return losses.tolist(), gradients.tolist()


@pytest.mark.parametrize(
    ("kind", "losses", "gradients"),
    [
        ("mse", [0.25, 16.0], [1.0, -8.0]),
        ("huber", [0.125, 6.0], [0.5, -2.0]),
        ("smooth_l1", [0.0625, 3.0], [0.25, -1.0]),
        ("cauchy", [2 * math.log(1.0625), 2 * math.log(5)], [0.5 / 1.0625, -4 / 5]),
    ],
)
def test_residuals_by_hand(kind, losses, gradients):
    """Residuals 0.5 and -4 around delta = 2."""
    residuals = torch.tensor([0.5, -4.0], dtype=torch.float64, requires_grad=True)
    found = residual_loss(residuals, kind, 2.0)
    (gradient,) = torch.autograd.grad(found.sum(), residuals)
    assert found.tolist() == pytest.approx(losses, abs=1e-12)
    assert gradient.tolist() == pytest.approx(gradients, abs=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=5), st.floats(0.01, 50))
def test_huber_is_delta_times_smooth_l1_and_cauchy_is_below_it(residuals, delta):
    e = torch.tensor(residuals, dtype=torch.float64)
    huber = residual_loss(e, "huber", delta)
    assert torch.allclose(huber, delta * residual_loss(e, "smooth_l1", delta), rtol=1e-12, atol=1e-12)
    assert torch.allclose(residual_loss(e, "huber", 1e6), e.square() / 2, rtol=1e-12)
    assert (residual_loss(e, "cauchy", delta) <= huber * (1 + 1e-12) + 1e-300).all()


def test_values_regress_to_returns():
    batch = pack([2], [1.0, 3.0], returns=[2.0, 0.0])
    assert values_and_gradients(value, batch) == ([1.0, 9.0], [-2.0, 6.0])
    assert values_and_gradients(value, batch, kind="huber", delta=1.0) == ([0.5, 2.5], [-1.0, 1.0])


def test_clipped_value_loss_by_hand():
    """Old values 1, clip 0.5. Returns and values: moved past the clip towards the return, away from it, and within."""
    batch = pack([3], [2.0, 2.0, 1.25], returns=[3.0, 0.0, 3.0], old_values=[1.0, 1.0, 1.0])
    losses, gradients = values_and_gradients(value, batch, clip=0.5)
    # Towards: (1.5 - 3)^2 is the larger and does not depend on the value. Away: (2 - 0)^2 is the larger.
    assert losses == [2.25, 4.0, 3.0625]
    assert gradients == [0.0, 4.0, -3.5]
    assert float(value(batch, clip=0.5).metrics["clip_fraction"].total) == 1.0


L1, L2 = math.log1p(math.exp(-1)), math.log1p(math.exp(-2))
S1, S2 = 1 / (1 + math.exp(1)), 1 / (1 + math.exp(2))


@pytest.mark.parametrize(
    ("kwargs", "loss", "slope"),
    [
        ({}, L2, -S2),
        ({"label_smoothing": 0.25}, L2 + 0.5, 0.25 - S2),
        ({"reward_margin": 2.0}, L1, -S1),
        ({"reward_weight": 2.0}, L2 / 4, -S2 / 4),
    ],
)
def test_bradley_terry_compares_the_last_tokens(kwargs, loss, slope):
    """Scores 5 and 3; rewards 0.5 apart."""
    batch = pack([2, 3], [9.0, 5.0, -7.0, 8.0, 3.0], rewards=[0.75, 0.25], chosen=[0], rejected=[1])
    losses, gradients = values_and_gradients(bradley_terry, batch, **kwargs)
    assert losses == pytest.approx([loss], abs=1e-12)
    assert gradients == pytest.approx([0, slope, 0, 0, -slope], abs=1e-12)


def test_a_score_is_read_at_the_last_token_that_counts():
    batch = pack([2, 3], [9.0, 5.0, -7.0, 8.0, 3.0], rewards=[0.5, 0.25])
    batch = replace(batch, loss_mask=torch.tensor([True, True, True, True, False]))
    losses = reward_regression(batch.valid()).values
    assert losses.tolist() == [4.5**2, 7.75**2]


def test_sequences_without_tokens_have_no_score():
    batch = pack(
        [0, 2, 0, 1, 0], [1.0, 5.0, 3.0], rewards=[9.0, 1.0, 9.0, 2.0, 9.0], chosen=[1, 0, 3], rejected=[3, 1, 4]
    )
    losses, gradients = values_and_gradients(reward_regression, batch)
    assert losses == [0.0, 16.0, 0.0, 1.0, 0.0]
    assert gradients == [0.0, 8.0, 2.0]
    losses, gradients = values_and_gradients(bradley_terry, batch)
    assert losses == pytest.approx([L2, 0.0, 0.0], abs=1e-12)
    assert gradients == pytest.approx([0.0, -S2, S2], abs=1e-12)


@pytest.mark.parametrize("name", TERMS)
def test_nothing_at_all_is_nothing(name):
    empty = {"returns": [], "old_values": [], "rewards": [], "chosen": [], "rejected": []}
    assert TERMS[name].function(pack([], [], **empty)).values.shape == (0,)
    only_lost = {"returns": [], "old_values": [], "rewards": [1.0, 0.0], "chosen": [0], "rejected": [1]}
    assert not TERMS[name].function(pack([0, 0], [], **only_lost)).values.any()


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        *(("value", {"kind": kind, "delta": 0.7, "clip": 0.3}) for kind in ("mse", "huber", "smooth_l1", "cauchy")),
        ("bradley_terry", {"label_smoothing": 0.1, "reward_margin": 0.5, "reward_weight": 0.5}),
        ("reward_regression", {"kind": "cauchy"}),
    ],
)
def test_gradcheck(name, kwargs):
    batch = pack(
        [2, 1, 2],
        [0.3, -1.2, 0.8, 2.1, -0.4],
        returns=[1.0, 0.2, -0.9, 0.1, 0.4],
        old_values=[0.2, -1.0, 0.1, 1.0, -0.5],
        rewards=[1.0, 0.5, 0.0],
        chosen=[0, 1],
        rejected=[2, 2],
    )

    def losses(values):
        return TERMS[name].function(replace(batch, values=values), **kwargs).values

    assert torch.autograd.gradcheck(losses, (batch.values,))


@pytest.mark.parametrize(
    ("term", "kwargs", "said"),
    [
        (value, {"kind": "l1"}, "kind must be one of mse, huber, smooth_l1, cauchy, not 'l1'"),
        (value, {"delta": 0.0}, "delta must be greater than 0, not 0.0"),
        (value, {"clip": 0.0}, "clip must be greater than 0, not 0.0"),
        (reward_regression, {"delta": -1.0}, "delta must be greater than 0"),
        (bradley_terry, {"label_smoothing": 0.5}, "label_smoothing must be at least 0 and below 0.5"),
    ],
)
def test_values_outside_their_range_are_refused(term, kwargs, said):
    batch = pack(
        [1, 1], [1.0, 2.0], returns=[0.0, 0.0], old_values=[0.0, 0.0], rewards=[1.0, 0.0], chosen=[0], rejected=[1]
    )
    with pytest.raises(ValueError, match=said):
        term(batch, **kwargs)


large = st.floats(-1e38, 1e38)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(large, large, large), min_size=2, max_size=4), st.sampled_from([torch.float32, torch.float64])
)
def test_extreme_values_give_finite_losses_and_gradients(tokens, dtype):
    values, returns, old = ([token[place] for token in tokens] for place in range(3))
    batch = pack(
        [1, len(tokens) - 1], values, returns=returns, old_values=old, rewards=[1e30, -1e30], chosen=[0], rejected=[1]
    ).map_tokens(lambda tensor: tensor.detach().to(dtype) if tensor.is_floating_point() else tensor)
    batch = replace(batch, values=batch.values.requires_grad_())
    for term, kwargs in [
        *((value, {"kind": kind, "clip": 0.5}) for kind in ("mse", "huber", "smooth_l1", "cauchy")),
        (bradley_terry, {"reward_margin": 1.0}),
        (reward_regression, {}),
    ]:
        losses = term(batch, **kwargs).values
        (gradient,) = torch.autograd.grad(losses.sum(), batch.values)
        assert losses.isfinite().all() and (losses >= 0).all()
        assert gradient.isfinite().all()
