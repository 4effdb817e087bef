"""What the terms gave during one optimizer step, added up over micro-batches and then over ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from trainer.composite import TermValue


class StepTotals:
    """Sums for one step. Metrics are kept as sums with their counts, so the means at the end are exact."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        """Term to `sum l / N`."""
        self.sums: dict[str, tuple[float, float]] = {}
        """`term/metric` to total and count."""
        self.not_finite: set[str] = set()

    def add(self, terms: Mapping[str, TermValue]) -> None:
        """Adds a micro-batch."""
        for name, term in terms.items():
            self.values[name] = self.values.get(name, 0.0) + term.value
            for metric, part in term.metrics.items():
                self._add_sum(f"{name}/{metric}", float(part.total), part.count)

    def to_json(self) -> dict[str, Any]:
        """For the other ranks."""
        return {"values": self.values, "sums": self.sums, "not_finite": sorted(self.not_finite)}

    @staticmethod
    def combine(ranks: Iterable[Mapping[str, Any]]) -> StepTotals:
        """The totals of all ranks, from what `to_json` gave on each."""
        totals = StepTotals()
        for rank in ranks:
            for name, value in rank["values"].items():
                totals.values[name] = totals.values.get(name, 0.0) + value
            for name, (total, count) in rank["sums"].items():
                totals._add_sum(name, total, count)
            totals.not_finite.update(rank["not_finite"])
        return totals

    def metrics(self, weights: Mapping[str, float]) -> dict[str, float]:
        """`loss/total`, and for each term `term/<name>/value`, `weight`, `weighted` and its own metrics."""
        named: dict[str, float] = {}
        total = 0.0
        for name, weight in weights.items():
            value = math.nan if name in self.not_finite else self.values.get(name, math.nan)
            weighted = weight * value if weight else 0.0
            total += weighted
            named |= {f"term/{name}/value": value, f"term/{name}/weight": weight, f"term/{name}/weighted": weighted}
        named |= {f"term/{name}": total / count for name, (total, count) in self.sums.items() if count}
        return {"loss/total": total, **named}

    def _add_sum(self, name: str, total: float, count: float) -> None:
        before = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (before[0] + total, before[1] + count)
