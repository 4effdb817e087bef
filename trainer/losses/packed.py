"""The tokens of a micro-batch as built-in terms see them: flat, without padding, with what the terms need beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from trainer.losses.contract import LossInputs, MissingInputError

if TYPE_CHECKING:
    from torch import Tensor

Span = Literal["token", "segment", "sequence"]
"""Over what a quantity of the tokens is averaged before it is used. A segment is a sentence or a step of a solution."""

LIVE_FIELDS = (
    "trainer_logprobs",
    "entropy",
    "mean_logprobs",
    "values",
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
)
"""Tensors of a `PackedBatch` through which a gradient reaches the model."""

TOKEN_FIELDS = (
    *LIVE_FIELDS,
    "sequence_index",
    "segment_index",
    "loss_mask",
    "inference_logprobs",
    "old_logprobs",
    "ref_logprobs",
    "teacher_logprobs",
    "advantages",
    "old_values",
    "returns",
)

# Where a tensor comes from: the remedy for a term that does not find it.
_SOURCES: Mapping[str, str] = {
    "inference_logprobs": "they come with rollouts; demonstrations have none",
    "old_logprobs": "the trainer computes them before the step",
    "advantages": "they come from the rewards of rollouts; demonstrations have none",
    "ref_logprobs": "ask the rollout service for the reference policy's log-probabilities of each completion",
    "teacher_logprobs": "name a teacher: [model] teacher",
    "forward_kl": "name a teacher: [model] teacher",
    "reverse_kl": "name a teacher: [model] teacher",
    "jensen_shannon": "name a teacher: [model] teacher",
    "entropy": "the policy computes it for terms that declare the need",
    "mean_logprobs": "the policy computes them for terms that declare the need",
    "values": "the policy has a value head where a term of the job declares the need",
    "old_values": "the policy has a value head where a term of the job needs values",
    "returns": 'they come from [advantage] estimator = "gae"',
    "segment_index": "say where segments end: [loss] segment_ends",
    "group_index": "samples of rollouts have a group; demonstrations have none",
    "group_tokens": "samples of rollouts have a group; demonstrations have none",
    "group_sequences": "samples of rollouts have a group; demonstrations have none",
    "rewards": "they come with rollouts and preference pairs; demonstrations have none",
    "chosen": "pairs are formed from groups with rewards; demonstrations have none",
    "rejected": "pairs are formed from groups with rewards; demonstrations have none",
}


@dataclass(frozen=True)
class PackedBatch:
    """The completion tokens of a micro-batch, sequence after sequence, without padding.

    N tokens, B = `sequence_count` sequences, P pairs. Floating point has the policy's precision, float32 or better.
    """

    trainer_logprobs: Tensor
    """`[N]`, with gradient, in nats, like every log-probability here."""
    sequence_index: Tensor
    """int64 `[N]`, ascending: which sequence a token belongs to, `0 <= index < sequence_count`."""
    sequence_count: int
    loss_mask: Tensor
    """bool `[N]`; False where a token does not count, which includes tokens whose log-probability got lost."""
    inference_logprobs: Tensor | None = None
    """`[N]`, of the behaviour policy."""
    old_logprobs: Tensor | None = None
    """`[N]`, of the trainer's policy at collection."""
    ref_logprobs: Tensor | None = None
    """`[N]`, of the reference policy."""
    teacher_logprobs: Tensor | None = None
    """`[N]`, of the teacher."""
    advantages: Tensor | None = None
    """`[N]`."""
    entropy: Tensor | None = None
    """`[N]`, with gradient: of the policy's whole distribution, in nats."""
    mean_logprobs: Tensor | None = None
    """`[N]`, with gradient: the mean over the vocabulary of the log-probabilities at each token, in nats."""
    values: Tensor | None = None
    """`[N]`, with gradient: the value head's estimate of the return from each token on."""
    old_values: Tensor | None = None
    """`[N]`, of the value head at collection."""
    returns: Tensor | None = None
    """`[N]`, what `values` should be."""
    forward_kl: Tensor | None = None
    """`[N]`, with gradient: KL(teacher, policy) over the whole vocabulary, in nats."""
    reverse_kl: Tensor | None = None
    """`[N]`, with gradient: KL(policy, teacher)."""
    jensen_shannon: Tensor | None = None
    """`[N]`, with gradient: the mean of the KL of both to their average, between 0 and log 2."""
    segment_index: Tensor | None = None
    """int64 `[N]`, ascending: which segment of the micro-batch a token belongs to. No segment crosses a sequence."""
    group_index: Tensor | None = None
    """int64 `[B]`: which group of the micro-batch a sequence belongs to, `0 <= index < len(group_tokens)`."""
    group_tokens: Tensor | None = None
    """int64 `[G]`: tokens that count in each group, in the whole step, also those of other micro-batches."""
    group_sequences: Tensor | None = None
    """int64 `[G]`: sequences with a token that counts in each group, in the whole step."""
    rewards: Tensor | None = None
    """`[B]`: the combined reward."""
    domain_index: Tensor | None = None
    """int64 `[B]`: which domain of the step a sequence belongs to, `0 <= index < domain_count`."""
    domain_count: int = 1
    chosen: Tensor | None = None
    """int64 `[P]`: the preferred sequence of each pair, the best of its group."""
    rejected: Tensor | None = None
    """int64 `[P]`: the worst of its group, whose reward is lower."""
    components: Sequence[Mapping[str, float]] = ()
    """B tables of reward components, or none."""
    component_advantages: Sequence[Mapping[str, float]] = ()
    """B tables, or none: the advantage of each component alone."""
    statistics: Mapping[str, float] = field(default_factory=dict)
    """What the term's own `statistics` counted over the whole step, as means; for terms that declare them."""
    step: int = 0
    total_steps: int = 1

    def __post_init__(self) -> None:
        # Indexing with a mask of another dtype would pick tokens by number, and say nothing.
        if str(self.loss_mask.dtype) != "torch.bool":
            object.__setattr__(self, "loss_mask", self.loss_mask.bool())

    def require(self, name: str) -> Tensor:
        """The tensor of that name. Raises MissingInputError."""
        tensor = getattr(self, name)
        if tensor is None:
            raise MissingInputError(f"needs {name}, which this batch does not have: {_SOURCES[name]}")
        return tensor

    def map_tokens(self, change) -> PackedBatch:
        """The batch with every `[N]` tensor changed by a function of it."""
        tensors = {name: getattr(self, name) for name in TOKEN_FIELDS}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items() if tensor is not None})

    def valid(self) -> PackedBatch:
        """The tokens that count, and no others: what built-in terms get. Every sequence is still counted."""
        return self.map_tokens(lambda tensor: tensor[self.loss_mask])

    def token_counts(self) -> Tensor:
        """How many tokens count in each sequence: int64 `[B]`."""
        zeros = self.sequence_index.new_zeros(self.sequence_count)
        return zeros.scatter_add(0, self.sequence_index, self.loss_mask.long())

    def sequence_sums(self, per_token: Tensor) -> Tensor:
        """Sums of a `[N]` tensor over each sequence: `[B]`, with gradient; 0 for a sequence without tokens."""
        return per_token.new_zeros(self.sequence_count).index_add(0, self.sequence_index, per_token)

    def span_index(self, span: Span) -> Tensor:
        """int64 `[N]`: which span a token belongs to. Raises MissingInputError where there are no segments."""
        import torch

        if span == "token":
            return torch.arange(len(self.sequence_index), device=self.sequence_index.device)
        return self.require("segment_index") if span == "segment" else self.sequence_index

    def span_means(self, per_token: Tensor, span: Span) -> Tensor:
        """Each token's mean over its span, with gradient: `[N]`. Call it on a batch of tokens that count."""
        if span == "token" or not per_token.numel():
            return per_token
        index = self.span_index(span)
        size = int(index[-1]) + 1
        sums = per_token.new_zeros(size).index_add(0, index, per_token)
        return (sums / index.bincount(minlength=size).clamp(min=1))[index]

    def sequences(self, *, sanitise: bool = True) -> list[LossInputs]:
        """One `LossInputs` for each sequence, in order.

        Values at masked positions become 0 before user code sees them: an `exp` that overflows there and is masked
        later gives NaN gradients. In a demonstration the behaviour policy is the policy itself and every advantage is 1.
        What user code writes into them changes nothing of the batch.
        """
        safe = replace(self, loss_mask=self.loss_mask.clone())
        if sanitise:
            safe = safe.map_tokens(lambda t: t.where(self.loss_mask, 0) if t.is_floating_point() else t)
        lengths = self.sequence_index.bincount(minlength=self.sequence_count).tolist()
        trainer = safe.trainer_logprobs
        filled = replace(
            safe,
            inference_logprobs=trainer.detach() if safe.inference_logprobs is None else safe.inference_logprobs,
            advantages=self.loss_mask.to(trainer.dtype) if safe.advantages is None else safe.advantages,
        )
        names = [name for name in _USER_FIELDS if getattr(filled, name) is not None]
        columns = [getattr(filled, name).split(lengths) for name in names]
        rewards = [None] * len(lengths) if self.rewards is None else self.rewards.tolist()
        components = self.components or [{}] * len(lengths)
        advantages = self.component_advantages or [{}] * len(lengths)
        return [
            LossInputs(
                **{"teacher_logprobs": None, **dict(zip(names, row, strict=True))},
                rewards=dict(components[place]),
                named_advantages={
                    name: self.loss_mask.new_full((length,), value, dtype=trainer.dtype)
                    for name, value in advantages[place].items()
                },
                reward=rewards[place],
                step=self.step,
                total_steps=self.total_steps,
            )
            for place, (length, row) in enumerate(zip(lengths, zip(*columns, strict=True), strict=True))
        ]


_USER_FIELDS = (
    "trainer_logprobs",
    "inference_logprobs",
    "teacher_logprobs",
    "advantages",
    "loss_mask",
    "ref_logprobs",
    "old_logprobs",
    "entropy",
    "values",
    "returns",
)
