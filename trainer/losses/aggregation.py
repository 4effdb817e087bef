"""From the values of a term to one number, with a normaliser that belongs to the whole optimizer step.

What a term is divided by is counted over every micro-batch of every rank before the first backward pass. A sum over a
micro-batch is then the same share of the loss however the step is cut up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from trainer.losses.contract import PackedBatch, TermOutput
from trainer.names import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

AggregationKind = Literal["token_mean", "sequence_mean", "sequence_sum", "sum"]


@dataclass(frozen=True, slots=True)
class Counts:
    """What an optimizer step, or a part of it, holds: tokens that count, and sequences with at least one of them."""

    tokens: int
    sequences: int
    dropped_tokens: int = 0
    """Completion tokens that do not count because a log-probability was missing or not finite."""

    @staticmethod
    def total(parts: Iterable[Counts]) -> Counts:
        """The sum of the parts."""
        rows = [(part.tokens, part.sequences, part.dropped_tokens) for part in parts]
        return Counts(*(sum(column) for column in zip(*rows, strict=True))) if rows else Counts(0, 0)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How a term's values become one number.

    - `token_mean`: mean over all tokens of the step; long sequences weigh more.
    - `sequence_mean`: mean over sequences of each sequence's mean; every sequence weighs the same.
    - `sequence_sum`: sum over all tokens, divided by the number of sequences and by `constant`. With a constant such as
      the longest completion allowed it is Dr.GRPO's (Liu et al. 2025), which does not favour short wrong answers.
    - `sum`: sum over all tokens.
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
        """What the sum over the whole step is divided by, from the counts of the whole step."""
        if self.kind == "token_mean":
            return float(counts.tokens)
        if self.kind == "sequence_mean":
            return float(counts.sequences)
        return counts.sequences * self.constant if self.kind == "sequence_sum" else 1.0

    def sum(self, output: TermOutput, batch: PackedBatch) -> Tensor:
        """The micro-batch's share before the normaliser: a float64 scalar. `batch` holds only tokens that count."""
        values = output.values
        if self.kind == "sequence_mean":
            sums = batch.sequence_sums(values) if output.per == "token" else values
            values = sums / batch.token_counts().clamp(min=1)
        return values.double().sum()
