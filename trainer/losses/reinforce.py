"""Policy terms by the score function alone: `A grad log pi`, without a ratio to bound.

Their value is minus the advantage, or the length, whatever the policy: it is their gradient that says something. It is
exact for tokens that the policy itself sampled, and biased for others unless a correction weighs them.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.losses.contract import TermOutput, means
from trainer.losses.corrections import Correction, corrected
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import on_policy_ratio
from trainer.losses.term import BuiltInTerm


def reinforce(
    batch: PackedBatch,
    *,
    correction: Correction = "none",
    correction_min: float | None = None,
    correction_max: float | None = None,
) -> TermOutput:
    """The policy gradient (Williams 1992): `-A exp(lp - stopgrad(lp))`, whose gradient is `-A grad lp`.

    Which REINFORCE it is, the advantages say: leave-one-out (RLOO; Ahmadian et al. 2024), whitened over the batch
    (REINFORCE++; Hu 2025), MaxRL, or the group's. Meant for one step for each rollout; with more, the ratio terms hold
    the policy where its samples still tell something. Metrics besides the correction's: none.

    A `correction` weighs tokens by the trainer at collection over the sampler. Raises ValueError, and
    MissingInputError.
    """
    output = TermOutput(-batch.require("advantages") * on_policy_ratio(batch))
    return corrected(batch, output, correction, correction_min, correction_max)


def length(batch: PackedBatch) -> TermOutput:
    """Penalty for completions longer than others of their group: `x exp(lp - stopgrad(lp))` for each token.

    `x = L / M - 1`, with the completion's length L in tokens that count and the mean M of its group over the whole step:
    from above -1 to the group's size less 1, and 0 where all are equally long. In a sum over tokens (`sequence_sum`) the
    gradient is the score-function gradient of the mean length in units of M, with the group's mean for a baseline. That
    baseline holds the completion itself, so the mean of the gradient is short by one part in the group's size, and M is
    treated as a constant. A group of one has no gradient.

    It is not the gradient of a length, which has none: it makes the tokens of long completions less likely and those of
    short ones more, whether they are right or wrong. Its value does not follow its gradient: over a group it is the
    variance of the lengths over M. Keep its weight small beside the policy term's, or put length into the reward, where
    being right can gate it. A negative weight asks for longer ones. Metric `relative_length`: the mean of L / M.

    Raises MissingInputError.
    """
    groups = batch.require("group_index")
    lengths = batch.token_counts().to(batch.trainer_logprobs.dtype)
    mean = batch.require("group_tokens").to(lengths.dtype) / batch.require("group_sequences").clamp(min=1)
    relative = lengths / mean.clamp(min=1)[groups]
    values = (relative - 1)[batch.sequence_index] * on_policy_ratio(batch)
    return TermOutput(values, metrics=means(relative_length=relative[lengths > 0]))


TERMS: Mapping[str, BuiltInTerm] = {
    "reinforce": BuiltInTerm(reinforce, frozenset({"advantages"})),
    "length": BuiltInTerm(
        length, frozenset({"group_index", "group_tokens", "group_sequences"}), default_aggregation="sequence_sum"
    ),
}
