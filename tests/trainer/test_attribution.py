"""Norms, shares and cosines by hand; the terms' gradients add up to the whole; conflicts are projected out."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.loss_steps import STEP, TOTAL_STEPS, RandomStep, random_composite
from trainer.attribution import Attribution, inner_products, without_conflicts
from trainer.composite import Composite, NotFiniteLossError
from trainer.losses.contract import LossOutputs, MetricSum
from trainer.losses.packed import PackedBatch
from trainer.step_plan import StepPlan
from trainer.step_totals import StepTotals
from trainer.term import make_term


def batch_of_two_domains():
    return PackedBatch(
        trainer_logprobs=torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64, requires_grad=True),
        sequence_index=torch.tensor([0, 0, 1]),
        sequence_count=2,
        loss_mask=torch.ones(3, dtype=torch.bool),
        inference_logprobs=torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64),
        advantages=torch.tensor([1.0, 1.0, -2.0], dtype=torch.float64),
        domain_index=torch.tensor([1, 0]),
        domain_count=2,
    )


def test_by_hand():
    """On policy grpo has the gradient -A / 3, that is (-1, -1, 2) / 3; sft (-1, -1, -1) / 3."""
    composite = Composite([make_term("policy", type="grpo", weight=2.0), make_term("imitate", type="sft")])
    batch = batch_of_two_domains()
    part = composite.gradients(batch, {"policy": 3.0, "imitate": 3.0}, 0, 1)
    products = inner_products(part, batch).numpy()
    assert products * 9 == pytest.approx(np.array([[[4, -2], [-2, 1]], [[2, 2], [2, 2]]]))
    told = Attribution(("policy", "imitate"), ("code", "math"), products).metrics([2.0, 1.0])
    assert told["term/policy/gradient_norm"] == pytest.approx(math.sqrt(6) / 3)
    assert told["term/imitate/gradient_norm"] == pytest.approx(math.sqrt(3) / 3)
    assert told["term/policy/share"] == pytest.approx(2 * math.sqrt(6) / (2 * math.sqrt(6) + math.sqrt(3)))
    assert told["cosine/policy/imitate"] == pytest.approx(0.0)
    assert told["domain/code/cosine/policy/imitate"] == pytest.approx(-1.0)
    assert told["domain/math/cosine/policy/imitate"] == pytest.approx(1.0)
    # 2 (-1, -1, 2) + (-1, -1, -1) = (-3, -3, 3)
    assert told["loss/score_gradient_norm"] == pytest.approx(math.sqrt(27) / 3)
    assert part.terms["policy"].by_domain == pytest.approx((2 / 3, -2 / 3))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_the_terms_gradients_add_up_to_the_whole_one(seed):
    step, composite = RandomStep.make(seed), random_composite(random.Random(seed))
    batches, counts = step.batches(composite.whole_groups, 3, 1)
    plan = StepPlan(composite, composite.normalisers(counts), STEP, TOTAL_STEPS)
    plan = plan.with_statistics(StepTotals.combine([plan.measure(batches).to_json()]))
    totals = StepTotals()
    whole = torch.zeros(len(step.gradient(step.live["values"].sum())), dtype=torch.float64)
    for batch in batches:
        part = plan.gradients(batch)
        totals.add(part.terms, inner_products(part, batch))
        loss = composite.loss(batch, plan.normalisers, STEP, TOTAL_STEPS, plan.statistics).loss
        together = torch.einsum(
            "k,kfn->fn", torch.tensor(list(plan.weights.values()), dtype=torch.float64), part.gradients
        )
        direct = torch.autograd.grad(
            loss, [getattr(batch, name) for name in part.fields], allow_unused=True, materialize_grads=True
        )
        size = max(1e-9, float(together.norm()))
        assert float((torch.stack(direct) - together).norm()) <= 1e-12 * size
        whole += step.gradient(part.surrogate(batch, list(plan.weights.values())))
    told = plan.metrics(StepTotals.combine([totals.to_json()]), ("code", "math", "talk")[: batches[0].domain_count])
    assert told["loss/score_gradient_norm"] == pytest.approx(float(whole.norm()), rel=1e-9, abs=1e-12)
    shares = [value for name, value in told.items() if name.startswith("term/") and name.endswith("/share")]
    assert math.fsum(shares) == pytest.approx(1.0) or whole.norm() == 0
    assert all(-1 <= value <= 1 for name, value in told.items() if "cosine/" in name)
    domains = [told[name] for name in told if name.startswith("domain/") and name.endswith(f"{plan_name(plan)}/value")]
    if domains:
        assert math.fsum(domains) == pytest.approx(told[f"term/{plan_name(plan)}/value"], rel=1e-9, abs=1e-12)


def plan_name(plan):
    return plan.composite.terms[0].name


def infinite(inputs):
    return LossOutputs((inputs.trainer_logprobs * math.inf)[inputs.loss_mask].sum())


def steep(inputs):
    """0, with an infinite gradient."""
    return LossOutputs((inputs.trainer_logprobs - inputs.trainer_logprobs.detach()).sqrt()[inputs.loss_mask].sum())


@pytest.mark.parametrize("function", [infinite, steep])
def test_a_term_that_is_not_finite_is_named_and_one_of_weight_zero_spoils_nothing(function):
    batch = batch_of_two_domains()
    bad = {"path": f"{__name__}.{function.__name__}"}
    with pytest.raises(NotFiniteLossError, match="gradient of bad is not finite at step 7") as caught:
        Composite([make_term("a", type="sft"), make_term("bad", **bad)]).gradients(batch, {"a": 3.0, "bad": 3.0}, 7, 9)
    assert caught.value.terms == ("bad",)
    composite = Composite([make_term("a", type="sft"), make_term("bad", weight=0.0, **bad)])
    part = composite.gradients(batch, {"a": 3.0, "bad": 3.0}, 7, 9)
    (gradient,) = torch.autograd.grad(part.surrogate(batch, [1.0, 0.0]), batch.trainer_logprobs)
    assert gradient.tolist() == pytest.approx([-1 / 3] * 3)
    told = Attribution(("a", "bad"), ("x",), inner_products(part, batch).sum(0, keepdim=True).numpy()).metrics(
        [1.0, 0.0]
    )
    assert told["loss/score_gradient_norm"] == pytest.approx(math.sqrt(3) / 3)
    assert told["term/a/share"] == 1.0 and told["term/bad/share"] == 0.0


def products_of(*gradients):
    stacked = np.array(gradients, dtype=float)
    return stacked @ stacked.T


def test_two_conflicting_gradients_by_hand():
    """a = (1, 0), b = (-1, 1): a' = a + b/2 = (1/2, 1/2), b' = b + a = (0, 1), together (1/2, 3/2) = 2a + 3/2 b."""
    found = without_conflicts(products_of((1, 0), (-1, 1)), {"a": 1.0, "b": 1.0}, seed=0, step=0)
    assert found == {"a": pytest.approx(2.0), "b": pytest.approx(1.5)}


def test_what_does_not_conflict_is_left_alone():
    weights = {"a": 0.5, "b": 2.0, "off": 0.0}
    assert without_conflicts(products_of((1, 0), (1, 1), (-9, -9)), weights, 0, 0) == weights


def test_a_negative_weight_turns_its_gradient():
    found = without_conflicts(products_of((1, 0), (1, 1)), {"a": 1.0, "b": -1.0}, 0, 0)
    assert found["a"] > 1.0 and found["b"] < -1.0


@given(st.lists(st.lists(st.floats(-3, 3), min_size=4, max_size=4), min_size=2, max_size=2), st.integers(0, 99))
@example([[1.0, 0.0, 0.0, 0.0], [-1e-170, 0.0, 0.0, 0.0]], 0)
def test_of_two_neither_undoes_the_other(gradients, step):
    """Each projected gradient is at a right angle to the other one, or was not against it: their sum serves both."""
    stacked = np.array(gradients)
    found = without_conflicts(stacked @ stacked.T, {"a": 1.0, "b": 1.0}, 3, step)
    together = found["a"] * stacked[0] + found["b"] * stacked[1]
    assert (stacked @ together >= -1e-6).all()


def test_the_order_of_projections_follows_the_seed_and_the_step_and_not_the_order_of_terms():
    gradients = {"a": (1.0, 0.2, 0.0), "b": (-0.9, 1.0, 0.1), "c": (-0.4, -0.8, 1.0)}

    def found(names, step):
        weights = without_conflicts(products_of(*(gradients[n] for n in names)), dict.fromkeys(names, 1.0), 1, step)
        return tuple(round(weights[name], 12) for name in "abc")

    assert found("abc", 4) == found("cab", 4) == found("bca", 4)
    assert len({found("abc", step) for step in range(20)}) > 1


def test_a_terms_own_metric_never_hides_what_the_trainer_tells():
    totals = StepTotals()
    totals.add_sums("mine", {name: MetricSum(torch.tensor(6.0), 2.0) for name in ("value", "share", "ratio")})
    totals.values["mine"] = [0.5]
    told = totals.metrics({"mine": 2.0}, ("x",))
    assert told == {
        "loss/total": 1.0,
        "term/mine/value": 0.5,
        "term/mine/weight": 2.0,
        "term/mine/weighted": 1.0,
        "term/mine/own/value": 3.0,
        "term/mine/own/share": 3.0,
        "term/mine/ratio": 3.0,
    }
