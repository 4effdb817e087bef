"""Divergence from the reference policy, from the log-probabilities of sampled tokens.

The three estimators of Schulman ("Approximating KL Divergence", 2020). With `d = log pi - log ref` at a token drawn from
the policy pi, and `D` for the divergence of the distributions at that position:

| estimator | value              | its mean    | its gradient as a loss   | the mean of that gradient         |
|-----------|--------------------|-------------|--------------------------|-----------------------------------|
| k1        | d                  | D(pi‖ref)   | grad log pi              | 0: it pulls nowhere, so refused   |
| k2        | d² / 2             | about it    | d grad log pi            | the gradient of D(pi‖ref)         |
| k3        | exp(-d) - 1 + d    | D(pi‖ref)   | (1 - exp(-d)) grad log pi| the gradient of D(ref‖pi)         |

So k3 reports the reverse divergence and descends the forward one; the two agree to second order near the reference. The
means hold for tokens of the policy itself: off-policy samples bias all of them, and no correction is made here.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.policy_terms import LOG_RATIO_LIMIT
from trainer.losses.term import BuiltInTerm

K1_REMEDY = (
    "estimator 'k1' cannot be a loss: its gradient, the mean of grad log pi, is zero on average, so it adds noise and"
    " holds the policy to nothing. Use 'k2' (descends KL(policy, reference)) or 'k3' (descends KL(reference, policy))."
)


def kl(batch: PackedBatch, *, estimator: str = "k3") -> TermOutput:
    """Penalty for leaving the reference policy; see the module for what `k2` and `k3` descend.

    Differences are kept within +-20 nats; outside the gradient is 0. Raises ValueError for `k1` and for unknown
    estimators, and MissingInputError.
    """
    if estimator == "k1":
        raise ValueError(K1_REMEDY)
    difference = batch.trainer_logprobs - batch.require("ref_logprobs")
    d = difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if estimator == "k2":
        values = d.square() / 2
    elif estimator == "k3":
        values = (-d).exp() - 1 + d
    else:
        raise ValueError(f"estimator must be 'k2' or 'k3', not {estimator!r}")
    return TermOutput(values, metrics=means(k1=d))


TERMS: Mapping[str, BuiltInTerm] = {"kl": BuiltInTerm(kl, frozenset({"ref_logprobs"}), non_negative=True)}
