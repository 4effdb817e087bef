"""Built-in terms: hand-computed values and gradients, gradcheck, exact expectations on a toy policy, extreme inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.losses.clipped import grpo, ppo_clip
from trainer.losses.contract import MissingInputError
from trainer.losses.kl import kl
from trainer.losses.packed import PackedBatch
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.losses.supervised import entropy, sft

LOG2 = 0.6931471805599453


def batch_of(logprobs, **tensors):
    """All tokens in one sequence, float64, with gradient."""
    count = len(logprobs)
    return PackedBatch(
        trainer_logprobs=torch.tensor(logprobs, dtype=torch.float64, requires_grad=True),
        sequence_index=torch.zeros(count, dtype=torch.int64),
        sequence_count=1,
        loss_mask=torch.ones(count, dtype=torch.bool),
        **{name: torch.tensor(values, dtype=torch.float64) for name, values in tensors.items()},
    )


def values_and_gradients(term, batch, **kwargs):
    values = term(batch, **kwargs).values
    (gradients,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
    return values.tolist(), gradients.tolist()


# Ratios 1.5, 1.1, 1.5, 0.5, 0.9 with advantages 1, 1, -1, -1, -1 and bounds 0.8 to 1.2.
RATIOS = torch.tensor([1.5, 1.1, 1.5, 0.5, 0.9], dtype=torch.float64)
SURROGATE = {"inference_logprobs": (-RATIOS.log() - 1).tolist(), "advantages": [1.0, 1.0, -1.0, -1.0, -1.0]}


@pytest.mark.parametrize("term", [grpo, ppo_clip])
def test_clipped_surrogate_by_hand(term):
    values, gradients = values_and_gradients(term, batch_of([-1.0] * 5, **SURROGATE))
    assert values == pytest.approx([-1.2, -1.1, 1.5, 0.8, 0.9], abs=1e-12)
    assert gradients == pytest.approx([0.0, -1.1, 1.5, 0.0, 0.9], abs=1e-12)


def test_clip_higher_moves_only_the_upper_bound():
    values, gradients = values_and_gradients(grpo, batch_of([-1.0] * 5, **SURROGATE), eps_low=0.2, eps_high=0.6)
    assert values == pytest.approx([-1.5, -1.1, 1.5, 0.8, 0.9], abs=1e-12)
    assert gradients == pytest.approx([-1.5, -1.1, 1.5, 0.0, 0.9], abs=1e-12)


def test_dual_clip_bounds_what_a_bad_token_can_cost():
    values, gradients = values_and_gradients(ppo_clip, batch_of([-1.0] * 5, **SURROGATE), dual_clip=1.4)
    assert values == pytest.approx([-1.2, -1.1, 1.4, 0.8, 0.9], abs=1e-12)
    assert gradients == pytest.approx([0.0, -1.1, 0.0, 0.0, 0.9], abs=1e-12)


def test_surrogate_metrics_are_sums_with_counts():
    metrics = grpo(batch_of([-1.0] * 5, **SURROGATE)).metrics
    assert {name: m.count for name, m in metrics.items()} == {"ratio": 5, "clip_fraction": 5, "anchor_kl": 5}
    assert float(metrics["ratio"].total) == pytest.approx(5.5)
    assert float(metrics["clip_fraction"].total) == 2.0
    assert float(metrics["anchor_kl"].total) == pytest.approx(float((RATIOS - 1 - RATIOS.log()).sum()))
    assert not any(m.total.requires_grad for m in metrics.values())


def test_kl_estimators_by_hand():
    batch = batch_of([-1.0, -1.0], ref_logprobs=[-1.0 - LOG2, -1.0 + LOG2])
    values, gradients = values_and_gradients(kl, batch, estimator="k2")
    assert values == pytest.approx([LOG2**2 / 2] * 2, abs=1e-12)
    assert gradients == pytest.approx([LOG2, -LOG2], abs=1e-12)
    values, gradients = values_and_gradients(kl, batch, estimator="k3")
    assert values == pytest.approx([0.5 - 1 + LOG2, 2 - 1 - LOG2], abs=1e-12)
    assert gradients == pytest.approx([0.5, -1.0], abs=1e-12)


def test_k1_is_refused_with_its_remedy():
    with pytest.raises(ValueError, match=r"zero on average.*Use form = 'score_function', or 'k2'.*or 'k3'"):
        kl(batch_of([-1.0], ref_logprobs=[-1.0]), estimator="k1")


def toy_policies():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(7, generator=generator, dtype=torch.float64).log_softmax(0)
    return logits, logits.log_softmax(0), reference


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_the_mean_gradient_of_kl_is_the_one_the_table_names(estimator):
    logits, policy, reference = toy_policies()
    batch = PackedBatch(
        trainer_logprobs=policy,
        sequence_index=torch.zeros(7, dtype=torch.int64),
        sequence_count=1,
        loss_mask=torch.ones(7, dtype=torch.bool),
        ref_logprobs=reference,
    )
    mean = (policy.exp().detach() * kl(batch, estimator=estimator).values).sum()
    reverse = (policy.exp() * (policy - reference)).sum()
    forward = (reference.exp() * (reference - policy)).sum()
    descended = reverse if estimator == "k2" else forward
    (seen,) = torch.autograd.grad(mean, logits, retain_graph=True)
    (named,) = torch.autograd.grad(descended, logits, retain_graph=True)
    assert torch.allclose(seen, named, atol=1e-12, rtol=0)
    if estimator == "k3":
        assert mean.item() == pytest.approx(reverse.item(), abs=1e-12)


def test_the_mean_gradient_of_k1_is_zero():
    logits, policy, reference = toy_policies()
    (gradient,) = torch.autograd.grad((policy.exp().detach() * (policy - reference)).sum(), logits)
    assert gradient.abs().max() < 1e-15


def test_on_policy_the_surrogate_has_the_score_function_gradient():
    logits, policy, _ = toy_policies()
    advantages = torch.linspace(-1, 2, 7, dtype=torch.float64)
    batch = PackedBatch(
        trainer_logprobs=policy,
        sequence_index=torch.zeros(7, dtype=torch.int64),
        sequence_count=1,
        loss_mask=torch.ones(7, dtype=torch.bool),
        inference_logprobs=policy.detach(),
        advantages=advantages,
    )
    surrogate = (policy.exp().detach() * grpo(batch).values).sum()
    (seen,) = torch.autograd.grad(surrogate, logits, retain_graph=True)
    (exact,) = torch.autograd.grad(-(policy.exp() * advantages).sum(), logits)
    assert torch.allclose(seen, exact, atol=1e-14, rtol=0)


def test_entropy_and_sft_by_hand():
    batch = batch_of([-0.5, -2.0], entropy=[1.0, 3.0])
    assert entropy(batch).values.tolist() == [-1.0, -3.0]
    assert values_and_gradients(sft, batch) == ([0.5, 2.0], [-1.0, -1.0])


@pytest.mark.parametrize(
    ("term", "tensors", "kwargs"),
    [
        (grpo, {"inference_logprobs": [-1.05, -1.9, -0.4], "advantages": [1.0, -2.0, 0.5]}, {}),
        (ppo_clip, {"inference_logprobs": [-1.05, -1.9, -0.4], "advantages": [1.0, -2.0, 0.5]}, {"dual_clip": 3.0}),
        (kl, {"ref_logprobs": [-1.5, -2.5, -0.1]}, {"estimator": "k2"}),
        (kl, {"ref_logprobs": [-1.5, -2.5, -0.1]}, {"estimator": "k3"}),
        (sft, {}, {}),
    ],
)
def test_gradcheck(term, tensors, kwargs):
    batch = batch_of([-1.0, -2.0, -0.3], **tensors)

    def value(logprobs):
        return term(PackedBatch(**{**vars(batch), "trainer_logprobs": logprobs}), **kwargs).values

    assert torch.autograd.gradcheck(value, (batch.trainer_logprobs,))


@pytest.mark.parametrize(
    ("term", "kwargs", "said"),
    [
        (grpo, {"eps_low": 0.0}, "eps_low must lie between 0 and 1, not 0.0"),
        (grpo, {"eps_low": 1.0}, "eps_low must lie between 0 and 1"),
        (grpo, {"eps_high": -0.1}, "eps_high must be greater than 0"),
        (ppo_clip, {"dual_clip": 1.0}, "dual_clip must be greater than 1"),
        (kl, {"estimator": "k4"}, "estimator must be 'k1', 'k2' or 'k3', not 'k4'"),
    ],
)
def test_values_outside_their_range_are_refused(term, kwargs, said):
    with pytest.raises(ValueError, match=said):
        term(batch_of([-1.0], inference_logprobs=[-1.0], ref_logprobs=[-1.0], advantages=[1.0]), **kwargs)


@pytest.mark.parametrize("name", [name for name, term in BUILT_IN_TERMS.items() if term.needs])
def test_a_term_says_what_it_misses(name):
    with pytest.raises(MissingInputError, match=f"needs ({'|'.join(BUILT_IN_TERMS[name].needs)})"):
        BUILT_IN_TERMS[name].function(batch_of([-1.0]))


extreme = st.floats(-1e30, 0.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(extreme, extreme, extreme, st.floats(-1e6, 1e6)), min_size=1, max_size=5), st.booleans())
def test_extreme_log_probabilities_give_finite_values_and_gradients(tokens, in_float32):
    logprobs, inference, reference, advantages = zip(*tokens, strict=True)
    batch = batch_of(logprobs, inference_logprobs=inference, ref_logprobs=reference, advantages=advantages)
    if in_float32:
        batch = batch.map_tokens(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    for term, kwargs in (
        (grpo, {}),
        (ppo_clip, {"dual_clip": 3.0}),
        (kl, {"estimator": "k2"}),
        (kl, {"estimator": "k3"}),
    ):
        values = term(batch, **kwargs).values
        (gradient,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
        assert values.isfinite().all() and gradient.isfinite().all()
