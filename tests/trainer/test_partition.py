"""No cut of a step changes its loss or its gradient: micro-batch size, ranks, padding, order of terms, for every term."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.loss_steps import RandomStep, loss_size, outcome, random_composite, random_term
from trainer.composite import Composite
from trainer.losses.contract import LossOutputs
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.term import make_term

NEEDS = ["ref_logprobs", "entropy", "values", "returns", "teacher_logprobs"]


def of_a_sequence(inputs, scale: float = 1.0):
    """Reads every tensor it gets."""
    per_token = scale * (inputs.trainer_logprobs - inputs.ref_logprobs) ** 2 * inputs.advantages.abs()
    per_token = per_token - inputs.entropy * (inputs.inference_logprobs - inputs.teacher_logprobs)
    per_token = per_token + (inputs.values - inputs.returns) ** 2 + inputs.old_logprobs * inputs.trainer_logprobs
    return LossOutputs(per_token[inputs.loss_mask].sum() * (1 + inputs.reward))


def of_a_pair(chosen, rejected, beta: float = 0.3):
    def score(inputs):
        return ((inputs.trainer_logprobs - inputs.ref_logprobs) * inputs.loss_mask).sum()

    return LossOutputs(-torch.nn.functional.logsigmoid(beta * (score(chosen) - score(rejected))))


def of_a_group(group):
    sums = torch.stack([(inputs.trainer_logprobs * inputs.loss_mask).sum() for inputs in group])
    return LossOutputs(sums.logsumexp(0) - torch.tensor([inputs.reward for inputs in group]).dot(sums.float()))


def mine(function, scope, **options):
    return make_term(f"mine_{scope}", path=f"{__name__}.{function.__name__}", needs=NEEDS, scope=scope, **options)


def check(step, composite, cuts, bound):
    whole = outcome(step, composite, size=len(step.samples), ranks=1)
    size = float(whole.gradient.norm())
    for micro_batch, ranks, padding in cuts:
        cut = outcome(step, composite, micro_batch, ranks, padding)
        assert abs(cut.loss - whole.loss) <= bound * loss_size(step, composite)
        assert float((cut.gradient - whole.gradient).norm()) <= bound * size
        if composite.combination == "sum":
            assert float((cut.direct - whole.gradient).norm()) <= bound * size


CUTS = [(1, 1, 0), (2, 1, 3), (3, 2, 0), (8, 2, 1)]


@pytest.mark.parametrize("name", BUILT_IN_TERMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_built_in_term(name, seed):
    check(RandomStep.make(seed), Composite([random_term(random.Random(seed), name, name)]), CUTS, 1e-12)


@pytest.mark.parametrize(
    "term", [mine(of_a_sequence, "sequence"), mine(of_a_pair, "pair"), mine(of_a_group, "group")], ids=lambda t: t.scope
)
def test_a_users_function_of_each_scope(term):
    for seed in range(3):
        check(RandomStep.make(seed), Composite([term]), CUTS, 1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 2), st.integers(0, 2), st.sampled_from(["sum", "pcgrad"])
)
def test_random_composites(seed, size, ranks, padding, combination):
    chance = random.Random(seed)
    terms = [*random_composite(chance).terms, mine(of_a_sequence, "sequence", weight=0.3)]
    step = RandomStep.make(seed)
    check(step, Composite(terms, combination), [(size, ranks, padding)], 1e-11 if combination == "pcgrad" else 1e-12)
    shuffled = Composite(chance.sample(terms, len(terms)), combination)
    one, other = outcome(step, Composite(terms, combination), size, ranks), outcome(step, shuffled, size, ranks)
    if combination == "sum":
        assert float((one.gradient - other.gradient).norm()) <= 1e-12 * float(one.gradient.norm())


@pytest.mark.parametrize("seed", range(4))
def test_in_float32(seed):
    step = RandomStep.make(seed, torch.float32)
    check(step, random_composite(random.Random(seed)), CUTS, 1e-6)
