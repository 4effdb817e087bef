"""Random micro-batches with every tensor that some built-in term reads, made without a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.term import Term

OF_TOKENS_BEFORE_A_STEP = ("inference_logprobs", "old_logprobs", "ref_logprobs", "teacher_logprobs")


def random_batch(lengths: Sequence[int], seed: int, dtype: torch.dtype = torch.float64, group: int = 4) -> PackedBatch:
    """Sequences of these lengths, in groups of `group` in order, each group's best and worst a pair; all tokens count.

    Log-probabilities of different policies differ by 0.3 nats or so: some ratios are inside their bounds and some not.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(lengths)
    tokens, count = int(sizes.sum()), len(lengths)
    index = torch.arange(count).repeat_interleave(sizes)
    place = torch.arange(tokens) - (sizes.cumsum(0) - sizes)[index]
    groups = torch.arange(count) // group

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(tokens, generator=generator, dtype=torch.float64)

    base = uniform(-3.0, -0.1)
    noise = 0.3 * torch.randn(len(OF_TOKENS_BEFORE_A_STEP), tokens, generator=generator, dtype=torch.float64)
    floats: dict[str, Any] = {name: uniform(0.05, 0.6) for name in LIVE_FIELDS}
    floats |= {name: (base + noise[row]).clamp(max=-1e-3) for row, name in enumerate(OF_TOKENS_BEFORE_A_STEP)}
    floats |= {"trainer_logprobs": base, "values": uniform(-1, 1), "returns": uniform(-1, 1)}
    floats["old_values"] = floats["values"] + uniform(-0.3, 0.3)
    floats["advantages"] = torch.randn(count, generator=generator, dtype=torch.float64)[index]
    rewards = torch.rand(count, generator=generator, dtype=torch.float64)
    chosen, rejected = _pairs(rewards, group)
    return PackedBatch(
        **{name: tensor.to(dtype) for name, tensor in floats.items()},
        sequence_index=index,
        sequence_count=count,
        loss_mask=torch.ones(tokens, dtype=torch.bool),
        segment_index=((place % 5 == 0).long().cumsum(0) - 1).clamp(min=0),
        group_index=groups,
        group_tokens=torch.zeros(int(groups.max()) + 1, dtype=torch.int64).index_add(0, groups, sizes),
        group_sequences=groups.bincount(),
        rewards=rewards,
        chosen=chosen,
        rejected=rejected,
    )


def live_leaves(batch: PackedBatch) -> tuple[PackedBatch, list[Tensor]]:
    """The batch with its live fields as leaves, and these in the order of `LIVE_FIELDS`."""
    leaves = {name: getattr(batch, name).detach().clone().requires_grad_() for name in LIVE_FIELDS}
    return replace(batch, **leaves), list(leaves.values())


def share(term: Term, batch: PackedBatch) -> Tensor:
    """The term's sum over the batch, as the composite takes it: a float64 scalar with gradient."""
    valid = with_statistics(term, batch.valid())
    return term.aggregation.sum(term.function(valid, **term.kwargs_at(0, 1)), valid)


def with_statistics(term: Term, valid: PackedBatch) -> PackedBatch:
    """The batch with what the term must know of the whole step, where it must know something."""
    if not term.statistics:
        return valid
    with torch.no_grad():
        sums = term.statistics(valid, **term.kwargs_at(0, 1))
    return replace(valid, statistics={name: float(s.total) / max(s.count, 1.0) for name, s in sums.items()})


def parted(batch: PackedBatch, size: int) -> list[PackedBatch]:
    """Batches of `size` sequences each, in order, of a batch whose tokens all count; no group may be cut."""
    return [_only(batch, slice(first, first + size)) for first in range(0, batch.sequence_count, size)]


def _only(batch: PackedBatch, rows: slice) -> PackedBatch:
    lengths = batch.sequence_index.bincount(minlength=batch.sequence_count)
    first = int(lengths[: rows.start].sum())
    tokens = slice(first, first + int(lengths[rows].sum()))
    cut = batch.map_tokens(lambda tensor: tensor[tokens])
    groups = batch.require("group_index")[rows]
    here = slice(int(groups[0]), int(groups[-1]) + 1)
    chosen, rejected = batch.require("chosen"), batch.require("rejected")
    inside = (chosen >= rows.start) & (chosen < rows.stop)
    return replace(
        cut,
        sequence_index=cut.sequence_index - rows.start,
        sequence_count=len(groups),
        segment_index=cut.require("segment_index") - cut.require("segment_index")[0],
        group_index=groups - groups[0],
        group_tokens=batch.require("group_tokens")[here],
        group_sequences=batch.require("group_sequences")[here],
        rewards=batch.require("rewards")[rows],
        chosen=chosen[inside] - rows.start,
        rejected=rejected[inside] - rows.start,
    )


def _pairs(rewards: Tensor, group: int) -> tuple[Tensor, Tensor]:
    parts = rewards.split(group)
    starts = torch.arange(len(parts)) * group
    whole = [place for place, part in enumerate(parts) if len(part) > 1]
    chosen = starts[whole] + torch.tensor([int(parts[place].argmax()) for place in whole], dtype=torch.int64)
    rejected = starts[whole] + torch.tensor([int(parts[place].argmin()) for place in whole], dtype=torch.int64)
    return chosen, rejected
