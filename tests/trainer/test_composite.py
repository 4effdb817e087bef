"""The composite: its formula by hand, and what it refuses. That no cut of a step changes it is `test_partition.py`'s."""

import math
from dataclasses import replace

import pytest
import torch

from trainer.composite import Composite, NotFiniteLossError, NothingToTrainError
from trainer.losses.aggregation import Aggregation, Counts
from trainer.losses.contract import LossOutputs
from trainer.losses.packed import PackedBatch
from trainer.term import TermError, make_term

COUNTS = Counts(tokens=3, sequences=2, segments=3, groups=1)


def by_hand():
    """Two sequences of 2 and 1 tokens that count, of one group; log-probabilities -1 | -2 (two segments) and -4."""
    return PackedBatch(
        trainer_logprobs=torch.tensor([-1.0, -2.0, -9.0, -4.0], dtype=torch.float64, requires_grad=True),
        sequence_index=torch.tensor([0, 0, 0, 1]),
        sequence_count=2,
        loss_mask=torch.tensor([True, True, False, True]),
        segment_index=torch.tensor([0, 1, 1, 2]),
        group_index=torch.tensor([0, 0]),
        group_tokens=torch.tensor([3]),
    )


@pytest.mark.parametrize(
    ("aggregation", "value", "gradient"),
    [
        (Aggregation("token_mean"), 7 / 3, [-1 / 3, -1 / 3, 0, -1 / 3]),
        (Aggregation("sequence_mean"), (1.5 + 4) / 2, [-1 / 4, -1 / 4, 0, -1 / 2]),
        (Aggregation("sequence_sum"), 7 / 2, [-1 / 2, -1 / 2, 0, -1 / 2]),
        (Aggregation("sequence_sum", constant=10), 7 / 20, [-1 / 20, -1 / 20, 0, -1 / 20]),
        (Aggregation("segment_mean"), 7 / 3, [-1 / 3, -1 / 3, 0, -1 / 3]),
        (Aggregation("group_mean"), 7 / 3, [-1 / 3, -1 / 3, 0, -1 / 3]),
        (Aggregation("sum"), 7.0, [-1, -1, 0, -1]),
    ],
)
def test_aggregations_by_hand(aggregation, value, gradient):
    batch = by_hand()
    composite = Composite([make_term("sft", type="sft", aggregation=aggregation)])
    output = composite.loss(batch, composite.normalisers(COUNTS), 0, 1)
    assert output.loss.item() == pytest.approx(value, abs=1e-15)
    assert torch.autograd.grad(output.loss, batch.trainer_logprobs)[0].tolist() == pytest.approx(gradient, abs=1e-15)


def test_weights_and_arguments_follow_their_schedules():
    term = make_term(
        "policy",
        type="grpo",
        weight={"schedule": "linear", "start": 1.0, "end": 3.0},
        kwargs={"eps_low": {"schedule": "linear", "start": 0.1, "end": 0.5}},
    )
    assert Composite([term]).weights(1, 3) == {"policy": 2.0}
    assert term.kwargs_at(1, 3) == {"eps_low": pytest.approx(0.3)}


def test_a_term_of_weight_zero_is_told_but_takes_no_part():
    batch = by_hand()
    composite = Composite([make_term("a", type="sft"), make_term("off", type="sft", weight=0.0)])
    output = composite.loss(batch, composite.normalisers(COUNTS), 0, 1)
    assert output.loss.item() == pytest.approx(7 / 3)
    assert output.terms["off"].value == pytest.approx(7 / 3)
    assert torch.autograd.grad(output.loss, batch.trainer_logprobs)[0].sum().item() == pytest.approx(-1.0)


def infinite_slope(inputs):
    """0, with an infinite gradient."""
    return LossOutputs((inputs.trainer_logprobs - inputs.trainer_logprobs.detach()).sqrt().sum(), {})


def infinite(inputs):
    return LossOutputs(inputs.trainer_logprobs.sum() * math.inf, {})


@pytest.mark.parametrize("function", [infinite_slope, infinite])
def test_a_term_of_weight_zero_cannot_spoil_the_others(function):
    batch = by_hand()
    off = make_term("off", path=f"{__name__}.{function.__name__}", weight=0.0)
    composite = Composite([make_term("a", type="sft"), off])
    output = composite.loss(batch, composite.normalisers(COUNTS), 0, 1)
    (gradient,) = torch.autograd.grad(output.loss, batch.trainer_logprobs)
    assert gradient.tolist() == pytest.approx([-1 / 3, -1 / 3, 0, -1 / 3])


def test_an_empty_micro_batch_gives_a_connected_zero():
    batch = by_hand()
    batch = PackedBatch(**{**vars(batch), "loss_mask": torch.zeros(4, dtype=torch.bool)})
    composite = Composite([make_term(k, type="sft", aggregation=Aggregation(k)) for k in ("token_mean", "sum")])
    output = composite.loss(batch, composite.normalisers(COUNTS), 0, 1)
    assert output.loss.item() == 0.0
    assert torch.autograd.grad(output.loss, batch.trainer_logprobs)[0].tolist() == [0.0] * 4


def test_a_step_without_tokens_is_refused():
    with pytest.raises(NothingToTrainError, match="5 were dropped"):
        Composite([make_term("sft", type="sft")]).normalisers(Counts(0, 0, dropped_tokens=5))


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_names_its_term(bad):
    batch = by_hand()
    with torch.no_grad():
        batch.trainer_logprobs[1] = bad
    composite = Composite([make_term("imitate", type="sft"), make_term("off", type="sft", weight=0.0)])
    with pytest.raises(NotFiniteLossError, match="imitate is not finite at step 4") as caught:
        composite.loss(batch, composite.normalisers(COUNTS), 4, 10)
    assert caught.value.terms == ("imitate",)


def masks_the_first_token(inputs):
    inputs.loss_mask[0] = False
    inputs.rewards.clear()
    return LossOutputs(-inputs.trainer_logprobs.where(inputs.loss_mask.clone(), 0).sum(), {})


def sums_with_rewards(inputs):
    return LossOutputs(-inputs.rewards["a/b"] * inputs.trainer_logprobs.where(inputs.loss_mask, 0).sum(), {})


def fails_on_short_ones(inputs):
    return LossOutputs({2: inputs.trainer_logprobs.sum()}[len(inputs.loss_mask)])


def test_what_a_users_function_writes_into_its_inputs_reaches_no_other_term():
    batch = replace(by_hand(), components=({"a/b": 1.0}, {"a/b": 1.0}))
    terms = [make_term(f.__name__, path=f"{__name__}.{f.__name__}") for f in (masks_the_first_token, sums_with_rewards)]
    part = Composite(terms).gradients(batch, dict.fromkeys((term.name for term in terms), 1.0), 0, 1)
    assert part.gradients[:, 0].tolist() == [[0, -1, 0, 0], [-1, -1, 0, -1]]
    assert batch.loss_mask.tolist() == [True, True, False, True]


def test_a_users_function_that_fails_in_a_run_is_named_with_the_line():
    composite = Composite([make_term("mine", path=f"{__name__}.fails_on_short_ones")])
    with pytest.raises(TermError, match=r"term 'mine': KeyError: 3; in test_composite.py, line \d+, at step 4"):
        composite.gradients(by_hand(), {"mine": 1.0}, 4, 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "either a built-in type or the path"),
        ({"type": "grpo", "path": "a.b"}, "either a built-in type or the path"),
        ({"type": "gpro"}, "or 'grpo'"),
        ({"type": "grpo", "kwargs": {"clip_eps": 0.2}}, r"kwargs: unknown name 'clip_eps'.*known: eps_low, eps_high"),
        ({"type": "grpo", "kwargs": {"eps_low": "0.2"}}, "eps_low must be a number or a schedule, not '0.2'"),
        ({"type": "ppo_clip", "kwargs": {"dual_clip": 10**400}}, "dual_clip must be a number or a schedule"),
        ({"type": "ppo_clip", "kwargs": {"dual_clip": True}}, "dual_clip must be a number or a schedule, not True"),
        ({"type": "entropy", "kwargs": {"beta": 1}}, "known: none"),
        ({"type": "grpo", "weight": {"schedule": "linear", "start": 0}}, "'end' is missing"),
        ({"type": "grpo", "needs": ["values"]}, "'grpo' declares its own"),
        ({"path": "math.fsum", "needs": ["value"]}, "needs: unknown name 'value'"),
    ],
)
def test_a_term_that_cannot_be_made_says_why(arguments, said):
    with pytest.raises(ValueError, match=said):
        make_term("policy", **arguments)


@pytest.mark.parametrize(
    ("kind", "constant", "said"),
    [
        ("token-mean", 1.0, "did you mean 'token_mean'"),
        ("sequence_sum", 0.0, "constant must be a positive number"),
        ("sequence_sum", float("nan"), "constant must be a positive number"),
        ("token_mean", 8.0, "constant belongs to 'sequence_sum'"),
    ],
)
def test_a_bad_aggregation_is_refused(kind, constant, said):
    with pytest.raises(ValueError, match=said):
        Aggregation(kind, constant)


def test_names_of_terms_are_unique_and_there_is_at_least_one():
    with pytest.raises(TermError, match="'a' is used twice"):
        Composite([make_term("a", type="sft"), make_term("a", type="sft")])
    with pytest.raises(TermError, match="needs a term"):
        Composite([])
