"""Terms that make the policy like a teacher.

`distill` needs the teacher's log-probabilities of the sampled tokens alone; the others compare whole distributions and
need the teacher's logits where the policy's are computed (`trainer.losses.divergence`). All look at each position for
itself: what a token does to the positions after it is no part of the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import check_positive, log_difference, on_policy_ratio
from trainer.losses.term import BuiltInTerm


def distill(
    batch: PackedBatch, *, student: Literal["current", "behaviour"] = "current", ratio_max: float = 2.0
) -> TermOutput:
    """On-policy distillation: the policy gradient of KL(policy, teacher), from tokens that the policy sampled.

    The advantage of a token is `A = log teacher - log student`, without gradient; its value is `-w A`, and its gradient
    with respect to the token's log-probability is `-w A` too, where `w = min(ratio, ratio_max)` corrects for tokens of an
    older policy; the ratio is against the behaviour policy (Agarwal et al. 2024, GKD, section 3, with reverse KL; as a
    policy gradient Lu 2025, "On-Policy Distillation"). As the log-probability of the student the advantage takes that of
    the policy now (`current`) or at sampling (`behaviour`, as in the latter).

    With `current`, and where no ratio meets `ratio_max`, the mean over tokens of the behaviour policy is exactly
    KL(policy, teacher) at the position, and the mean gradient exactly its gradient. A cut ratio biases both. ratio_max >
    0 is the ratio itself. Values of single tokens can be negative. Differences count at most 20 nats.

    Raises ValueError for arguments outside their ranges, and MissingInputError.
    """
    check_positive(ratio_max=ratio_max)
    if student not in ("current", "behaviour"):
        raise ValueError(f"student must be 'current' or 'behaviour', not {student!r}")
    behaviour, teacher = batch.require("inference_logprobs"), batch.require("teacher_logprobs")
    logprobs = batch.trainer_logprobs
    ratio = log_difference(logprobs.detach(), behaviour).exp()
    advantages = log_difference(teacher, logprobs.detach() if student == "current" else behaviour)
    metrics = means(advantage=advantages, ratio=ratio, cut_fraction=(ratio > ratio_max).to(ratio.dtype))
    return TermOutput(-ratio.clamp(max=ratio_max) * advantages * on_policy_ratio(batch), metrics=metrics)


def forward_kl(batch: PackedBatch) -> TermOutput:
    """KL(teacher, policy) over the whole vocabulary at each token, in nats, with its exact gradient.

    It covers all that the teacher would write (Hinton et al. 2015). Raises MissingInputError.
    """
    return _divergence(batch, "forward_kl")


def reverse_kl(batch: PackedBatch) -> TermOutput:
    """KL(policy, teacher) over the whole vocabulary at each token, in nats, with its exact gradient.

    It keeps the policy to what the teacher finds likely (Gu et al. 2024, MiniLLM). Raises MissingInputError.
    """
    return _divergence(batch, "reverse_kl")


def jensen_shannon(batch: PackedBatch) -> TermOutput:
    """The mean of the KL of policy and of teacher to their average, between 0 and log 2, with its exact gradient.

    Lin 1991; as a loss of distillation Agarwal et al. 2024, GKD, section 2, with beta = 1/2. Raises MissingInputError.
    """
    return _divergence(batch, "jensen_shannon")


def _divergence(batch: PackedBatch, name: str) -> TermOutput:
    values = batch.require(name)
    return TermOutput(values, metrics=means(**{name: values}))


TERMS: Mapping[str, BuiltInTerm] = {
    "distill": BuiltInTerm(distill, frozenset({"inference_logprobs", "teacher_logprobs"})),
    "forward_kl": BuiltInTerm(forward_kl, frozenset({"forward_kl"}), non_negative=True),
    "reverse_kl": BuiltInTerm(reverse_kl, frozenset({"reverse_kl"}), non_negative=True),
    "jensen_shannon": BuiltInTerm(jensen_shannon, frozenset({"jensen_shannon"}), non_negative=True),
}
