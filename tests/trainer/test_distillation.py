"""Distillation: divergences by hand and against autograd-free formulas, exact expectations on a toy, masked vocabulary."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.losses.distillation import TERMS, distill
from trainer.losses.divergence import divergences, mean_logprobs
from trainer.losses.packed import PackedBatch

NAMES = ("forward_kl", "reverse_kl", "jensen_shannon")
LOG2, LOG3 = math.log(2), math.log(3)


def pack(logprobs, **fields):
    return PackedBatch(
        trainer_logprobs=logprobs,
        sequence_index=torch.zeros(len(logprobs), dtype=torch.int64),
        sequence_count=1,
        loss_mask=torch.ones(len(logprobs), dtype=torch.bool),
        **fields,
    )


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def test_distill_by_hand():
    """The teacher finds the first token twice as likely and the second half as likely; ratios 3 (cut to 2) and 1/2."""
    logprobs = tensor([-1.0, -1.0]).requires_grad_()
    behaviour = tensor([-1.0 - LOG3, -1.0 + LOG2])
    teacher = tensor([-1.0 + LOG2, -1.0 - LOG2])
    batch = pack(logprobs, inference_logprobs=behaviour, teacher_logprobs=teacher)
    output = distill(batch, ratio_max=2.0)
    (gradient,) = torch.autograd.grad(output.values.sum(), logprobs)
    assert output.values.tolist() == pytest.approx([-2 * LOG2, 0.5 * LOG2], abs=1e-12)
    assert gradient.tolist() == pytest.approx([-2 * LOG2, 0.5 * LOG2], abs=1e-12)
    assert float(output.metrics["cut_fraction"].total) == 1.0
    # Against the policy that sampled: log 6 and -log 4.
    values = distill(batch, student="behaviour", ratio_max=5.0).values
    assert values.tolist() == pytest.approx([-3 * math.log(6), 0.5 * math.log(4)], abs=1e-12)


def toy():
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher, behaviour = torch.randn(2, 6, generator=generator, dtype=torch.float64).log_softmax(-1)
    return logits, teacher, behaviour


def test_the_mean_of_distill_and_of_its_gradient_are_those_of_the_reverse_kl():
    logits, teacher, behaviour = toy()
    policy = logits.log_softmax(-1)
    values = distill(pack(policy, inference_logprobs=behaviour, teacher_logprobs=teacher), ratio_max=1e9).values
    mean = (behaviour.exp() * values).sum()
    exact = divergences(logits[None], teacher[None], ["reverse_kl"])["reverse_kl"].sum()
    (seen,) = torch.autograd.grad(mean, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(exact, logits)
    assert mean.item() == pytest.approx(exact.item(), abs=1e-12)
    assert torch.allclose(seen, expected, atol=1e-12, rtol=0)


def test_divergences_by_hand():
    """Policy (1/2, 1/2), teacher (1/4, 3/4), average (3/8, 5/8)."""
    logits, teacher = torch.zeros(1, 2, dtype=torch.float64), tensor([[0.0, LOG3]])
    found = divergences(logits, teacher, NAMES)
    assert found["forward_kl"].item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-12)
    assert found["reverse_kl"].item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-12)
    to_average = 0.5 * math.log(4 / 3) + 0.5 * math.log(4 / 5)
    from_teacher = 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)
    assert found["jensen_shannon"].item() == pytest.approx((to_average + from_teacher) / 2, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name):
    generator = torch.Generator().manual_seed(5)
    logits, teacher = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    teacher[1, 2] = -math.inf
    assert torch.autograd.gradcheck(lambda x: divergences(x, teacher, [name])[name], (logits.requires_grad_(),))


def test_forward_kl_descends_the_cross_entropy_to_the_teacher():
    logits, teacher, _ = toy()
    found = divergences(logits[None], teacher[None], ["forward_kl"])
    assert set(found) == {"forward_kl"}
    (gradient,) = torch.autograd.grad(found["forward_kl"].sum(), logits)
    assert torch.allclose(gradient, logits.detach().softmax(-1) - teacher.exp(), atol=1e-12, rtol=0)


def test_the_teacher_gets_no_gradient():
    logits, teacher = torch.zeros(1, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)
    sum(divergences(logits, teacher, NAMES).values()).sum().backward()
    assert teacher.grad is None


def test_a_vocabulary_masked_for_both_is_a_smaller_vocabulary():
    logits, teacher, _ = toy()
    mask = tensor([0.0, -math.inf, 0.0, 0.0, -math.inf, 0.0])
    kept = mask == 0
    masked = divergences((logits + mask)[None], (teacher + mask)[None], NAMES)
    smaller = divergences(logits[kept][None], teacher[kept][None], NAMES)
    for name in NAMES:
        assert masked[name].item() == pytest.approx(smaller[name].item(), abs=1e-12)
        (seen,) = torch.autograd.grad(masked[name].sum(), logits, retain_graph=True)
        (expected,) = torch.autograd.grad(smaller[name].sum(), logits, retain_graph=True)
        assert torch.allclose(seen, expected, atol=1e-12, rtol=0)
    assert mean_logprobs((logits + mask)[None]).item() == pytest.approx(
        mean_logprobs(logits[kept][None]).item(), abs=1e-12
    )


def test_mean_logprobs_by_hand():
    logits = tensor([[0.0, LOG3]]).requires_grad_()
    mean = mean_logprobs(logits)
    assert mean.item() == pytest.approx((math.log(0.25) + math.log(0.75)) / 2, abs=1e-12)
    (gradient,) = torch.autograd.grad(mean.sum(), logits)
    assert gradient.flatten().tolist() == pytest.approx([0.5 - 0.25, 0.5 - 0.75], abs=1e-12)


logit = st.one_of(st.floats(-1e4, 1e4), st.just(-math.inf))
rows = st.lists(logit, min_size=3, max_size=3).filter(lambda row: max(row) > -math.inf)


@settings(max_examples=200, deadline=None)
@given(rows, rows, st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_hostile_logits_give_finite_values_and_gradients(row, teacher, dtype):
    logits = tensor([row], dtype).requires_grad_()
    found = divergences(logits, tensor([teacher], dtype), NAMES) | {"mean": mean_logprobs(logits)}
    for name, value in found.items():
        (gradient,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert value.isfinite().all() and gradient.isfinite().all(), name
        assert name == "mean" or value.item() >= -1e-5
    assert found["jensen_shannon"].item() <= LOG2 + 1e-5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.one_of(st.floats(-1e30, 0.0), st.just(-math.inf))] * 3), min_size=1, max_size=4))
def test_hostile_log_probabilities_give_finite_values_and_gradients(tokens):
    policy, behaviour, teacher = (tensor([token[place] for token in tokens]) for place in range(3))
    policy.requires_grad_()
    values = distill(pack(policy, inference_logprobs=behaviour, teacher_logprobs=teacher)).values
    (gradient,) = torch.autograd.grad(values.sum(), policy)
    assert values.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_terms_of_whole_distributions_are_the_field_itself(name):
    field = tensor([0.5, 0.25]).requires_grad_()
    values = TERMS[name].function(pack(tensor([-1.0, -2.0]), **{name: field})).values
    (gradient,) = torch.autograd.grad(values.sum(), field)
    assert (values.tolist(), gradient.tolist()) == ([0.5, 0.25], [1.0, 1.0])


def test_what_cannot_be_is_refused():
    batch = pack(tensor([-1.0]), inference_logprobs=tensor([-1.0]), teacher_logprobs=tensor([-1.0]))
    with pytest.raises(ValueError, match="ratio_max must be greater than 0, not 0"):
        distill(batch, ratio_max=0.0)
    with pytest.raises(ValueError, match="student must be 'current' or 'behaviour', not 'old'"):
        distill(batch, student="old")
    with pytest.raises(ValueError, match="did you mean 'reverse_kl'"):
        divergences(torch.zeros(1, 2), torch.zeros(1, 2), ["reverse"])
    with pytest.raises(ValueError, match=r"\(1, 2\) and the teacher's \(1, 3\)"):
        divergences(torch.zeros(1, 2), torch.zeros(1, 3), ["reverse_kl"])
