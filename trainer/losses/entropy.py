"""Keeps the policy from collapsing on one answer."""

from __future__ import annotations

from trainer.losses.contract import PackedBatch, TermOutput, token_metrics


def entropy(batch: PackedBatch) -> TermOutput:
    """Entropy bonus: the loss is minus the entropy of the policy's distribution at each token, in nats.

    It is the true entropy over the whole vocabulary, with its gradient (Williams and Peng 1991; Mnih et al. 2016,
    section 4). The sampled surrogate `-log pi(token)` is not a bonus: it is the likelihood loss `sft`. Give it a small
    positive weight. Raises MissingInputError.
    """
    values = batch.require("entropy")
    return TermOutput(-values, metrics=token_metrics(entropy=values))
