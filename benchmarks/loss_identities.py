"""What terms say of the mean of their gradient, as pairs to compare: the mean over all texts, and what it should be.

The policy gradient is that of the mean reward, differentiated as a sum over all texts and not as a score function.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.figures import Figure
from benchmarks.loss_texts import PREFIXES, ROWS, TEXTS, Texts, logits
from trainer.losses.registry import BUILT_IN_TERMS

BAR = 1e-8
REWARDS = torch.randn(len(TEXTS), generator=torch.Generator().manual_seed(11), dtype=torch.float64)

ON_POLICY: tuple[tuple[str, dict[str, Any]], ...] = (
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
)
"""Terms whose mean gradient is the policy gradient where policies are equal."""

OFF_POLICY: tuple[tuple[str, dict[str, Any]], ...] = tuple(
    (name, {"correction": correction, "correction_max": 1e6} | ({"anchor": "old"} if name == "grpo" else {}))
    for name in ("reinforce", "grpo")
    for correction in ("sequence_tis", "sequence_mask")
)
"""Terms whose mean gradient is the policy gradient for another sampler's texts too."""

KL_OF_SEQUENCES = ("k1", "k3")
"""Estimators whose score-function form descends the KL of whole sequences."""

KL_OF_POSITIONS = (("k2", False), ("k3", True))
"""Estimators whose direct form descends a KL of positions; True for that from the reference."""


def identities() -> Figure:
    """The largest difference of an element of a mean gradient from what it should be."""
    found = [(name, float((seen - exact).abs().max())) for name, seen, exact in pairs()]
    worst, difference = max(found, key=lambda each: each[1])
    return Figure(
        f"score-function identities, every one of {len(TEXTS)} texts enumerated",
        f"{sum(error <= BAR for _, error in found)} of {len(found)} hold; worst difference {difference:.1e} ({worst})",
        f"all within {BAR:.0e}",
        difference <= BAR,
    )


def pairs() -> Iterator[tuple[str, Tensor, Tensor]]:
    """What is compared: its name, the mean of the term's gradient over all texts, and what that should be."""
    for name, kwargs in ON_POLICY:
        yield f"{name} {kwargs or ''}".strip(), *on_policy(name, kwargs)
    for name, kwargs in OFF_POLICY:
        yield f"{name} {kwargs}, another sampler", *off_policy(name, kwargs)
    for estimator in KL_OF_SEQUENCES:
        yield f"kl {estimator}, score function", *kl_of_sequences(estimator)
    for estimator, forward in KL_OF_POSITIONS:
        yield f"kl {estimator}, direct", *kl_of_positions(estimator, forward)
    yield "length", *length()
    yield "entropy", *entropy()


def on_policy(name: str, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """A policy term where policies are equal, and the policy gradient."""
    texts = Texts(logits(1))
    same = texts.logprobs().detach()
    batch = texts.batch(advantages=REWARDS, inference_logprobs=same, old_logprobs=same)
    return texts.mean_gradient(BUILT_IN_TERMS[name].function(batch, **kwargs).values), policy_gradient(texts)


def off_policy(name: str, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """A policy term with the texts of another sampler, and the policy gradient."""
    texts, sampler = Texts(logits(1)), Texts(logits(2))
    batch = texts.batch(
        advantages=REWARDS, inference_logprobs=sampler.logprobs().detach(), old_logprobs=texts.logprobs().detach()
    )
    values = BUILT_IN_TERMS[name].function(batch, **kwargs).values
    return texts.mean_gradient(values, sampler), policy_gradient(texts)


def kl_of_sequences(estimator: str) -> tuple[Tensor, Tensor]:
    """The score-function form, and the gradient of KL(policy, reference) of whole texts."""
    texts, reference = Texts(logits(1)), Texts(logits(3))
    others = reference.logprobs().detach()
    batch = texts.batch(ref_logprobs=others)
    values = BUILT_IN_TERMS["kl"].function(batch, estimator=estimator, form="score_function").values
    return texts.mean_gradient(values), texts.gradient(exact_kl(texts, others))


def kl_of_positions(estimator: str, forward: bool) -> tuple[Tensor, Tensor]:
    """The direct form, and the gradient of a divergence at each position of texts that are held fixed."""
    texts, reference = Texts(logits(1)), Texts(logits(3))
    batch = texts.batch(ref_logprobs=reference.logprobs().detach())
    values = BUILT_IN_TERMS["kl"].function(batch, estimator=estimator).values
    return texts.mean_gradient(values), texts.gradient(position_kl(texts, reference, forward))


def length() -> tuple[Tensor, Tensor]:
    """The length term, and the gradient of the mean length in units of the group's mean of 9 / 4."""
    texts = Texts(logits(1))
    lengths = torch.tensor([float(len(text)) for text in TEXTS], dtype=torch.float64)
    group = {"group_tokens": torch.tensor([9]), "group_sequences": torch.tensor([4])}
    batch = texts.batch(group_index=torch.zeros(len(TEXTS), dtype=torch.int64), **group)
    seen = texts.mean_gradient(BUILT_IN_TERMS["length"].function(batch).values)
    return seen, texts.gradient((texts.probabilities() * lengths).sum() / 2.25)


def entropy() -> tuple[Tensor, Tensor]:
    """The entropy term, and minus the gradient of the entropy at each position of texts that are held fixed."""
    texts = Texts(logits(1))
    table = texts.policy.log_softmax(1)
    per_prefix = -(table.exp() * table).sum(1)
    output = BUILT_IN_TERMS["entropy"].function(texts.batch(entropy=per_prefix[ROWS]))
    return texts.mean_gradient(output.values), texts.gradient(-(reached(texts) * per_prefix).sum())


def policy_gradient(texts: Texts) -> Tensor:
    """Of minus the mean reward."""
    return texts.gradient(-(texts.probabilities() * REWARDS).sum())


def exact_kl(texts: Texts, reference: Tensor) -> Tensor:
    """KL(policy, reference) of whole texts; the reference as log-probabilities of all tokens."""
    return (texts.probabilities() * texts.sums(texts.logprobs() - reference)).sum()


def position_kl(texts: Texts, reference: Texts, forward: bool) -> Tensor:
    """The sum over positions of the divergence there, of texts that the policy draws but is not differentiated for."""
    policy, other = texts.policy.log_softmax(1), reference.policy.detach().log_softmax(1)
    per_prefix = (other.exp() * (other - policy) if forward else policy.exp() * (policy - other)).sum(1)
    return (reached(texts) * per_prefix).sum()


def reached(texts: Texts) -> Tensor:
    """How likely a text passes through each prefix."""
    table = dict(zip(TEXTS, texts.probabilities().tolist(), strict=True))
    through = [sum(p for text, p in table.items() if text[: len(f)] == f and len(text) > len(f)) for f in PREFIXES]
    return torch.tensor(through, dtype=torch.float64)
