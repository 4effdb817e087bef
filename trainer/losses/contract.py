"""What a loss gets and what it gives.

Two forms exist. A user's function sees one sequence at a time, `LossInputs -> LossOutputs`, as in prime-rl's "Bring Your
Own Loss". A built-in term sees all tokens of a micro-batch in one flat `PackedBatch` and answers with a `TermOutput`, so
that no kernel is launched for each sequence. Both are structural: any callable will do, and any object with `.loss` and
`.metrics` is a `LossOutputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LossInputs:
    """One sequence as a user's loss sees it. Tensors have shape `(seq,)`: the tokens of the completion, in order.

    Log-probabilities are in nats. Where `loss_mask` is False every floating-point tensor holds harmless zeros.
    """

    trainer_logprobs: Tensor
    """Of the policy in training; the only field, with `entropy`, that carries a gradient."""
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
    """Of the policy's whole distribution at each token, with gradient."""
    values: Tensor | None = None
    returns: Tensor | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)
    named_advantages: Mapping[str, Tensor] = field(default_factory=dict)
    step: int = 0
    total_steps: int = 1


@dataclass(frozen=True)
class LossOutputs:
    """`loss`: the scalar sum over the tokens that count, with gradient. `metrics`: scalars or 1-D tensors."""

    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class MissingInputError(ValueError):
    """A term needs a tensor that the batch does not have."""


# Where a tensor of PackedBatch comes from: the remedy for a term that does not find it.
_SOURCES = {
    "inference_logprobs": "they come with rollouts; demonstrations have none",
    "advantages": "they come from the rewards of rollouts; demonstrations have none",
    "ref_logprobs": "ask the rollout service for the reference policy's log-probabilities of each completion",
    "entropy": "the policy computes it for terms that declare the need",
}


@dataclass(frozen=True)
class PackedBatch:
    """The completion tokens of a micro-batch, sequence after sequence, without padding. Tensors have shape `[N]`."""

    trainer_logprobs: Tensor
    """Floating point, with gradient."""
    sequence_index: Tensor
    """int64, ascending: which sequence a token belongs to, `0 <= index < sequence_count`."""
    sequence_count: int
    loss_mask: Tensor
    """bool; False where a token does not count, which includes tokens whose log-probability got lost."""
    inference_logprobs: Tensor | None = None
    advantages: Tensor | None = None
    ref_logprobs: Tensor | None = None
    entropy: Tensor | None = None
    """With gradient; there when a term needs it."""
    step: int = 0
    total_steps: int = 1

    def require(self, name: str) -> Tensor:
        """The tensor of that name. Raises MissingInputError."""
        tensor = getattr(self, name)
        if tensor is None:
            raise MissingInputError(f"needs {name}, which this batch does not have: {_SOURCES[name]}")
        return tensor

    def valid(self) -> PackedBatch:
        """The tokens that count, and no others: what built-in terms get."""
        return self._map(lambda tensor: tensor[self.loss_mask])

    def token_counts(self) -> Tensor:
        """How many tokens count in each sequence: int64 `[sequence_count]`."""
        return self.sequence_index[self.loss_mask].bincount(minlength=self.sequence_count)

    def sequence_sums(self, per_token: Tensor) -> Tensor:
        """Sums of a `[N]` tensor over each sequence: `[sequence_count]`, with gradient."""
        return per_token.new_zeros(self.sequence_count).index_add(0, self.sequence_index, per_token)

    def sequences(self) -> list[LossInputs]:
        """One `LossInputs` for each sequence, in order.

        Values at masked positions become 0 before user code sees them: an `exp` that overflows there and is masked
        later gives NaN gradients. In a demonstration the behaviour policy is the policy itself and every advantage is 1.
        """
        safe = self._map(lambda tensor: tensor.where(self.loss_mask, 0) if tensor.is_floating_point() else tensor)
        lengths = self.sequence_index.bincount(minlength=self.sequence_count).tolist()
        trainer = safe.trainer_logprobs
        inference = trainer.detach() if safe.inference_logprobs is None else safe.inference_logprobs
        advantages = self.loss_mask.to(trainer.dtype) if safe.advantages is None else safe.advantages

        def rows(tensor: Tensor | None) -> list[Tensor] | list[None]:
            return [None] * len(lengths) if tensor is None else list(tensor.split(lengths))

        columns = (trainer, inference, advantages, self.loss_mask, safe.ref_logprobs, safe.entropy)
        return [
            LossInputs(
                trainer_logprobs=row[0],
                inference_logprobs=row[1],
                teacher_logprobs=None,
                advantages=row[2],
                loss_mask=row[3],
                ref_logprobs=row[4],
                entropy=row[5],
                step=self.step,
                total_steps=self.total_steps,
            )
            for row in zip(*(rows(column) for column in columns), strict=True)
        ]

    def _map(self, change) -> PackedBatch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self, **{name: change(value) for name, value in values.items() if hasattr(value, "is_floating_point")}
        )


@dataclass(frozen=True)
class MetricSum:
    """A metric as a sum and what to divide it by, so that means over micro-batches and ranks are exact."""

    total: Tensor
    count: float


@dataclass(frozen=True)
class TermOutput:
    """Loss values of one term: `[N]`, one a token, or `[sequence_count]`, a sum over each sequence's tokens."""

    values: Tensor
    per: Literal["token", "sequence"] = "token"
    metrics: Mapping[str, MetricSum] = field(default_factory=dict)


def token_metrics(**per_token: Tensor) -> dict[str, MetricSum]:
    """Metrics that are means over tokens, from `[N]` tensors."""
    return {
        name: MetricSum(values.detach().double().sum(), float(values.numel())) for name, values in per_token.items()
    }
