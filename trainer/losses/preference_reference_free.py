"""Preference terms that compare the policy's own log-probabilities, without a reference policy.

Each is the preference part alone. SimPO needs no other; CPO and ORPO are published with a likelihood term on the chosen
sequence: put a term `nll_chosen` beside them. Nothing holds the policy near where it started.

A log-probability below -10,000 nats counts as that and has no gradient. A pair of which one sequence has no token that
counts is 0. Every term raises ValueError for an argument outside its range, and MissingInputError.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.losses.contract import TermOutput
from trainer.losses.packed import PackedBatch
from trainer.losses.pairs import logprob_sums, margins, pairs_of, per_token, weights
from trainer.losses.ratio import check_not_negative, check_positive
from trainer.losses.term import BuiltInTerm

# At an average log-probability of 0 the odds are infinite, and so is their gradient.
AVERAGE_LOGPROB_CEILING = -1e-6


def simpo(
    batch: PackedBatch, *, beta: float = 2.0, gamma: float = 0.5, reward_margin: float = 0.0, reward_weight: float = 0.0
) -> TermOutput:
    """Simple preference optimisation: `-log sigmoid(beta (a(w) - a(l)) - gamma)`, a the average log-probability.

    Meng et al. 2024, equation 6. `gamma >= 0` is a margin of the logit, not multiplied by beta; beta > 0. `reward_margin`
    and `reward_weight` as for `dpo`.
    """
    from torch.nn.functional import logsigmoid

    check_positive(beta=beta)
    check_not_negative(gamma=gamma)
    pairs = pairs_of(batch, per_token(batch, logprob_sums(batch)))
    logits = beta * pairs.gap - gamma - margins(batch, reward_margin)
    return pairs.output(-logsigmoid(logits) * weights(batch, reward_weight), beta)


def cpo(batch: PackedBatch, *, beta: float = 0.1, reward_margin: float = 0.0, reward_weight: float = 0.0) -> TermOutput:
    """Contrastive preference optimisation: `-log sigmoid(beta (log pi(w) - log pi(l)))` over sums (Xu et al.
    2024), without the paper's likelihood term. beta > 0. `reward_margin` and `reward_weight` as for `dpo`.
    """
    from torch.nn.functional import logsigmoid

    check_positive(beta=beta)
    pairs = pairs_of(batch, logprob_sums(batch))
    logits = beta * pairs.gap - margins(batch, reward_margin)
    return pairs.output(-logsigmoid(logits) * weights(batch, reward_weight), beta)


def orpo(batch: PackedBatch) -> TermOutput:
    """Odds-ratio preference optimisation: `-log sigmoid(log odds(w) - log odds(l))`, `odds = p / (1 - p)`.

    `p` is the exponential of the average log-probability of a token (Hong et al. 2024, equation 7). The paper's lambda
    (TRL's `beta`) is the weight of this term, and its likelihood is a term `nll_chosen` of weight 1. An average closer to 0 than
    1e-6 nats counts as that and has no gradient.
    """
    from torch.nn.functional import logsigmoid

    averages = per_token(batch, logprob_sums(batch)).clamp(max=AVERAGE_LOGPROB_CEILING)
    pairs = pairs_of(batch, averages - (-averages.expm1()).log())
    return pairs.output(-logsigmoid(pairs.gap))


def nll_chosen(batch: PackedBatch, *, average: bool = True) -> TermOutput:
    """Negative log-likelihood of the chosen sequence of each pair: `-log pi(w) / |w|`, or without `average` the sum.

    What keeps a preference loss from lowering both sides (Pang et al. 2024, "Iterative Reasoning Preference
    Optimization", equation 2; Hong et al. 2024, ORPO, with the average; Xu et al. 2024, CPO, with the sum). A term `sft`
    would imitate the rejected sequences too.
    """
    sums = logprob_sums(batch)
    pairs = pairs_of(batch, per_token(batch, sums) if average else sums)
    return pairs.output(-pairs.chosen)


_PAIRS = frozenset({"chosen", "rejected"})
_REWARDED = _PAIRS | {"rewards"}

TERMS: Mapping[str, BuiltInTerm] = {
    "simpo": BuiltInTerm(simpo, _REWARDED, "pair", non_negative=True),
    "cpo": BuiltInTerm(cpo, _REWARDED, "pair", non_negative=True),
    "orpo": BuiltInTerm(orpo, _PAIRS, "pair", non_negative=True),
    "nll_chosen": BuiltInTerm(nll_chosen, _PAIRS, "pair", non_negative=True),
}
