"""The synthetic tokens that every term is tried on: ordinary numbers, two groups, and some of everything that is masked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

import torch
from torch import Tensor

from trainer.losses.packed import LIVE_FIELDS, TOKEN_FIELDS, PackedBatch

LENGTHS = (6, 5, 4, 3, 4)
"""Five sequences of two groups, `(0, 1, 4)` and `(2, 3)`; every token of the last is masked."""

ALWAYS_THERE = frozenset({"inference_logprobs", "old_logprobs", "advantages"})
"""Optional token fields that every step of rollouts has, needed or not."""


def synthetic_batch(needs: frozenset[str], step: int, total_steps: int, components: Collection[str]) -> PackedBatch:
    """Tokens in float64, with the fields that `needs` names and those that are always there, and no others.

    Every one of the components has the same rewards.
    """
    generator = torch.Generator().manual_seed(0)
    total = sum(LENGTHS)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(total, generator=generator, dtype=torch.float64)

    sequences = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    mask = torch.ones(total, dtype=torch.bool)
    mask[[2, 9]] = False
    mask[-LENGTHS[-1] :] = False
    logprobs = uniform(-3.0, -0.5)
    values = uniform(-0.5, 0.5)
    tokens = {
        # Ratios from 0.95 to 1.05: inside every clip range worth the name, so that no gradient is clipped away.
        "inference_logprobs": logprobs + uniform(-0.05, 0.05),
        # As in a run, which takes one step for each batch of rollouts: what only compares with them learns nothing.
        "old_logprobs": logprobs,
        "ref_logprobs": logprobs + uniform(-0.5, 0.5),
        "teacher_logprobs": logprobs + uniform(-0.5, 0.5),
        "advantages": torch.tensor([1.0, -0.5, 0.8, -1.2, 0.3], dtype=torch.float64)[sequences],
        "old_values": values + uniform(-0.05, 0.05),
        "returns": values + uniform(0.2, 0.6),
        "values": values,
        # a new segment at each third token of a sequence
        "segment_index": torch.tensor([2 * s + (place > 2) for s, n in enumerate(LENGTHS) for place in range(n)]),
    }
    tokens |= {name: uniform(0.1, 0.6) for name in LIVE_FIELDS if name not in tokens and name != "trainer_logprobs"}
    given = {name: tensor for name, tensor in tokens.items() if name in needs | ALWAYS_THERE}
    base = PackedBatch(
        trainer_logprobs=logprobs,
        sequence_index=sequences,
        sequence_count=len(LENGTHS),
        loss_mask=mask,
        group_index=torch.tensor([0, 0, 1, 1, 0]),
        group_tokens=torch.tensor([9, 7]),
        group_sequences=torch.tensor([2, 2]),
        rewards=torch.tensor([1.0, 0.0, 0.25, 0.75, 0.5], dtype=torch.float64),
        chosen=torch.tensor([0, 3]),
        rejected=torch.tensor([1, 2]),
        components=tuple(dict.fromkeys(components, reward) for reward in (1.0, 0.0, 0.25, 0.75, 0.5)),
        component_advantages=tuple(dict.fromkeys(components, advantage) for advantage in (0.7, -0.7, -0.7, 0.7, 0.0)),
        step=step,
        total_steps=total_steps,
    )
    return replace(base, **given)


def with_live_leaves(batch: PackedBatch, dtype: torch.dtype) -> tuple[PackedBatch, list[Tensor]]:
    """The batch in a precision, and its live fields as leaves that gradients can be taken of."""
    cast = batch.map_tokens(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
    names = [name for name in LIVE_FIELDS if getattr(cast, name) is not None]
    leaves = [getattr(cast, name).detach().clone().requires_grad_() for name in names]
    return replace(cast, **dict(zip(names, leaves, strict=True))), leaves


def rearranged(batch: PackedBatch, pieces: list[tuple[int, ...]], padding: int = 0) -> PackedBatch:
    """The same batch with other tokens in its sequences: `pieces[i]` names the sequences that are strung together in i.

    padding: how many masked tokens, zeros, follow the first sequence; each next one has one more.
    """
    starts = [sum(LENGTHS[:place]) for place in range(len(LENGTHS))]
    rows: list[int] = []
    owners: list[int] = []
    for owner, sources in enumerate(pieces):
        own = [starts[source] + place for source in sources for place in range(LENGTHS[source])]
        filler = padding + owner if padding else 0
        rows += [*own, *[-1] * filler]
        owners += [owner] * (len(own) + filler)
    index = torch.tensor(rows)

    def pick(tensor: Tensor) -> Tensor:
        return tensor[index].where(index >= 0, torch.zeros((), dtype=tensor.dtype))

    token_fields = {f.name for f in fields(batch)} & set(TOKEN_FIELDS) - {"sequence_index", "segment_index"}
    present = {name: pick(getattr(batch, name)) for name in token_fields if getattr(batch, name) is not None}
    return replace(batch, **present, sequence_index=torch.tensor(owners), segment_index=None)
