"""From the sequences of an optimizer step to the micro-batches of one rank.

How a step is cut changes memory and speed, never the gradient: what the cut decides is nowhere in the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainer.losses.aggregation import Counts
from trainer.losses.packed import PackedBatch

if TYPE_CHECKING:
    from torch import Tensor, device


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and the completion to learn from. Without `logprobs` and `advantage` it is a demonstration.

    Log-probabilities are in nats, one for each completion token. NaN or infinity marks one that got lost: the token is
    not trained on, and counted.
    """

    prompt_ids: Sequence[int]
    """At least one: the first completion token is predicted from the last of them."""
    completion_ids: Sequence[int]
    """At least one; ends with the end-of-sequence token where the completion ended."""
    logprobs: Sequence[float] | None = None
    """Of the behaviour policy."""
    ref_logprobs: Sequence[float] | None = None
    """Of the reference policy."""
    advantage: float | None = None


@dataclass(frozen=True)
class MicroBatch:
    """B sequences of one forward pass, right-padded to length T, with M completion tokens in all.

    The `[M]` tensors hold completion tokens, sequence after sequence.
    """

    input_ids: Tensor
    """int64 `[B, T]`."""
    attention_mask: Tensor
    """int64 `[B, T]`; 0 at padding."""
    sequence_index: Tensor
    """int64 `[M]`: the row of a completion token."""
    position: Tensor
    """int64 `[M]`: its column, at least 1."""
    loss_mask: Tensor
    """bool `[M]`."""
    inference_logprobs: Tensor | None
    ref_logprobs: Tensor | None
    advantages: Tensor | None
    """float32 `[M]`; None where the samples have none. Masked positions hold 0."""
    counts: Counts

    def to(self, target: device) -> MicroBatch:
        """The same on a device."""
        moved = {name: value.to(target) for name, value in vars(self).items() if hasattr(value, "to")}
        return replace(self, **moved)

    def pack(self, logprobs: Tensor, entropy: Tensor | None, step: int, total_steps: int) -> PackedBatch:
        """What the losses see: this batch with the policy's log-probabilities and entropies, both `[M]`."""
        return PackedBatch(
            trainer_logprobs=logprobs,
            sequence_index=self.sequence_index,
            sequence_count=len(self.input_ids),
            loss_mask=self.loss_mask,
            inference_logprobs=self.inference_logprobs,
            advantages=self.advantages,
            ref_logprobs=self.ref_logprobs,
            entropy=entropy,
            step=step,
            total_steps=total_steps,
        )


def make_micro_batches(
    samples: Sequence[Sample], micro_batch_size: int, *, rank: int = 0, world_size: int = 1
) -> list[MicroBatch]:
    """This rank's micro-batches of a step, from all samples of the step. Deterministic.

    Samples are sorted by length, so that a micro-batch holds little padding, and micro-batches are dealt out in turn, so
    that ranks work on similar lengths at the same time. Every rank gets equally many, at least one, because ZeRO's
    collectives must match; a rank that runs short gets batches of one token that counts nothing.

    Raises ValueError for samples that cannot be trained on, naming the sample by its place, and for samples of which
    some have log-probabilities, references or advantages and some have not.
    """
    if micro_batch_size < 1:
        raise ValueError(f"micro_batch_size must be at least 1, not {micro_batch_size}")
    for place, sample in enumerate(samples):
        _check(place, sample)
    for name in ("logprobs", "ref_logprobs", "advantage"):
        if len({getattr(sample, name) is None for sample in samples}) > 1:
            raise ValueError(f"some samples have {name} and some have not; a step holds rollouts or demonstrations")
    order = sorted(range(len(samples)), key=lambda i: (len(samples[i].prompt_ids) + len(samples[i].completion_ids), i))
    chunks = [order[start : start + micro_batch_size] for start in range(0, len(order), micro_batch_size)]
    own = [[samples[i] for i in chunk] for chunk in chunks[rank::world_size]]
    missing = max(1, math.ceil(len(chunks) / world_size)) - len(own)
    return [_collate(chunk) for chunk in own] + [_placeholder(samples)] * missing


def _check(place: int, sample: Sample) -> None:
    if not sample.prompt_ids or not sample.completion_ids:
        field = "completion_ids" if sample.prompt_ids else "prompt_ids"
        raise ValueError(f"sample {place}: {field} is empty; a prompt and a completion have at least one token each")
    for name in ("logprobs", "ref_logprobs"):
        values = getattr(sample, name)
        if values is not None and len(values) != len(sample.completion_ids):
            raise ValueError(f"sample {place}: {len(values)} {name} for {len(sample.completion_ids)} completion tokens")
    if sample.advantage is not None and not math.isfinite(sample.advantage):
        raise ValueError(f"sample {place}: advantage is {sample.advantage!r}; it must be finite")


def _placeholder(samples: Sequence[Sample]) -> MicroBatch:
    """A micro-batch of one sequence whose only token counts nothing, with the tensors that the samples have."""
    model = samples[0] if samples else Sample([0], [0])
    lost = None if model.logprobs is None else [math.nan]
    reference = None if model.ref_logprobs is None else [0.0]
    advantage = None if model.advantage is None else 0.0
    batch = _collate([Sample([0], [0], lost, reference, advantage)])
    nothing = batch.loss_mask & False
    return replace(batch, loss_mask=nothing, counts=Counts(tokens=0, sequences=0))


def _collate(samples: Sequence[Sample]) -> MicroBatch:
    import torch

    rows = [[*sample.prompt_ids, *sample.completion_ids] for sample in samples]
    width = max(len(row) for row in rows)
    sizes = torch.tensor([len(sample.completion_ids) for sample in samples])
    starts = torch.tensor([len(sample.prompt_ids) for sample in samples])
    sequence_index = torch.arange(len(rows)).repeat_interleave(sizes)
    offsets = torch.arange(int(sizes.sum())) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)

    def flat(name: str) -> Tensor | None:
        values = [getattr(sample, name) for sample in samples]
        return None if values[0] is None else torch.tensor([x for row in values for x in row], dtype=torch.float32)

    inference, reference = flat("logprobs"), flat("ref_logprobs")
    present = [tensor.isfinite() for tensor in (inference, reference) if tensor is not None]
    loss_mask = torch.stack([torch.ones(len(offsets), dtype=torch.bool), *present]).all(0)
    advantages = [math.nan if sample.advantage is None else sample.advantage for sample in samples]
    spread = torch.tensor(advantages, dtype=torch.float32).repeat_interleave(sizes)
    return MicroBatch(
        input_ids=torch.tensor([row + [0] * (width - len(row)) for row in rows]),
        attention_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
        sequence_index=sequence_index,
        position=starts.repeat_interleave(sizes) + offsets,
        loss_mask=loss_mask,
        inference_logprobs=None if inference is None else inference.where(loss_mask, 0),
        ref_logprobs=None if reference is None else reference.where(loss_mask, 0),
        advantages=None if samples[0].advantage is None else spread,
        counts=Counts(
            tokens=int(loss_mask.sum()),
            sequences=int(sequence_index[loss_mask].unique().numel()),
            dropped_tokens=int((~loss_mask).sum()),
        ),
    )
