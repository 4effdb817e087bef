"""The figures of the loss benchmark see what they are for: each is fed something broken."""

import math
import random
from dataclasses import replace

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError, gradcheck

from benchmarks.figures import Figure, report
from benchmarks.loss_gradcheck import Frozen
from benchmarks.loss_hostile import SPOILS, hostile_batch, passes
from benchmarks.loss_modes import modes
from benchmarks.loss_partition import Worst
from benchmarks.loss_steps import RandomStep, loss_size, outcome
from benchmarks.loss_tensors import parted, random_batch
from trainer.composite import Composite, NotFiniteLossError
from trainer.losses.contract import LossOutputs
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.term import make_term


def mean_over_the_sequence(inputs):
    return LossOutputs(inputs.trainer_logprobs[inputs.loss_mask].mean() * len(inputs.loss_mask))


def test_every_term_is_there_in_its_defaults():
    assert set(BUILT_IN_TERMS) <= {term.name for term in modes()}
    assert len({term.name for term in modes()}) == len(modes())


def test_padding_that_counts_is_seen():
    """A user's function that reads how long the padded sequence is changes with the padding."""
    step = RandomStep.make(0)
    composite = Composite([make_term("mine", path=f"{__name__}.mean_over_the_sequence")])
    whole, cut = outcome(step, composite, 8, 1), outcome(step, composite, 2, 1, padding=3)
    assert float((whole.gradient - cut.gradient).norm()) > 0.1 * float(whole.gradient.norm())
    assert abs(whole.loss - cut.loss) > 0.1 * loss_size(step, composite)


def test_the_worst_of_both_is_kept_with_the_case_of_its_gradient():
    one, other = Worst(loss=2.0, gradient=1.0, cuts=3, seed=7), Worst(loss=1.0, gradient=4.0, cuts=2, seed=9)
    assert one.or_worse(other) == other.or_worse(one) == Worst(2.0, 4.0, 5, 9)


def test_a_stopped_gradient_is_frozen_and_a_wrong_one_still_fails():
    at = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)

    def stopped(x):
        return (x * x.detach()).sum()

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, *gradients):
            return gradients[0] * 2

    def frozen(function):
        mode = Frozen()
        with mode:
            function(at)

        def replayed(x):
            with mode.replay():
                return function(x)

        return replayed

    with pytest.raises(GradcheckError):
        gradcheck(stopped, (at,))
    assert gradcheck(frozen(stopped), (at,))
    with pytest.raises(GradcheckError):
        gradcheck(frozen(lambda x: Wrong.apply(x).sum() * x.detach().sum()), (at,))


def test_a_gradient_that_is_not_finite_does_not_pass():
    """1e300 times a gradient is no float32."""
    batch = random_batch([2, 3], 0, torch.float32)
    assert passes(Composite([make_term("policy", type="grpo")]), batch)
    assert not passes(Composite([make_term("policy", type="grpo", weight=1e300)]), batch)
    lost = replace(batch, trainer_logprobs=batch.trainer_logprobs * math.inf)
    with pytest.raises(NotFiniteLossError, match="imitate"):
        passes(Composite([make_term("imitate", type="sft")]), lost)


def test_hostile_batches_have_what_they_are_named_after():
    batches = [hostile_batch(random.Random(seed), seed) for seed in range(300)]
    logprobs = torch.cat([batch.trainer_logprobs.double() for batch in batches])
    advantages = torch.cat([batch.require("advantages").double() for batch in batches])
    assert (logprobs == -math.inf).any() and (logprobs == -100).any() and (logprobs == -1e30).any()
    assert logprobs.isnan().any() and (logprobs == 300).any() and (advantages.abs() == 1e8).any()
    assert any(not batch.loss_mask.any() for batch in batches) and any(b.sequence_count == 1 for b in batches)
    assert any(len(batch.require("chosen")) == 0 for batch in batches) and len(SPOILS) >= 10


def test_a_batch_is_parted_into_what_it_is_made_of():
    batch = random_batch([2, 3, 1, 4], 0, group=2)
    parts = parted(batch, 2)
    for name in ("trainer_logprobs", "advantages", "rewards"):
        assert torch.equal(torch.cat([part.require(name) for part in parts]), batch.require(name))
    assert [part.sequence_index.tolist() for part in parts] == [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]
    assert [len(part.require("chosen")) for part in parts] == [1, 1]


def test_a_bar_that_is_missed_is_told_in_the_last_line_and_the_exit_code(capsys):
    figures = [Figure("a", "1", "1", True), Figure("b", "2", "1", False)]
    assert report(figures) == 1 and report(figures[:1]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| b | 2 | 1 | NO |" in lines and "1 of 2 bars met" in lines and lines[-1] == "1 of 1 bars met"
