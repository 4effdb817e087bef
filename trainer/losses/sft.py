"""Supervised fine-tuning: imitate the given tokens."""

from __future__ import annotations

from trainer.losses.contract import PackedBatch, TermOutput


def sft(batch: PackedBatch) -> TermOutput:
    """Negative log-likelihood of the tokens, in nats.

    Each log-probability is that of a token given the tokens before it; the policy applies the shift, so labels are not
    shifted again here. Prompts are not imitated.
    """
    return TermOutput(-batch.trainer_logprobs)
