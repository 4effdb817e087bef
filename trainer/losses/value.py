"""Terms for the value head: PPO's critic, and reward models, whose score is the value at a sequence's last token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.pairs import check_smoothing, margins, pairs_of, weights
from trainer.losses.ratio import check_positive
from trainer.losses.robust import ResidualKind, residual_loss
from trainer.losses.term import BuiltInTerm

if TYPE_CHECKING:
    from torch import Tensor


def value(
    batch: PackedBatch, *, kind: ResidualKind = "mse", delta: float = 1.0, clip: float | None = None
) -> TermOutput:
    """Regression of the value of each token to its return (never to its advantage, which has the value taken off).

    `kind` and `delta` are those of `trainer.losses.robust`. With `clip` c > 0 it is PPO's clipped value loss: the larger
    of the losses of v and of `old + clamp(v - old, -c, c)`, old the value at collection, so a value that has already
    moved by c towards its return has no gradient (Schulman et al. 2017's implementation; Andrychowicz et al. 2021,
    appendix B.1). c is in units of reward.

    Raises ValueError for arguments outside their ranges, and MissingInputError.
    """
    values, returns = batch.require("values").double(), batch.require("returns").double()
    losses = residual_loss(values - returns, kind, delta)
    metrics = means(estimate=values, returns=returns, squared_error=(values - returns).square())
    if clip is not None:
        check_positive(clip=clip)
        old = batch.require("old_values").double()
        limited = residual_loss(old + (values - old).clamp(-clip, clip) - returns, kind, delta)
        metrics |= means(clip_fraction=(limited > losses).double())
        losses = losses.maximum(limited)
    return TermOutput(losses, metrics=metrics)


def bradley_terry(
    batch: PackedBatch, *, label_smoothing: float = 0.0, reward_margin: float = 0.0, reward_weight: float = 0.0
) -> TermOutput:
    """Reward model from preferences: `-(1 - e) log sigmoid(x) - e log sigmoid(-x)`, x the gap of the two scores.

    A sequence's score is the value at its last token that counts; `x = score(w) - score(l) - margin` (Bradley and Terry
    1952; Ouyang et al. 2022, equation 1). e = `label_smoothing` in [0, 0.5) is the share of pairs whose order is taken to
    be wrong; `reward_margin` m makes the margin `m (reward(w) - reward(l))` (Touvron et al. 2023, Llama 2, section 3.2.2)
    and `reward_weight` p weighs a pair by that gap to the power p. Only differences of scores are learnt: their level is
    free. The gradient reaches the last tokens' values, not the log-probabilities.

    Raises ValueError for arguments outside their ranges, and MissingInputError.
    """
    from torch.nn.functional import logsigmoid

    check_smoothing(label_smoothing)
    pairs = pairs_of(batch, _scores(batch))
    x = pairs.gap - margins(batch, reward_margin)
    losses = -(1 - label_smoothing) * logsigmoid(x) - label_smoothing * logsigmoid(-x)
    return pairs.output(losses * weights(batch, reward_weight))


def reward_regression(batch: PackedBatch, *, kind: ResidualKind = "mse", delta: float = 1.0) -> TermOutput:
    """Reward model from scores: regression of the value at a sequence's last token that counts to the reward.

    `kind` and `delta` are those of `trainer.losses.robust`. A value belongs to a whole sequence and is no sum over tokens,
    so it is divided by the number of sequences by default. A sequence without a token that counts is 0.

    Raises ValueError for arguments outside their ranges, and MissingInputError.
    """
    scores, rewards = _scores(batch), batch.require("rewards").double()
    present = batch.token_counts() > 0
    losses = residual_loss(scores - rewards, kind, delta)
    metrics = means(score=scores[present], squared_error=(scores - rewards)[present].square())
    return TermOutput(losses.where(present, 0), per="sequence", metrics=metrics)


def _scores(batch: PackedBatch) -> Tensor:
    """The value at the last token of each sequence, with gradient: float64 `[B]`; 0 for one without tokens."""
    import torch

    values, counts = batch.require("values").double(), batch.token_counts()
    ends = (counts.cumsum(0) - 1).where(counts > 0, len(values))
    # One more value, for the sequences that have no last token.
    return torch.cat([values, values.new_zeros(1)])[ends]


TERMS: Mapping[str, BuiltInTerm] = {
    "value": BuiltInTerm(value, frozenset({"values", "old_values", "returns"}), non_negative=True),
    "bradley_terry": BuiltInTerm(
        bradley_terry, frozenset({"values", "chosen", "rejected", "rewards"}), "pair", non_negative=True
    ),
    "reward_regression": BuiltInTerm(
        reward_regression,
        frozenset({"values", "rewards"}),
        per_token=False,
        non_negative=True,
    ),
}
