"""From the values of a term to one number, with a normaliser that belongs to the whole optimizer step.

What a term is divided by is counted over every micro-batch of every rank before the first backward pass. A sum over a
micro-batch is then the same share of the loss however the step is cut up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Literal, get_args

from trainer.losses.contract import Scope, TermOutput
from trainer.losses.packed import PackedBatch
from trainer.names import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

AggregationKind = Literal[
    "token_mean", "segment_mean", "sequence_mean", "group_mean", "pair_mean", "sequence_sum", "sum"
]

KINDS_OF_SCOPE: Mapping[Scope, tuple[AggregationKind, ...]] = {
    "sequence": ("token_mean", "segment_mean", "sequence_mean", "group_mean", "sequence_sum", "sum"),
    "pair": ("pair_mean", "sum"),
    "group": ("group_mean", "sum"),
}
"""What a term of each scope can be divided by; the first is the default."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What an optimizer step, or a part of it, holds. Only what has a token that counts is counted."""

    tokens: int
    sequences: int
    segments: int = 0
    groups: int = 0
    """A group that is spread over parts is counted in one of them."""
    pairs: int = 0
    """Groups in which one sequence is better than another."""
    dropped_tokens: int = 0
    """Completion tokens that do not count because a log-probability was missing or not finite."""

    @staticmethod
    def total(parts: Iterable[Counts]) -> Counts:
        """The sum of the parts."""
        rows = [astuple(part) for part in parts]
        return Counts(*(sum(column) for column in zip(*rows, strict=True))) if rows else Counts(0, 0)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How a term's values become one number.

    - `token_mean`: mean over all tokens of the step; long sequences weigh more.
    - `segment_mean`: mean over segments (sentences, steps) of each segment's mean.
    - `sequence_mean`: mean over sequences of each sequence's mean; every sequence weighs the same.
    - `group_mean`: mean over groups of each group's mean over its tokens; every prompt weighs the same. For a term of
      group scope, the mean of its values.
    - `pair_mean`: mean over the pairs of the step; for terms of pair scope.
    - `sequence_sum`: sum over all tokens, divided by the number of sequences and by `constant`. With a constant such as
      the longest completion allowed it is Dr.GRPO's (Liu et al. 2025), which does not favour short wrong answers.
    - `sum`: sum over all values.
    """

    kind: AggregationKind = "token_mean"
    constant: float = 1.0
    """Used by `sequence_sum` only; a positive number."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(AggregationKind):
            raise ValueError(f"aggregation: {unknown_name(self.kind, get_args(AggregationKind))}")
        if not (math.isfinite(self.constant) and self.constant > 0):
            raise ValueError(f"aggregation: constant must be a positive number, not {self.constant!r}")
        if self.constant != 1.0 and self.kind != "sequence_sum":
            raise ValueError(f"aggregation: constant belongs to 'sequence_sum', not to {self.kind!r}")

    def normaliser(self, counts: Counts) -> float:
        """What the sum over the whole step is divided by, from the counts of the whole step; 0 where nothing counts."""
        per = {
            "token_mean": counts.tokens,
            "segment_mean": counts.segments,
            "sequence_mean": counts.sequences,
            "group_mean": counts.groups,
            "pair_mean": counts.pairs,
            "sequence_sum": counts.sequences * self.constant,
            "sum": 1,
        }
        return float(per[self.kind])

    def contributions(self, output: TermOutput, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """What each value adds before the normaliser, in float64, and the sequence it belongs to (int64).

        `batch` holds only tokens that count. A pair belongs to its chosen sequence, a group to its first.
        """
        owners = _owners(output, batch)
        values = output.values.double()
        if output.per in ("pair", "group"):
            return values, owners
        if self.kind == "segment_mean":
            index = batch.require("segment_index")
            values = values / index.bincount()[index]
        elif self.kind == "sequence_mean":
            values = values / batch.token_counts().clamp(min=1)[owners]
        elif self.kind == "group_mean":
            values = values / batch.require("group_tokens").clamp(min=1)[batch.require("group_index")[owners]]
        return values, owners

    def sum(self, output: TermOutput, batch: PackedBatch) -> Tensor:
        """The micro-batch's share before the normaliser: a float64 scalar. `batch` holds only tokens that count."""
        return self.contributions(output, batch)[0].sum()


def _owners(output: TermOutput, batch: PackedBatch) -> Tensor:
    import torch

    if output.per == "token":
        return batch.sequence_index
    if output.per == "pair":
        return batch.require("chosen")
    sequences = torch.arange(batch.sequence_count, device=batch.sequence_index.device)
    if output.per == "sequence":
        return sequences
    index = batch.require("group_index")
    first = torch.full((len(output.values),), batch.sequence_count, device=index.device)
    return first.scatter_reduce(0, index, sequences, "amin")
