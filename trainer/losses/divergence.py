"""How far the policy's distributions are from the teacher's, over the whole vocabulary, while the logits are at hand.

Pure functions of logits, in float32 or better whatever the logits are, with gradient to the policy's logits only. A logit
of -inf, as of a masked vocabulary entry, is a probability of 0. A row of nothing but -inf is no distribution and gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, get_args

import torch
from torch import Tensor

from trainer.losses.ratio import floored
from trainer.names import unknown_name

DivergenceName = Literal["forward_kl", "reverse_kl", "jensen_shannon"]


def divergences(logits: Tensor, teacher_logits: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    """The divergences asked for, each `[M]`, in nats, from logits `[M, V]` of the policy and the teacher.

    - `forward_kl`: KL(teacher, policy), `sum q (log q - log p)`;
    - `reverse_kl`: KL(policy, teacher), `sum p (log p - log q)`;
    - `jensen_shannon`: the mean of both to `(p + q) / 2`, between 0 and log 2.

    Where one distribution gives probability to an entry that is impossible in the other the KL is infinite; here the
    impossible log-probability counts as -10,000, so the value is large and the gradient finite. Up to rounding none is
    below 0. Memory is a few times that of the logits, most of it kept for the backward pass.

    Raises ValueError for an unknown name, and for vocabularies that differ.
    """
    for name in names:
        if name not in get_args(DivergenceName):
            raise ValueError(unknown_name(name, get_args(DivergenceName)))
    if logits.shape != teacher_logits.shape:
        raise ValueError(
            f"the policy's logits are {tuple(logits.shape)} and the teacher's {tuple(teacher_logits.shape)}; rows and"
            " vocabulary must be the same"
        )
    policy, teacher = _logprobs(logits), _logprobs(teacher_logits.detach())
    p, q = policy.exp(), teacher.exp()
    found: dict[str, Tensor] = {}
    if "forward_kl" in names:
        found["forward_kl"] = (q * (teacher - policy)).sum(-1)
    if "reverse_kl" in names:
        found["reverse_kl"] = (p * (policy - teacher)).sum(-1)
    if "jensen_shannon" in names:
        average = torch.logaddexp(policy, teacher) - math.log(2)
        found["jensen_shannon"] = (p * (policy - average) + q * (teacher - average)).sum(-1) / 2
    return found


def mean_logprobs(logits: Tensor) -> Tensor:
    """The mean of the log-probabilities of each row, `[M]`, in nats, with gradient, over entries that are not -inf."""
    possible = logits != -math.inf
    logprobs = _log_softmax(logits)
    return logprobs.where(possible, 0).sum(-1) / possible.sum(-1)


def _logprobs(logits: Tensor) -> Tensor:
    # Finite: 0 times the floor is 0, where 0 times infinity is NaN.
    return floored(_log_softmax(logits))


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)
