"""What the composite must know of a built-in term before it calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trainer.losses.aggregation import KINDS_OF_SCOPE, AggregationKind
from trainer.losses.contract import MetricSum, Scope, TermOutput

TermFunction = Callable[..., TermOutput]
"""`(PackedBatch, **kwargs) -> TermOutput`; the batch holds only tokens that count."""

StatisticsFunction = Callable[..., Mapping[str, MetricSum]]
"""`(PackedBatch, **kwargs)`, with the term's own arguments: what it needs to know of the whole step before its first value.

Its results are added up over micro-batches and ranks, and their means are `PackedBatch.statistics` when the term is called.
"""


@dataclass(frozen=True, slots=True)
class BuiltInTerm:
    """A term with its properties."""

    function: TermFunction
    needs: frozenset[str] = frozenset()
    """Fields of `PackedBatch` that it reads beside the log-probabilities of the policy."""
    scope: Scope = "sequence"
    per_token: bool = True
    """Whether its values are numbers of tokens; False where each is one number of a sequence, no sum over tokens."""
    default_aggregation: AggregationKind | None = None
    per_longest: bool = False
    """Whether the constant of its `sequence_sum` is the longest completion of the job, unless the job says otherwise."""
    non_negative: bool = False
    """Whether its values cannot be below 0, as some controllers ask."""
    statistics: StatisticsFunction | None = None
    replaces_statistics: str = ""
    """An argument that makes `statistics` needless where it is given as a number."""

    @property
    def aggregation(self) -> AggregationKind:
        """What it is divided by unless the job says otherwise."""
        return self.default_aggregation or self.aggregations[0]

    @property
    def aggregations(self) -> tuple[AggregationKind, ...]:
        """What it can be divided by."""
        kinds = KINDS_OF_SCOPE[self.scope]
        return kinds if self.per_token or self.scope != "sequence" else ("sequence_sum", "sum")
