"""Terms that look at no rollout: imitation of given tokens, and the entropy that keeps a policy from collapsing."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.term import BuiltInTerm


def sft(batch: PackedBatch) -> TermOutput:
    """Negative log-likelihood of the tokens, in nats.

    Each log-probability is that of a token given the tokens before it; the policy applies the shift, so labels are not
    shifted again here. Prompts are not imitated.
    """
    return TermOutput(-batch.trainer_logprobs)


def entropy(batch: PackedBatch) -> TermOutput:
    """Entropy bonus: the loss is minus the entropy of the policy's distribution at each token, in nats.

    It is the true entropy over the whole vocabulary, with its gradient (Williams and Peng 1991; Mnih et al. 2016,
    section 4). The sampled surrogate `-log pi(token)` is not a bonus: it is the likelihood loss `sft`. Give it a small
    positive weight. Raises MissingInputError.
    """
    values = batch.require("entropy")
    return TermOutput(-values, metrics=means(entropy=values))


TERMS: Mapping[str, BuiltInTerm] = {
    "sft": BuiltInTerm(sft, non_negative=True),
    "entropy": BuiltInTerm(entropy, frozenset({"entropy"})),
}
