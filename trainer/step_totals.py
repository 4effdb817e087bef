"""What the terms gave during one optimizer step, added up over micro-batches and then over ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from trainer.composite import TermValue
from trainer.losses.contract import MetricSum

RESERVED = frozenset({"value", "weight", "weighted", "share", "gradient_norm", "projected_weight", "not_finite"})
"""What the trainer tells of every term under `term/<name>/`."""


class StepTotals:
    """Sums for one step. Metrics are kept as sums with their counts, so the means at the end are exact."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        """Term to `sum l / N`, by domain."""
        self.sums: dict[str, tuple[float, float]] = {}
        """`term/metric` to total and count."""
        self.products: list | None = None
        """Inner products of the terms' gradients, `[D, K, K]`."""
        self.parameter_products: list | None = None
        """Inner products of the terms' gradients with respect to the parameters, `[K, K]`, where they were taken."""
        self.not_finite: set[str] = set()

    def add(self, terms: Mapping[str, TermValue], products: Tensor | None = None) -> None:
        """Adds a micro-batch."""
        for name, term in terms.items():
            self._add_values(name, term.by_domain)
            self.add_sums(name, term.metrics)
        if products is not None:
            self._add_products(products.tolist())

    def add_sums(self, prefix: str, sums: Mapping[str, MetricSum]) -> None:
        """Adds sums under `prefix/name`."""
        for name, part in sums.items():
            self._add_sum(f"{prefix}/{name}", float(part.total), part.count)

    def to_json(self) -> dict[str, Any]:
        """For the other ranks."""
        return {**vars(self), "not_finite": sorted(self.not_finite)}

    @staticmethod
    def combine(ranks: Iterable[Mapping[str, Any]]) -> StepTotals:
        """The totals of all ranks, from what `to_json` gave on each."""
        totals = StepTotals()
        for rank in ranks:
            for name, values in rank["values"].items():
                totals._add_values(name, values)
            for name, (total, count) in rank["sums"].items():
                totals._add_sum(name, total, count)
            if rank["products"] is not None:
                totals._add_products(rank["products"])
            if rank["parameter_products"] is not None:
                totals.parameter_products = _added(totals.parameter_products, rank["parameter_products"])
            totals.not_finite.update(rank["not_finite"])
        return totals

    def means(self) -> dict[str, float]:
        """The means of the sums, by `prefix/name`."""
        return {name: total / count for name, (total, count) in self.sums.items() if count}

    def metrics(self, weights: Mapping[str, float], domains: tuple[str, ...]) -> dict[str, float]:
        """`loss/total`, and for each term `term/<name>/value`, `weight`, `weighted` and its own metrics.

        With several domains also `domain/<domain>/term/<name>/value` and `weighted`, which add up to the whole. A term that
        is not finite has `not_finite` 1, and NaN for its values.
        """
        named = {f"term/{name}/not_finite": 1.0 for name in sorted(self.not_finite.intersection(weights))}
        total = 0.0
        for name, weight in weights.items():
            parts = [math.nan] if name in self.not_finite else self.values.get(name, [math.nan])
            value = math.fsum(parts)
            weighted = weight * value if weight else 0.0
            total += weighted
            named |= {f"term/{name}/value": value, f"term/{name}/weight": weight, f"term/{name}/weighted": weighted}
            if len(domains) > 1 and len(parts) == len(domains):
                for domain, part in zip(domains, parts, strict=True):
                    named[f"domain/{domain}/term/{name}/value"] = part
                    named[f"domain/{domain}/term/{name}/weighted"] = weight * part if weight else 0.0
        return {"loss/total": total, **{_told(name): mean for name, mean in self.means().items()}, **named}

    def _add_values(self, name: str, values: Iterable[float]) -> None:
        before = self.values.get(name)
        self.values[name] = [a + b for a, b in zip(before, values, strict=True)] if before else list(values)

    def _add_sum(self, name: str, total: float, count: float) -> None:
        before = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (before[0] + total, before[1] + count)

    def _add_products(self, products: list) -> None:
        self.products = _added(self.products, products)


def _told(path: str) -> str:
    """The name of a term's own metric; one that bears a name of the trainer's is told under `own/`."""
    term, _, metric = path.partition("/")
    return f"term/{term}/own/{metric}" if metric in RESERVED else f"term/{path}"


def _added(before: list | None, more: list) -> list:
    return more if before is None else (np.array(before) + more).tolist()
