"""What each policy-family term says of its mean gradient, checked on a language whose texts can all be listed."""

import pytest
import torch

from tests.trainer.loss_batches import PREFIXES, ROWS, TEXTS, Texts, logits
from trainer.losses.kl import kl
from trainer.losses.registry import BUILT_IN_TERMS

PRECISION = {"atol": 1e-10, "rtol": 0}
REWARDS = torch.randn(len(TEXTS), generator=torch.Generator().manual_seed(11), dtype=torch.float64)

ON_POLICY = [
    ("ppo_clip", {}),
    ("ppo_clip", {"dual_clip": 3.0}),
    ("grpo", {}),
    ("grpo", {"span": "sequence"}),
    ("grpo", {"anchor": "old", "correction": "icepop"}),
    ("dr_grpo", {}),
    ("dapo", {}),
    ("gspo", {}),
    ("luspo", {}),
    ("cispo", {}),
    ("cispo", {"span": "sequence"}),
    ("sapo", {}),
    ("sapo", {"tau_pos": 3.0, "tau_neg": 0.5}),
    ("gmpo", {}),
    ("vespo", {}),
    ("vespo", {"anchor": "old"}),
    ("dppo", {}),
    ("dppo", {"divergence": "kl"}),
    ("dppo", {"ratio_max": 2.0}),
    ("prime_rl", {}),
    ("prime_rl", {"mask": "symmetric", "delta_low": 0.3, "delta_high": 0.3, "kl_tau": 0.1}),
    ("prime_rl_ratio", {}),
    ("prime_rl_ratio", {"weight": "sequence", "kl_tau": 0.1}),
    ("reinforce", {}),
    ("reinforce", {"correction": "geometric_mask"}),
]


def exact_policy_gradient(texts):
    return texts.gradient(-(texts.probabilities() * REWARDS).sum())


@pytest.mark.parametrize(("name", "kwargs"), ON_POLICY)
def test_on_policy_the_mean_gradient_is_the_policy_gradient(name, kwargs):
    texts = Texts(logits(1))
    same = texts.logprobs().detach()
    batch = texts.batch(advantages=REWARDS, inference_logprobs=same, old_logprobs=same)
    seen = texts.mean_gradient(BUILT_IN_TERMS[name].function(batch, **kwargs).values)
    assert torch.allclose(seen, exact_policy_gradient(texts), **PRECISION)


@pytest.mark.parametrize("correction", ["sequence_tis", "sequence_mask"])
@pytest.mark.parametrize("name", ["reinforce", "grpo"])
def test_the_ratio_of_whole_sequences_corrects_for_another_sampler_exactly(name, correction):
    texts, sampler = Texts(logits(1)), Texts(logits(2))
    batch = texts.batch(
        advantages=REWARDS, inference_logprobs=sampler.logprobs().detach(), old_logprobs=texts.logprobs().detach()
    )
    kwargs = {"correction": correction, "correction_max": 1e6} | ({"anchor": "old"} if name == "grpo" else {})
    output = BUILT_IN_TERMS[name].function(batch, **kwargs)
    assert torch.allclose(texts.mean_gradient(output.values, sampler), exact_policy_gradient(texts), **PRECISION)
    without = BUILT_IN_TERMS["reinforce"].function(batch).values
    assert (texts.mean_gradient(without, sampler) - exact_policy_gradient(texts)).abs().max() > 0.05


def test_a_ratio_of_tokens_does_not_correct_a_text_of_more_than_one():
    texts, sampler = Texts(logits(1)), Texts(logits(2))
    batch = texts.batch(
        advantages=REWARDS, inference_logprobs=sampler.logprobs().detach(), old_logprobs=texts.logprobs().detach()
    )
    output = BUILT_IN_TERMS["reinforce"].function(batch, correction="token_tis", correction_max=1e6)
    assert (texts.mean_gradient(output.values, sampler) - exact_policy_gradient(texts)).abs().max() > 0.01


def exact_kl(texts, reference):
    """KL(policy, reference) of whole texts."""
    return (texts.probabilities() * texts.sums(texts.logprobs() - reference)).sum()


def position_kl(texts, reference, forward):
    """The sum over positions of the divergence there, of texts that the policy draws but is not differentiated for."""
    policy, other = texts.policy.log_softmax(1), reference.policy.detach().log_softmax(1)
    per_prefix = (other.exp() * (other - policy) if forward else policy.exp() * (policy - other)).sum(1)
    return (reached(texts) * per_prefix).sum()


def reached(texts):
    """How likely a text passes through each prefix."""
    table = dict(zip(TEXTS, texts.probabilities().tolist(), strict=True))
    through = [sum(p for text, p in table.items() if text[: len(f)] == f and len(text) > len(f)) for f in PREFIXES]
    return torch.tensor(through, dtype=torch.float64)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_score_function_form_descends_the_kl_of_whole_sequences(estimator):
    texts, reference = Texts(logits(1)), Texts(logits(3))
    others = reference.logprobs().detach()
    output = kl(texts.batch(ref_logprobs=others), estimator=estimator, form="score_function")
    exact = exact_kl(texts, others)
    mean = (texts.probabilities().detach() * texts.sums(output.values)).sum()
    assert mean.item() == pytest.approx(exact.item(), abs=1e-10)
    assert torch.allclose(texts.mean_gradient(output.values), texts.gradient(exact), **PRECISION)


@pytest.mark.parametrize(("estimator", "forward"), [("k2", False), ("k3", True)])
def test_the_direct_forms_descend_what_the_table_names(estimator, forward):
    texts, reference = Texts(logits(1)), Texts(logits(3))
    output = kl(texts.batch(ref_logprobs=reference.logprobs().detach()), estimator=estimator)
    named = texts.gradient(position_kl(texts, reference, forward))
    other = texts.gradient(position_kl(texts, reference, not forward))
    seen = texts.mean_gradient(output.values)
    assert torch.allclose(seen, named, **PRECISION)
    assert (seen - other).abs().max() > 0.01


def test_k3_reports_the_divergence_that_it_does_not_descend():
    texts, reference = Texts(logits(1)), Texts(logits(3))
    others = reference.logprobs().detach()
    values = kl(texts.batch(ref_logprobs=others), estimator="k3").values
    mean = (texts.probabilities() * texts.sums(values)).sum()
    assert mean.item() == pytest.approx(exact_kl(texts, others).item(), abs=1e-10)


def test_the_mean_gradient_of_k1_is_zero():
    texts, reference = Texts(logits(1)), Texts(logits(3))
    gradient = texts.mean_gradient(texts.logprobs() - reference.logprobs().detach())
    assert gradient.abs().max() < 1e-14


def test_length_descends_the_mean_length_in_units_of_the_groups_mean():
    texts = Texts(logits(1))
    lengths = torch.tensor([float(len(text)) for text in TEXTS], dtype=torch.float64)
    group = {"group_tokens": torch.tensor([9]), "group_sequences": torch.tensor([4])}
    batch = texts.batch(group_index=torch.zeros(len(TEXTS), dtype=torch.int64), **group)
    seen = texts.mean_gradient(BUILT_IN_TERMS["length"].function(batch).values)
    exact = texts.gradient((texts.probabilities() * lengths).sum() / 2.25)
    assert torch.allclose(seen, exact, **PRECISION)


def test_entropy_descends_minus_the_entropy_of_each_position():
    texts = Texts(logits(1))
    table = texts.policy.log_softmax(1)
    per_prefix = -(table.exp() * table).sum(1)
    output = BUILT_IN_TERMS["entropy"].function(texts.batch(entropy=per_prefix[ROWS]))
    exact = texts.gradient(-(reached(texts) * per_prefix).sum())
    assert torch.allclose(texts.mean_gradient(output.values), exact, **PRECISION)
