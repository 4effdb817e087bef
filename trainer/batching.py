"""From the sequences of an optimizer step to the micro-batches of one rank.

How a step is cut changes memory and speed, never the gradient: what the cut decides is nowhere in the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from trainer.losses.aggregation import Counts
from trainer.losses.packed import PackedBatch
from trainer.sample import LOGPROBS, Sample, check_samples
from trainer.step_facts import StepFacts

if TYPE_CHECKING:
    from torch import Tensor, device


@dataclass(frozen=True)
class MicroBatch:
    """B sequences of one forward pass, right-padded to length T, with M completion tokens in all."""

    input_ids: Tensor
    """int64 `[B, T]`."""
    attention_mask: Tensor
    """int64 `[B, T]`; 0 at padding."""
    position: Tensor
    """int64 `[M]`: the column of a completion token, at least 1; its row is `known.sequence_index`."""
    sampled: Tensor
    """bool `[M]`; False for tokens that were given to the policy between its turns."""
    known: PackedBatch
    """The M completion tokens with all that is known before the policy has scored them: its own scores are zeros."""
    counts: Counts
    domains: tuple[str, ...]
    """Those of the whole step; `known.domain_index` points into them."""
    staleness: Tensor | None = None
    """int64 `[M]`: by how many versions the weights that sampled a token are behind; None where samples do not say."""

    def to(self, target: device) -> MicroBatch:
        """The same on a device."""
        return replace(_on(self, target), known=_on(self.known, target))

    def pack(self, scores: Mapping[str, Tensor], step: int, total_steps: int) -> PackedBatch:
        """What the losses see: this batch with what the policy gave, `[M]` by field of `PackedBatch`.

        One optimizer step is made of each batch of rollouts, so the trainer's policy at collection is the policy now,
        and so are its values.
        """
        old = self.known.old_logprobs
        old_values = self.known.old_values
        if old_values is None and "values" in scores:
            old_values = scores["values"].detach()
        return replace(
            self.known,
            **scores,
            old_logprobs=scores["trainer_logprobs"].detach() if old is None else old,
            old_values=old_values,
            step=step,
            total_steps=total_steps,
        )


def make_micro_batches(
    samples: Sequence[Sample],
    micro_batch_size: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    whole_groups: bool = False,
) -> list[MicroBatch]:
    """This rank's micro-batches of a step, from all samples of the step. Deterministic.

    Samples are sorted by length, so that a micro-batch holds little padding, and micro-batches are dealt out in turn, so
    that ranks work on similar lengths at the same time. Every rank gets equally many, at least one, because ZeRO's
    collectives must match; a rank that runs short gets batches of one token that counts nothing.

    whole_groups: keep the samples of a group together, as terms of pair and group scope ask; a group larger than
        `micro_batch_size` is a micro-batch of its own.

    Raises ValueError for samples that cannot be trained on, naming the sample by its place.
    """
    if micro_batch_size < 1:
        raise ValueError(f"micro_batch_size must be at least 1, not {micro_batch_size}")
    check_samples(samples)
    facts = StepFacts.of(samples)
    chunks = _chunks(samples, micro_batch_size, whole_groups)
    own = [_collate(samples, facts, chunk, whole_groups) for chunk in chunks[rank::world_size]]
    missing = max(1, math.ceil(len(chunks) / world_size)) - len(own)
    return own + [_placeholder(samples, facts, whole_groups)] * missing


def _chunks(samples: Sequence[Sample], size: int, whole_groups: bool) -> list[list[int]]:
    lengths = [len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples]
    if not whole_groups:
        order = sorted(range(len(samples)), key=lambda place: (lengths[place], place))
        return [order[start : start + size] for start in range(0, len(order), size)]
    groups: dict[int | None, list[int]] = {}
    for place, sample in enumerate(samples):
        groups.setdefault(sample.group, []).append(place)
    chunks: list[list[int]] = []
    for group in sorted(groups.values(), key=lambda places: (max(lengths[place] for place in places), places[0])):
        if chunks and len(chunks[-1]) + len(group) <= size:
            chunks[-1].extend(group)
        else:
            chunks.append(list(group))
    return chunks


def _placeholder(samples: Sequence[Sample], facts: StepFacts, whole_groups: bool) -> MicroBatch:
    """A micro-batch of one sequence whose only token counts nothing, with the tensors that the samples have."""
    model = samples[0] if samples else Sample([0], [0])
    lost = {name: None if getattr(model, name) is None else [math.nan] for name in LOGPROBS}
    zeros = {name: None if getattr(model, name) is None else [0] for name in ("segments", "staleness")}
    sample = replace(model, prompt_ids=[0], completion_ids=[0], given=None, **zeros, **lost)
    batch = _collate([sample], replace(facts, counted=(0,), best={}, first={}), [0], whole_groups)
    known = replace(batch.known, loss_mask=batch.known.loss_mask & False)
    return replace(batch, known=known, counts=Counts(tokens=0, sequences=0))


def _collate(samples: Sequence[Sample], facts: StepFacts, chunk: Sequence[int], whole_groups: bool) -> MicroBatch:
    import numpy as np
    import torch

    chosen = [samples[place] for place in chunk]
    rows = [[*sample.prompt_ids, *sample.completion_ids] for sample in chosen]
    width = max(len(row) for row in rows)
    sizes = torch.tensor([len(sample.completion_ids) for sample in chosen])
    starts = torch.tensor([len(sample.prompt_ids) for sample in chosen])
    sequence_index = torch.arange(len(rows)).repeat_interleave(sizes)
    offsets = torch.arange(int(sizes.sum())) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    logprobs = {name: _flat([getattr(sample, name) for sample in chosen]) for name in LOGPROBS}
    loss_mask = torch.from_numpy(np.concatenate([sample.counted() for sample in chosen]))
    stale = _flat([sample.staleness for sample in chosen])
    advantages = _flat([sample.advantage if sample.advantage is None else [sample.advantage] for sample in chosen])
    known = PackedBatch(
        trainer_logprobs=torch.zeros(len(offsets)),
        sequence_index=sequence_index,
        sequence_count=len(rows),
        loss_mask=loss_mask,
        advantages=None if advantages is None else advantages.repeat_interleave(sizes),
        segment_index=_segments(chosen),
        components=tuple(sample.components for sample in chosen),
        component_advantages=tuple(sample.component_advantages for sample in chosen),
        **{_FIELDS[name]: None if t is None else t.where(loss_mask, 0) for name, t in logprobs.items()},
        **facts.fields(samples, chunk, whole_groups),
    )
    return MicroBatch(
        input_ids=torch.tensor([row + [0] * (width - len(row)) for row in rows]),
        attention_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
        position=starts.repeat_interleave(sizes) + offsets,
        sampled=~torch.tensor(
            [told for sample in chosen for told in sample.given or [False] * len(sample.completion_ids)]
        ),
        known=known,
        counts=facts.counts(known, samples, chunk),
        domains=facts.domains,
        staleness=None if stale is None else stale.long(),
    )


_FIELDS = {
    "logprobs": "inference_logprobs",
    "ref_logprobs": "ref_logprobs",
    "teacher_logprobs": "teacher_logprobs",
}


def _flat(rows: Sequence[Sequence[float] | None]) -> Tensor | None:
    import torch

    return None if rows[0] is None else torch.tensor([x for row in rows for x in row or ()], dtype=torch.float32)


def _segments(samples: Sequence[Sample]) -> Tensor | None:
    import torch

    index: list[int] = []
    for sample in samples:
        if sample.segments is None:
            return None
        start = index[-1] + 1 if index else 0
        index.extend(start + segment for segment in sample.segments)
    return torch.tensor(index)


def _on(holder, target: device):
    moved = {f.name: getattr(holder, f.name) for f in fields(holder) if hasattr(getattr(holder, f.name), "device")}
    return replace(holder, **{name: tensor.to(target) for name, tensor in moved.items()})
