"""Preference terms that ask by how much the policy prefers one sequence of a pair: DPO and its family.

With `d(y) = log pi(y) - log ref(y)`, summed over the tokens that count, and w and l for the chosen and the rejected
sequence, each term is a function of the gap `d(w) - d(l)`, and most of the logit `z = beta (d(w) - d(l))`. The gradient
with respect to the log-probability of each chosen token is the derivative by the gap, that of each rejected token its
negative. A value belongs to a pair, and is never below 0 unless the term says so.

Rewards decide who is w. Beyond that a score enters in two ways only, where a term has the arguments:

- `reward_margin` m: `z - m (reward(w) - reward(l))` takes the place of z, so a clearly better answer must be clearly
  preferred;
- `reward_weight` p: the value is multiplied by `(reward(w) - reward(l)) ** p`, so a clearly better answer counts more.

A token's log-ratio counts at most 20 nats, and beyond has no gradient. A pair of which one sequence has no token that
counts is 0. Every term raises ValueError for an argument outside its range, and MissingInputError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.losses.contract import TermOutput
from trainer.losses.packed import PackedBatch
from trainer.losses.pairs import Pairs, check_smoothing, log_ratio_sums, margins, pairs_of, per_token, weights
from trainer.losses.ratio import check_positive
from trainer.losses.term import BuiltInTerm

if TYPE_CHECKING:
    from torch import Tensor


def dpo(
    batch: PackedBatch,
    *,
    beta: float = 0.1,
    length_alpha: float = 0.0,
    reward_margin: float = 0.0,
    reward_weight: float = 0.0,
) -> TermOutput:
    """Direct preference optimisation: `-log sigmoid(z)` (Rafailov et al. 2023, equation 7).

    `length_alpha` a adds `a (|w| - |l|)` to z, with lengths in tokens, so that a pair whose chosen sequence is longer
    teaches less (Park et al. 2024, "Disentangling Length from Quality", R-DPO). beta > 0. Each derivative by z lies
    between -1 and 0.
    """
    pairs, logits = _logits(batch, beta, reward_margin)
    if length_alpha:
        lengths = batch.token_counts().double()
        logits = logits + length_alpha * pairs_of(batch, lengths).gap
    return pairs.output(_smoothed(logits, 0.0) * weights(batch, reward_weight), beta)


def cdpo(
    batch: PackedBatch,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.1,
    reward_margin: float = 0.0,
    reward_weight: float = 0.0,
) -> TermOutput:
    """Conservative DPO: `-(1 - e) log sigmoid(z) - e log sigmoid(-z)`, where a share e of labels is taken to be wrong.

    Mitchell 2023, "A note on DPO with noisy preferences", equation 3. It is least at `z = log((1 - e) / e)` and pulls
    back beyond. beta > 0, `0 <= label_smoothing < 0.5`.
    """
    check_smoothing(label_smoothing)
    pairs, logits = _logits(batch, beta, reward_margin)
    return pairs.output(_smoothed(logits, label_smoothing) * weights(batch, reward_weight), beta)


def robust_dpo(
    batch: PackedBatch,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.1,
    reward_margin: float = 0.0,
    reward_weight: float = 0.0,
) -> TermOutput:
    """Robust DPO: `(-(1 - e) log sigmoid(z) + e log sigmoid(-z)) / (1 - 2 e)`.

    Where a share e of labels is flipped at random its mean is DPO's under true labels (Chowdhury et al. 2024, "Provably
    Robust DPO"). It can be negative and has no minimum. beta > 0, `0 <= label_smoothing < 0.5`.
    """
    from torch.nn.functional import logsigmoid

    check_smoothing(label_smoothing)
    pairs, z = _logits(batch, beta, reward_margin)
    e = label_smoothing
    values = (-(1 - e) * logsigmoid(z) + e * logsigmoid(-z)) / (1 - 2 * e)
    return pairs.output(values * weights(batch, reward_weight), beta)


def ipo_sum(batch: PackedBatch, *, beta: float = 0.1) -> TermOutput:
    """Identity preference optimisation over sums: `(d(w) - d(l) - 1 / (2 beta))^2` (Azar et al. 2023, equation 17).

    beta > 0 is the paper's tau. Long sequences reach the target gap sooner; `ipo_mean` does not favour them.
    """
    check_positive(beta=beta)
    pairs = pairs_of(batch, log_ratio_sums(batch))
    return pairs.output((pairs.gap - 1 / (2 * beta)).square(), beta)


def ipo_mean(batch: PackedBatch, *, beta: float = 0.1) -> TermOutput:
    """`ipo_sum` with every `d` divided by the sequence's number of tokens, as TRL's `ipo`; beta > 0.

    The same beta asks for a gap per token here and for one of whole sequences there: values do not carry over.
    """
    check_positive(beta=beta)
    pairs = pairs_of(batch, per_token(batch, log_ratio_sums(batch)))
    return pairs.output((pairs.gap - 1 / (2 * beta)).square(), beta)


def hinge(
    batch: PackedBatch, *, beta: float = 0.1, reward_margin: float = 0.0, reward_weight: float = 0.0
) -> TermOutput:
    """`max(0, 1 - z)` (Zhao et al. 2023, SLiC-HF; with implicit rewards Liu et al. 2024, RSO). beta > 0.

    A pair with `z > 1` has no gradient.
    """
    pairs, logits = _logits(batch, beta, reward_margin)
    return pairs.output((1 - logits).relu() * weights(batch, reward_weight), beta)


def exo(batch: PackedBatch, *, beta: float = 0.1, label_smoothing: float = 1e-3) -> TermOutput:
    """Efficient exact optimisation for pairs: the reverse KL from the policy's preference to the smoothed label.

    `s(z) (log s(z) - log(1 - e)) + s(-z) (log s(-z) - log e)`, s the sigmoid (Ji et al. 2024, equation 16). beta > 0,
    `0 < label_smoothing < 0.5`. Its gradient vanishes on both sides, so a pair ordered very wrongly hardly moves.
    """
    from torch.nn.functional import logsigmoid

    if not 0 < label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must be above 0 and below 0.5, not {label_smoothing!r}")
    pairs, z = _logits(batch, beta, 0.0)
    preferred = z.sigmoid() * (logsigmoid(z) - math.log1p(-label_smoothing))
    other = (-z).sigmoid() * (logsigmoid(-z) - math.log(label_smoothing))
    return pairs.output(preferred + other, beta)


def discopop(batch: PackedBatch, *, beta: float = 0.1, temperature: float = 0.05) -> TermOutput:
    """The log-ratio modulated loss: `-(1 - m) log s(z) + m exp(-z)` with `m = s(z / temperature)`, s the sigmoid.

    Lu et al. 2024, "Discovering Preference Optimization Algorithms with and for Large Language Models", equation 5.
    beta > 0, `0 < temperature < 1`. It is not convex: near `z = 0` the gradient changes its sign.
    """
    from torch.nn.functional import logsigmoid

    if not 0 < temperature < 1:
        raise ValueError(f"temperature must lie between 0 and 1, not {temperature!r}")
    pairs, z = _logits(batch, beta, 0.0)
    # m exp(-z) as one exponential: apart, a very negative z gives 0 times infinity.
    exponential = (logsigmoid(z / temperature) - z).exp()
    logistic = -logsigmoid(z) * (-z / temperature).sigmoid()
    return pairs.output(logistic + exponential, beta)


def _logits(batch: PackedBatch, beta: float, reward_margin: float) -> tuple[Pairs, Tensor]:
    check_positive(beta=beta)
    pairs = pairs_of(batch, log_ratio_sums(batch))
    return pairs, beta * pairs.gap - margins(batch, reward_margin)


def _smoothed(logits: Tensor, smoothing: float) -> Tensor:
    from torch.nn.functional import logsigmoid

    return -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)


_PAIRS = frozenset({"chosen", "rejected", "ref_logprobs"})
_REWARDED = _PAIRS | {"rewards"}

TERMS: Mapping[str, BuiltInTerm] = {
    "dpo": BuiltInTerm(dpo, _REWARDED, "pair", non_negative=True),
    "cdpo": BuiltInTerm(cdpo, _REWARDED, "pair", non_negative=True),
    "robust_dpo": BuiltInTerm(robust_dpo, _REWARDED, "pair"),
    "ipo_sum": BuiltInTerm(ipo_sum, _PAIRS, "pair", non_negative=True),
    "ipo_mean": BuiltInTerm(ipo_mean, _PAIRS, "pair", non_negative=True),
    "hinge": BuiltInTerm(hinge, _REWARDED, "pair", non_negative=True),
    "exo": BuiltInTerm(exo, _PAIRS, "pair", non_negative=True),
    "discopop": BuiltInTerm(discopop, _PAIRS, "pair", non_negative=True),
}
