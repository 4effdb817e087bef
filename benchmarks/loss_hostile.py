"""Batches made to break gradients, for every built-in term and for random composites.

A step may be refused, by a NotFiniteLossError that names the term: nothing is trained then. What must not be is a
gradient that is NaN or infinite and passes.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.figures import Figure
from benchmarks.loss_modes import modes
from benchmarks.loss_steps import random_composite
from benchmarks.loss_tensors import live_leaves, random_batch, with_statistics
from trainer.composite import Composite, NotFiniteLossError
from trainer.losses.aggregation import Counts
from trainer.losses.packed import PackedBatch

LOGPROBS = ("trainer_logprobs", "inference_logprobs", "old_logprobs", "ref_logprobs", "teacher_logprobs")
DTYPES = (torch.float64, torch.float32)


def hostile(batches: int = 10_000) -> Figure:
    """Each batch is given to one composite: in turn each term in each mode, then a random mixture of five or fewer."""
    every = modes()
    refused: Counter[str] = Counter()
    broken: list[str] = []
    for seed in range(batches):
        chance = random.Random(seed)
        alone = every[(seed // 2) % len(every)]
        composite = Composite([alone]) if seed % 2 == 0 else random_composite(chance)
        batch = hostile_batch(chance, seed)
        try:
            if not passes(composite, batch):
                broken.append(f"{' + '.join(term.name for term in composite.terms)} (batch {seed})")
        except NotFiniteLossError as error:
            refused.update({name if seed % 2 == 0 else name.rpartition("_")[0] for name in error.terms})
    told = f"{len(broken)} NaN or infinite{': ' * bool(broken)}{', '.join(broken[:5])}; {sum(refused.values())} refused"
    return Figure(
        f"hostile batches, {batches}: -inf, -100, differences of 1e30, lost log-probabilities, overflow at padding, empty"
        " masks, groups of one, equal rewards, advantages of 1e8",
        told
        + (f" by name: {', '.join(f'{name} {count}' for name, count in refused.most_common())}" if refused else ""),
        "0 NaN or infinite gradients",
        not broken,
    )


def hostile_batch(chance: random.Random, seed: int) -> PackedBatch:
    """One to six sequences of one to five tokens, spoilt in one to four ways."""
    lengths = [chance.choice([1, 1, 2, 3, 5]) for _ in range(chance.randint(1, 6))]
    batch = random_batch(lengths, seed, chance.choice(DTYPES), group=chance.choice([1, 2, 4]))
    for spoil in chance.sample(SPOILS, chance.randint(1, 4)):
        batch = spoil(chance, batch)
    return _recounted(batch)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Replaces the numbers of some tokens in some fields."""

    fields: Sequence[str]
    numbers: Sequence[float]

    def __call__(self, chance: random.Random, batch: PackedBatch) -> PackedBatch:
        share = chance.choice([0.2, 1.0])
        names = chance.sample(self.fields, chance.randint(1, len(self.fields)))
        return replace(batch, **{name: self._spoilt(chance, batch.require(name), share) for name in names})

    def _spoilt(self, chance: random.Random, tensor: Tensor, share: float) -> Tensor:
        changed = tensor.clone()
        for place in range(len(changed)):
            if chance.random() < share:
                changed[place] = chance.choice(self.numbers)
        return changed


def _garbage_at_masked_tokens(chance: random.Random, batch: PackedBatch) -> PackedBatch:
    """What was lost is masked, as the trainer masks it, and what stands there is anything."""
    masked = torch.tensor([chance.random() < 0.4 for _ in batch.loss_mask])
    garbage = chance.choice([math.nan, math.inf, -math.inf, 300.0, -1e30, 1e30])

    def spoil(tensor: Tensor) -> Tensor:
        return tensor.masked_fill(masked, garbage) if tensor.is_floating_point() else tensor

    return replace(batch.map_tokens(spoil), loss_mask=batch.loss_mask & ~masked)


def _empty_mask(chance: random.Random, batch: PackedBatch) -> PackedBatch:
    """No token of a sequence counts, or none of any."""
    lost = torch.tensor([chance.random() < 0.5 for _ in range(batch.sequence_count)])
    return replace(batch, loss_mask=batch.loss_mask & ~lost[batch.sequence_index] & (chance.random() < 0.8))


def _equal_rewards(chance: random.Random, batch: PackedBatch) -> PackedBatch:
    """No pair and no advantage."""
    nothing = torch.zeros(0, dtype=torch.int64)
    advantages = torch.zeros_like(batch.require("advantages"))
    rewards = torch.full_like(batch.require("rewards"), chance.choice([0.0, 1.0, -1e8]))
    return replace(batch, rewards=rewards, advantages=advantages, chosen=nothing, rejected=nothing)


def _extreme_rewards(chance: random.Random, batch: PackedBatch) -> PackedBatch:
    """The pairs that these rewards would make are kept in their order."""
    rewards = batch.require("rewards") * chance.choice([1e8, 1e-30])
    return replace(batch, rewards=rewards)


def _identical_policies(chance: random.Random, batch: PackedBatch) -> PackedBatch:
    same = batch.trainer_logprobs
    return replace(batch, **{name: same.clone() for name in LOGPROBS})


SPOILS: Sequence[Callable[[random.Random, PackedBatch], PackedBatch]] = (
    Numbers(LOGPROBS, (-math.inf, -100.0, 0.0)),
    Numbers(LOGPROBS, (-1e30, 0.0, -1e-30, -math.inf)),
    Numbers(LOGPROBS, (-1e4, -88.8, -710.0, -20.0)),
    Numbers(("advantages",), (1e8, -1e8, 0.0, 1e-30)),
    Numbers(("values", "old_values", "returns"), (1e8, -1e8, 0.0)),
    Numbers(("entropy", "forward_kl", "reverse_kl", "jensen_shannon"), (0.0, 1e4)),
    Numbers(("mean_logprobs",), (-1e4, -1e30, 0.0)),
    _garbage_at_masked_tokens,
    _empty_mask,
    _equal_rewards,
    _extreme_rewards,
    _identical_policies,
)


def _recounted(batch: PackedBatch) -> PackedBatch:
    """The batch with the counts of its groups after masks have changed."""
    counts, groups = batch.token_counts(), batch.require("group_index")
    zeros = torch.zeros_like(batch.require("group_tokens"))
    tokens, present = zeros.index_add(0, groups, counts), zeros.index_add(0, groups, (counts > 0).long())
    return replace(batch, group_tokens=tokens, group_sequences=present)


def passes(composite: Composite, batch: PackedBatch) -> bool:
    """Whether the gradients that the engine would use, and those of plain back-propagation, are finite."""
    live, leaves = live_leaves(batch)
    present = int((batch.token_counts() > 0).sum())
    counts = Counts(
        tokens=int(batch.loss_mask.sum()),
        sequences=present,
        segments=len(batch.valid().require("segment_index").unique()),
        groups=int((batch.require("group_sequences") > 0).sum()),
        pairs=len(batch.require("chosen")),
    )
    if counts.tokens == 0:
        # The engine refuses such a step as a whole; a rank may still have such a part of one.
        counts = replace(counts, tokens=1, sequences=1, segments=1, groups=1)
    normalisers = composite.normalisers(counts)
    statistics = {term.name: with_statistics(term, batch.valid()).statistics for term in composite.terms}
    part = composite.gradients(live, normalisers, 3, 10, statistics)
    surrogate = part.surrogate(live, list(composite.weights(3, 10).values()))
    direct = composite.loss(live, normalisers, 3, 10, statistics).loss
    found = [
        torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True) for loss in (surrogate, direct)
    ]
    return all(bool(gradient.isfinite().all()) for gradients in found for gradient in gradients)
