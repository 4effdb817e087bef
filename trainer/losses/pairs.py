"""Whole sequences as preference terms see them: sums of log-probabilities, and pairs of such sums.

All of it is float64 whatever the batch is: a sum over thousands of tokens is compared with another one, and float32 would
lose the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import check_not_negative, floored, log_difference

if TYPE_CHECKING:
    from torch import Tensor


def log_ratio_sums(batch: PackedBatch) -> Tensor:
    """`log pi(y) - log ref(y)` of each sequence, in nats, with gradient: float64 `[B]`; 0 for one without tokens.

    Each token counts at most 20 nats either way; outside that its gradient is 0. Raises MissingInputError.
    """
    return batch.sequence_sums(log_difference(batch.trainer_logprobs.double(), batch.require("ref_logprobs").double()))


def logprob_sums(batch: PackedBatch) -> Tensor:
    """`log pi(y)` of each sequence, in nats, with gradient: float64 `[B]`; 0 for one without tokens."""
    return batch.sequence_sums(floored(batch.trainer_logprobs.double()))


def per_token(batch: PackedBatch, sums: Tensor) -> Tensor:
    """Sums `[B]` divided by the number of tokens that count in each sequence."""
    return sums / batch.token_counts().clamp(min=1)


@dataclass(frozen=True)
class Pairs:
    """Something of the chosen and of the rejected sequence of each pair: float64 `[P]`."""

    chosen: Tensor
    rejected: Tensor
    whole: Tensor
    """bool `[P]`: both sequences have tokens that count. A pair that lost one of the two compares nothing."""

    @property
    def gap(self) -> Tensor:
        """How far the chosen one is ahead."""
        return self.chosen - self.rejected

    def output(self, values: Tensor, scale: float = 1.0) -> TermOutput:
        """Values of pairs as a term's output, 0 for pairs that are not whole; `scale` makes rewards of what is compared."""
        chosen, rejected = scale * self.chosen[self.whole], scale * self.rejected[self.whole]
        metrics = means(
            chosen_reward=chosen,
            rejected_reward=rejected,
            reward_gap=chosen - rejected,
            accuracy=(chosen > rejected).double(),
        )
        return TermOutput(values.where(self.whole, 0), per="pair", metrics=metrics)


def pairs_of(batch: PackedBatch, sequences: Tensor) -> Pairs:
    """What `sequences`, `[B]`, holds of the two sides of each pair. Raises MissingInputError."""
    chosen, rejected = batch.require("chosen"), batch.require("rejected")
    present = batch.token_counts() > 0
    return Pairs(sequences[chosen], sequences[rejected], present[chosen] & present[rejected])


def reward_gaps(batch: PackedBatch) -> Tensor:
    """By how much the reward of the chosen sequence exceeds that of the rejected: float64 `[P]`."""
    rewards = batch.require("rewards").double()
    return rewards[batch.require("chosen")] - rewards[batch.require("rejected")]


def margins(batch: PackedBatch, reward_margin: float) -> Tensor | float:
    """`reward_margin` times the gap of the rewards, `[P]`: how far ahead the chosen sequence has to be.

    Touvron et al. 2023 (Llama 2, section 3.2.2) and Amini et al. 2024 (DPO with an offset) subtract such a margin before
    the sigmoid. Raises ValueError for a negative one.
    """
    check_not_negative(reward_margin=reward_margin)
    return reward_margin * reward_gaps(batch) if reward_margin else 0.0


def weights(batch: PackedBatch, reward_weight: float) -> Tensor | float:
    """The gap of the rewards to the power of `reward_weight`, `[P]`: what each pair counts; 1 where the power is 0.

    Raises ValueError for a negative one.
    """
    check_not_negative(reward_weight=reward_weight)
    return reward_gaps(batch).clamp(min=0) ** reward_weight if reward_weight else 1.0


def check_smoothing(label_smoothing: float) -> None:
    """Raises ValueError outside `0 <= label_smoothing < 0.5`: the share of pairs whose order is taken to be wrong."""
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must be at least 0 and below 0.5, not {label_smoothing!r}")
