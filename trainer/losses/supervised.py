"""Terms that look at no rollout: imitation of given tokens, and the entropy that keeps a policy from collapsing."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import check_not_negative
from trainer.losses.term import BuiltInTerm

# Where (1 - p) is 1 or 0 but for rounding. Outside, its power has no gradient: that of 0 ** 0.5 is infinite.
_FOCAL_RANGE = (-50.0, -1e-6)


def sft(batch: PackedBatch, *, focal: float = 0.0) -> TermOutput:
    """Negative log-likelihood of the tokens, in nats.

    Each log-probability is that of a token given the tokens before it; the policy applies the shift, so labels are not
    shifted again here. Prompts are not imitated. `focal` g at least 0 multiplies the value by `(1 - p)^g`, p the token's
    probability, so that tokens already likely count less (Lin et al. 2017, equation 4); 0 is the plain likelihood, 2 is
    usual. Its gradient with respect to log p is `-(1 - p)^g + g p (1 - p)^(g - 1) log p`.

    Raises ValueError for `focal` below 0. A token of probability 0 has an infinite value.
    """
    check_not_negative(focal=focal)
    values = -batch.trainer_logprobs
    if focal:
        values = values * (-batch.trainer_logprobs.clamp(*_FOCAL_RANGE).expm1()) ** focal
    return TermOutput(values, metrics=means(probability=batch.trainer_logprobs.exp()))


def sft_smoothed(batch: PackedBatch, *, label_smoothing: float = 0.1) -> TermOutput:
    """Likelihood with label smoothing: `-(1 - e) log p(token) - e mean over the vocabulary of log p`, in nats.

    The cross-entropy to a target that gives e of its mass to all tokens alike (Szegedy et al. 2016, section 7; PyTorch's
    `label_smoothing`). `0 <= label_smoothing < 1`. Tokens that the model cannot write are left out of the mean.

    Raises ValueError for `label_smoothing`, and MissingInputError.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing!r}")
    uniform = batch.require("mean_logprobs")
    values = -(1 - label_smoothing) * batch.trainer_logprobs - label_smoothing * uniform
    return TermOutput(values, metrics=means(likelihood_loss=-batch.trainer_logprobs))


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
    "sft_smoothed": BuiltInTerm(sft_smoothed, frozenset({"mean_logprobs"}), non_negative=True),
    "entropy": BuiltInTerm(entropy, frozenset({"entropy"})),
}
