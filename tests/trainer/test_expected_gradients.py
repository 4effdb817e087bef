"""What each policy-family term says of its mean gradient, checked on a language whose texts can all be listed."""

import pytest
import torch

from benchmarks.loss_identities import (
    KL_OF_POSITIONS,
    KL_OF_SEQUENCES,
    REWARDS,
    exact_kl,
    kl_of_positions,
    pairs,
    policy_gradient,
    position_kl,
)
from benchmarks.loss_texts import Texts, logits
from trainer.losses.kl import kl
from trainer.losses.registry import BUILT_IN_TERMS

PRECISION = {"atol": 1e-10, "rtol": 0}


@pytest.mark.parametrize(("seen", "exact"), [pytest.param(*each, id=name) for name, *each in pairs()])
def test_the_mean_gradient_is_what_it_should_be(seen, exact):
    assert torch.allclose(seen, exact, **PRECISION)
    assert exact.abs().max() > 1e-3


@pytest.mark.parametrize("kwargs", [{}, {"correction": "token_tis", "correction_max": 1e6}])
def test_nothing_less_than_the_ratio_of_a_whole_text_corrects_it(kwargs):
    texts, sampler = Texts(logits(1)), Texts(logits(2))
    batch = texts.batch(
        advantages=REWARDS, inference_logprobs=sampler.logprobs().detach(), old_logprobs=texts.logprobs().detach()
    )
    output = BUILT_IN_TERMS["reinforce"].function(batch, **kwargs)
    assert (texts.mean_gradient(output.values, sampler) - policy_gradient(texts)).abs().max() > 0.01


@pytest.mark.parametrize(("estimator", "forward"), KL_OF_POSITIONS)
def test_the_direct_forms_do_not_descend_the_other_divergence(estimator, forward):
    texts, reference = Texts(logits(1)), Texts(logits(3))
    seen, _ = kl_of_positions(estimator, forward)
    other = texts.gradient(position_kl(texts, reference, not forward))
    assert (seen - other).abs().max() > 0.01


@pytest.mark.parametrize(("estimator", "form"), [(e, "score_function") for e in KL_OF_SEQUENCES] + [("k3", "direct")])
def test_the_mean_of_the_values_is_the_kl_of_whole_sequences(estimator, form):
    texts, reference = Texts(logits(1)), Texts(logits(3))
    others = reference.logprobs().detach()
    values = kl(texts.batch(ref_logprobs=others), estimator=estimator, form=form).values
    mean = (texts.probabilities() * texts.sums(values)).sum()
    assert mean.item() == pytest.approx(exact_kl(texts, others).item(), abs=1e-10)


def test_the_mean_gradient_of_k1_is_zero():
    texts, reference = Texts(logits(1)), Texts(logits(3))
    gradient = texts.mean_gradient(texts.logprobs() - reference.logprobs().detach())
    assert gradient.abs().max() < 1e-14
