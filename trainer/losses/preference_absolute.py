"""Preference terms that judge each sequence on its own, by its implicit reward `r(y) = beta (log pi(y) - log ref(y))`.

Raising both of a pair, or lowering both, changes these terms; the terms of `preference` see only their difference. w and
l stand for the chosen and the rejected sequence, s for the sigmoid. beta > 0.

A token's log-ratio counts at most 20 nats, and beyond has no gradient. A pair of which one sequence has no token that
counts is 0. Every term raises ValueError for an argument outside its range, and MissingInputError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.losses.contract import MetricSum, TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.pairs import Pairs, log_ratio_sums, pairs_of
from trainer.losses.ratio import check_not_negative, check_positive
from trainer.losses.term import BuiltInTerm

if TYPE_CHECKING:
    from torch import Tensor


def nca(batch: PackedBatch, *, beta: float = 0.1) -> TermOutput:
    """Noise-contrastive alignment for pairs: `-log s(r(w)) - log s(-r(w)) / 2 - log s(-r(l)) / 2`.

    Chen et al. 2024, "Noise Contrastive Alignment of Language Models with Explicit Rewards", for two responses. It keeps
    the likelihood of the chosen sequence from falling.
    """
    from torch.nn.functional import logsigmoid

    pairs = _rewards(batch, beta)
    chosen, rejected = pairs.chosen, pairs.rejected
    return pairs.output(-logsigmoid(chosen) - (logsigmoid(-chosen) + logsigmoid(-rejected)) / 2)


def sppo_hard(batch: PackedBatch, *, beta: float = 0.1) -> TermOutput:
    """Self-play preference optimisation with hard labels: `(d(w) - 1 / (2 beta))^2 + (d(l) + 1 / (2 beta))^2`.

    d is the log-ratio without beta (Wu et al. 2024, whose eta is 1 / beta, with winning probabilities of 1 and 0).
    """
    check_positive(beta=beta)
    pairs = pairs_of(batch, log_ratio_sums(batch))
    target = 1 / (2 * beta)
    return pairs.output((pairs.chosen - target).square() + (pairs.rejected + target).square(), beta)


def apo_zero(batch: PackedBatch, *, beta: float = 0.1) -> TermOutput:
    """Anchored preference optimisation, zero: `1 - s(r(w)) + s(r(l))` (D'Oosterlinck et al. 2024, equation 7).

    It raises the chosen and lowers the rejected sequence: for chosen sequences better than what the policy writes.
    """
    pairs = _rewards(batch, beta)
    return pairs.output((-pairs.chosen).sigmoid() + pairs.rejected.sigmoid())


def apo_down(batch: PackedBatch, *, beta: float = 0.1) -> TermOutput:
    """Anchored preference optimisation, down: `s(r(w)) + 1 - s(r(w) - r(l))` (D'Oosterlinck et al. 2024, equation 8).

    It lowers both sequences, the rejected one more: for chosen sequences worse than what the policy writes.
    """
    pairs = _rewards(batch, beta)
    return pairs.output(pairs.chosen.sigmoid() + (-pairs.gap).sigmoid())


def bco(batch: PackedBatch, *, beta: float = 0.1, delta: float | None = None) -> TermOutput:
    """Binary classifier optimisation: `-log s(r(w) - delta) - log s(-(r(l) - delta))` (Jung et al. 2024).

    Without `delta` it is the mean implicit reward of both sides of all pairs of the optimizer step, without gradient.
    TRL's is a running mean over steps; Liger's is 0.
    """
    from torch.nn.functional import logsigmoid

    pairs = _rewards(batch, beta)
    shift = batch.statistics["delta"] if delta is None else delta
    return pairs.output(-logsigmoid(pairs.chosen - shift) - logsigmoid(shift - pairs.rejected))


def kto(
    batch: PackedBatch,
    *,
    beta: float = 0.1,
    kl: float | None = None,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> TermOutput:
    """Kahneman-Tversky optimisation of pairs: the mean of `kto_unpaired`'s values for the chosen and the rejected.

    Its mean over pairs is that of `kto_unpaired` over the same sequences. Arguments as there.
    """
    pairs = _rewards(batch, beta)
    desirable, undesirable = _kto(batch, beta, kl, desirable_weight, undesirable_weight, pairs.chosen, pairs.rejected)
    return pairs.output((desirable + undesirable) / 2)


def kto_unpaired(
    batch: PackedBatch,
    *,
    threshold: float = 0.5,
    beta: float = 0.1,
    kl: float | None = None,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> TermOutput:
    """Kahneman-Tversky optimisation: a sequence is desirable where its reward is above `threshold`, and needs no partner.

    Desirable: `desirable_weight (1 - s(r - beta kl))`; otherwise `undesirable_weight (1 - s(beta kl - r))` (Ethayarajh et
    al. 2024, equation 7). The reference point `kl`, in nats, at least 0, has no gradient. Without a number it is the mean
    of `log pi(y) - log ref(y)` over all sequences of the optimizer step, and no less than 0. For sequences that the
    policy wrote itself that is an unbiased estimate of KL(pi, ref) before the cut at 0; for others it is biased. (The
    paper estimates it from mismatched prompts and answers, which rollouts do not have.)

    A value belongs to a whole sequence and is no sum over tokens, so it is divided by the number of sequences by default;
    aggregations that divide by tokens make short sequences count more.
    """
    rewards = batch.require("rewards")
    sums = beta * log_ratio_sums(batch)
    good, bad = _kto(batch, beta, kl, desirable_weight, undesirable_weight, sums, sums)
    present = batch.token_counts() > 0
    desirable = rewards > threshold
    metrics = means(desirable=desirable[present].double(), reward=sums[present])
    return TermOutput(good.where(desirable, bad).where(present, 0), per="sequence", metrics=metrics)


def bco_delta(batch: PackedBatch, *, beta: float = 0.1, delta: float | None = None) -> Mapping[str, MetricSum]:
    """The implicit rewards of both sides of the pairs that `bco` compares, for their mean over the step."""
    pairs = _rewards(batch, beta)
    both = (pairs.chosen + pairs.rejected)[pairs.whole]
    return {"delta": MetricSum(both.detach().sum(), 2.0 * both.numel())}


def kto_divergence(batch: PackedBatch, **kwargs: float | None) -> Mapping[str, MetricSum]:
    """The log-ratios of all sequences with a token that counts, for their mean over the step; arguments as for `kto`."""
    return means(kl=log_ratio_sums(batch)[batch.token_counts() > 0])


def _rewards(batch: PackedBatch, beta: float) -> Pairs:
    check_positive(beta=beta)
    return pairs_of(batch, beta * log_ratio_sums(batch))


def _kto(
    batch: PackedBatch,
    beta: float,
    kl: float | None,
    desirable_weight: float,
    undesirable_weight: float,
    desirable: Tensor,
    undesirable: Tensor,
) -> tuple[Tensor, Tensor]:
    check_positive(beta=beta)
    check_not_negative(desirable_weight=desirable_weight)
    check_not_negative(undesirable_weight=undesirable_weight)
    if kl is not None:
        check_not_negative(kl=kl)
    point = beta * max(0.0, batch.statistics["kl"] if kl is None else kl)
    # 1 - s(x) is s(-x), which keeps its digits where s(x) is near 1.
    return desirable_weight * (point - desirable).sigmoid(), undesirable_weight * (undesirable - point).sigmoid()


_PAIRS = frozenset({"chosen", "rejected", "ref_logprobs"})

TERMS: Mapping[str, BuiltInTerm] = {
    "nca": BuiltInTerm(nca, _PAIRS, "pair", non_negative=True),
    "sppo_hard": BuiltInTerm(sppo_hard, _PAIRS, "pair", non_negative=True),
    "apo_zero": BuiltInTerm(apo_zero, _PAIRS, "pair", non_negative=True),
    "apo_down": BuiltInTerm(apo_down, _PAIRS, "pair", non_negative=True),
    "bco": BuiltInTerm(bco, _PAIRS, "pair", non_negative=True, statistics=bco_delta, replaces_statistics="delta"),
    "kto": BuiltInTerm(kto, _PAIRS, "pair", non_negative=True, statistics=kto_divergence, replaces_statistics="kl"),
    "kto_unpaired": BuiltInTerm(
        kto_unpaired,
        frozenset({"ref_logprobs", "rewards"}),
        per_token=False,
        non_negative=True,
        statistics=kto_divergence,
        replaces_statistics="kl",
    ),
}
