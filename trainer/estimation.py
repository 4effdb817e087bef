"""Advantages from a value head: what each token brought beyond what was expected of it, estimated before the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from trainer.batching import MicroBatch
from trainer.engine import Engine
from trainer.gae import gae
from trainer.group import RankGroup


def estimate_advantages(
    engine: Engine,
    micro_batches: Sequence[MicroBatch],
    group: RankGroup,
    *,
    gamma: float,
    gae_lambda: float,
    whiten: bool,
) -> list[MicroBatch]:
    """The micro-batches with `advantages`, `returns` and `old_values` by the value head as it is now. A collective.

    Time goes from one sampled token to the next: tokens that were given to the policy are no step of its own. They get
    an advantage and a return of 0, which nothing counts.
    whiten: give the advantages of all tokens that count, of all ranks, mean 0 and spread 1.
    """
    estimated = []
    for batch in micro_batches:
        known = batch.known
        values = engine.scores(batch, frozenset({"values"}))["values"]
        own, rewards = batch.sampled, known.require("rewards")
        found = gae(values[own], known.sequence_index[own], rewards, discount=gamma, trace=gae_lambda)
        advantages, returns = values.new_zeros(2, len(values), dtype=found.advantages.dtype)
        advantages[own], returns[own] = found.advantages, found.returns
        filled = replace(known, advantages=advantages, returns=returns, old_values=values)
        estimated.append(replace(batch, known=filled))
    return _whitened(estimated, group) if whiten else estimated


def _whitened(batches: Sequence[MicroBatch], group: RankGroup) -> list[MicroBatch]:
    def total(function) -> float:
        own = math.fsum(float(function(_counted(batch)).sum()) for batch in batches)
        return math.fsum(group.gather(own))

    count = total(lambda advantages: advantages.isfinite().double())
    mean = total(lambda advantages: advantages) / max(count, 1.0)
    spread = math.sqrt(total(lambda advantages: (advantages - mean) ** 2) / max(count - 1.0, 1.0))
    # Advantages that differ by rounding alone have no spread to be divided by.
    scale = spread if spread > 1e-6 * max(abs(mean), 1e-12) else math.inf
    return [
        replace(batch, known=replace(batch.known, advantages=(batch.known.require("advantages") - mean) / scale))
        for batch in batches
    ]


def _counted(batch: MicroBatch) -> Tensor:
    return batch.known.require("advantages")[batch.known.loss_mask].double()
