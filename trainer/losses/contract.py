"""What a loss gets and what it gives.

Two forms exist. A user's function sees one sequence (or one pair, or one group) at a time, `LossInputs -> LossOutputs`, as
in prime-rl's "Bring Your Own Loss". A built-in term sees all tokens of a micro-batch in one flat `PackedBatch` and answers
with a `TermOutput`, so that no kernel is launched for each sequence. Both are structural: any callable will do, and any
object with `.loss` and `.metrics` is a `LossOutputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Scope = Literal["sequence", "pair", "group"]
"""What a term looks at as a whole. Tokens of a sequence are never parted; pairs and groups only for terms of their scope."""


@dataclass(frozen=True)
class LossInputs:
    """One sequence as a user's loss sees it. Tensors have shape `(seq,)`: the tokens of the completion, in order.

    Log-probabilities are in nats. Where `loss_mask` is False every floating-point tensor holds harmless zeros.
    """

    trainer_logprobs: Tensor
    """Of the policy in training. It carries a gradient, and so do `entropy` and `values`; nothing else does."""
    inference_logprobs: Tensor
    """Of the behaviour policy: what sampled the tokens."""
    teacher_logprobs: Tensor | None
    advantages: Tensor
    loss_mask: Tensor
    """bool; False where a token does not count."""
    ref_logprobs: Tensor | None = None
    """Of the reference policy: the frozen anchor."""
    old_logprobs: Tensor | None = None
    """Of the trainer's policy when the tokens were collected."""
    entropy: Tensor | None = None
    """Of the policy's whole distribution at each token."""
    values: Tensor | None = None
    """Of the value head: the expected return from each token on."""
    returns: Tensor | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Reward components by name, as the scorers gave them."""
    named_advantages: Mapping[str, Tensor] = field(default_factory=dict)
    """The advantage of each reward component alone, within its group."""
    reward: float | None = None
    """The components combined as the job says."""
    step: int = 0
    total_steps: int = 1


@dataclass(frozen=True)
class LossOutputs:
    """`loss`: the scalar sum over the tokens that count, with gradient. `metrics`: scalars or 1-D tensors."""

    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class MissingInputError(ValueError):
    """A term needs a tensor that the batch does not have."""


@dataclass(frozen=True)
class MetricSum:
    """A metric as a sum and what to divide it by, so that means over micro-batches and ranks are exact."""

    total: Tensor
    count: float


@dataclass(frozen=True)
class TermOutput:
    """Loss values of one term, before any division.

    `per` says what one value belongs to: `token`, `[N]`; `sequence`, `[sequence_count]`, each a *sum* over the sequence's
    tokens; `pair`, `[P]`; `group`, `[group_count]`.
    """

    values: Tensor
    per: Literal["token", "sequence", "pair", "group"] = "token"
    metrics: Mapping[str, MetricSum] = field(default_factory=dict)


def means(**values: Tensor) -> dict[str, MetricSum]:
    """Metrics that are means over the elements of tensors, whatever these stand for."""
    import torch

    return {name: MetricSum(each.detach().sum(dtype=torch.float64), float(each.numel())) for name, each in values.items()}
