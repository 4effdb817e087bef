"""Divergence from the reference policy, from the log-probabilities of sampled tokens.

The three estimators of Schulman ("Approximating KL Divergence", 2020), each in two forms. With `d = log pi - log ref` at a
token drawn from the policy pi, and D for the divergence of the distributions at that position, the `direct` form
differentiates the estimator:

| estimator | value            | its mean  | its gradient             | the mean of that gradient          |
|-----------|------------------|-----------|--------------------------|------------------------------------|
| k1        | d                | D(pi‖ref) | grad lp                  | 0: it pulls nowhere, so refused    |
| k2        | d² / 2           | about it  | d grad lp                | the gradient of D(pi‖ref)          |
| k3        | exp(-d) - 1 + d  | D(pi‖ref) | (1 - exp(-d)) grad lp    | the gradient of D(ref‖pi)          |

So k3 reports one divergence and descends the other; the two agree to second order near the reference. Both hold the texts
fixed: that an early token leads to texts where the policies differ more is not seen.

The `score_function` form sees that too. It differentiates the mean, so that a token answers for the divergence of all
tokens from it to the end of its sequence:

| estimator | value           | its gradient, with sums over later tokens of the sequence | the mean of that gradient      |
|-----------|-----------------|-----------------------------------------------------------|--------------------------------|
| k1        | d               | (1 + d + sum d) grad lp                                   | the gradient of KL(pi‖ref)     |
| k2        | d² / 2          |                                                           | that of E[d²/2]: refused       |
| k3        | exp(-d) - 1 + d | (d + sum (exp(-d) - 1 + d)) grad lp                       | the gradient of KL(pi‖ref)     |

KL is that of whole sequences, the sum of D over positions: exact where tokens are summed (`sequence_sum`, `sum`). A mean over
tokens weighs sequences by a length that the policy can change, and is not differentiated for that. k3 has less
variance than k1, and never a value below 0. All means hold for tokens of the policy itself: off-policy samples bias them,
and no correction is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import log_difference, on_policy_ratio
from trainer.losses.term import BuiltInTerm

if TYPE_CHECKING:
    from torch import Tensor

K1_REMEDY = (
    "estimator 'k1' cannot be differentiated as it stands: its gradient, the mean of grad log pi, is zero on average, so it"
    " adds noise and holds the policy to nothing. Use form = 'score_function', or 'k2' (descends KL(policy, reference)) or"
    " 'k3' (descends KL(reference, policy))."
)

K2_REMEDY = (
    "estimator 'k2' has no score-function form here: it would descend the mean of d²/2, which is no KL. Use form = 'direct',"
    " in which k2 descends KL(policy, reference) position by position, or 'k1' or 'k3'."
)


def kl(
    batch: PackedBatch,
    *,
    estimator: Literal["k1", "k2", "k3"] = "k3",
    form: Literal["direct", "score_function"] = "direct",
) -> TermOutput:
    """Penalty for leaving the reference policy; see the module for what each estimator and form descends.

    Differences are kept within +-20 nats; outside their own gradient is 0. Metrics: the means of the three estimators.

    Raises ValueError for `k1` in the direct form, for `k2` in the other, and for unknown names; MissingInputError.
    """
    if form not in ("direct", "score_function"):
        raise ValueError(f"form must be 'direct' or 'score_function', not {form!r}")
    if estimator not in ("k1", "k2", "k3"):
        raise ValueError(f"estimator must be 'k1', 'k2' or 'k3', not {estimator!r}")
    if (estimator, form) == ("k1", "direct"):
        raise ValueError(K1_REMEDY)
    if (estimator, form) == ("k2", "score_function"):
        raise ValueError(K2_REMEDY)
    d = log_difference(batch.trainer_logprobs, batch.require("ref_logprobs"))
    estimators = {"k1": d, "k2": d.square() / 2, "k3": (-d).exp() - 1 + d}
    values = estimators[estimator]
    if form == "score_function":
        values = values + _sums_to_go(batch, values.detach()) * (on_policy_ratio(batch) - 1)
    return TermOutput(values, metrics=means(**estimators))


def _sums_to_go(batch: PackedBatch, per_token: Tensor) -> Tensor:
    """Each token's sum over itself and the later tokens of its sequence: `[N]`, in the tensor's precision.

    Summed in a padded table, for a running sum over all tokens would carry the rounding of one sequence into the next.
    """
    import torch

    counts = batch.token_counts()
    if not per_token.numel():
        return per_token
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(per_token), device=per_token.device) - starts[batch.sequence_index]
    table = per_token.new_zeros(batch.sequence_count, int(counts.max()), dtype=torch.float64)
    table[batch.sequence_index, place] = per_token.double()
    sums = table.flip(1).cumsum(1).flip(1)
    return sums[batch.sequence_index, place].to(per_token.dtype)


# Not declared non-negative: k1 is below 0 wherever the reference likes a token better.
TERMS: Mapping[str, BuiltInTerm] = {"kl": BuiltInTerm(kl, frozenset({"ref_logprobs"}))}
