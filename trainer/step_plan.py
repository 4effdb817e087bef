"""One optimizer step's composite: its normalisers, its weights, and what was learnt of the step before the first gradient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.attribution import Attribution, cosines, inner_products, without_conflicts
from trainer.batching import MicroBatch
from trainer.composite import Composite, CompositeGradients, NotFiniteLossError, Statistics
from trainer.losses.packed import PackedBatch
from trainer.policy import Scores
from trainer.step_totals import StepTotals


@dataclass(frozen=True)
class StepPlan:
    """What is the same for every micro-batch of a step on every rank."""

    composite: Composite
    normalisers: Mapping[str, float]
    step: int
    total_steps: int
    statistics: Statistics = field(default_factory=dict)
    projected: Mapping[str, float] | None = None
    """The weights that PCGrad made of the scheduled ones."""

    @property
    def scheduled(self) -> dict[str, float]:
        """The weights that the job asks for at this step."""
        return self.composite.weights(self.step, self.total_steps)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of the terms' gradients, in the order of the terms."""
        return self.scheduled if self.projected is None else self.projected

    def pack(self, micro_batch: MicroBatch, scores: Scores) -> PackedBatch:
        """The micro-batch as the terms see it."""
        return micro_batch.pack(scores, self.step, self.total_steps)

    def gradients(self, batch: PackedBatch) -> CompositeGradients:
        """See `Composite.gradients`."""
        return self.composite.gradients(batch, self.normalisers, self.step, self.total_steps, self.statistics)

    def measure(self, batches: Iterable[PackedBatch]) -> StepTotals:
        """This rank's part of the terms' statistics."""
        totals = StepTotals()
        for batch in batches:
            for name, sums in self.composite.measure(batch, self.step, self.total_steps).items():
                totals.add_sums(name, sums)
        return totals

    def with_statistics(self, totals: StepTotals) -> StepPlan:
        """The plan once all ranks' statistics are known."""
        statistics: dict[str, dict[str, float]] = defaultdict(dict)
        for path, (total, count) in totals.sums.items():
            term, _, name = path.partition("/")
            statistics[term][name] = total / count if count else 0.0
        return replace(self, statistics=statistics)

    def survey(self, batches: Iterable[PackedBatch]) -> StepTotals:
        """This rank's part of the inner products of the terms' gradients."""
        totals = StepTotals()
        for batch in batches:
            try:
                part = self.gradients(batch)
                totals.add(part.terms, inner_products(part, batch))
            except NotFiniteLossError as error:
                totals.not_finite.update(error.terms)
        return totals

    def with_products(self, totals: StepTotals) -> StepPlan:
        """The plan once all ranks' inner products are known; unchanged where a term is not finite: the step will say so."""
        if totals.not_finite or totals.products is None:
            return self
        products = np.array(totals.products).sum(0)
        return replace(self, projected=without_conflicts(products, self.scheduled, self.composite.seed, self.step))

    def metrics(self, totals: StepTotals, domains: Sequence[str]) -> dict[str, float]:
        """What is told of the step's terms, from the totals of all ranks."""
        told = totals.metrics(self.scheduled, tuple(domains))
        names = tuple(self.weights)
        if totals.products is not None and not totals.not_finite:
            told |= Attribution(names, tuple(domains), np.array(totals.products)).metrics(list(self.weights.values()))
        if self.projected is not None:
            told |= {f"term/{name}/projected_weight": weight for name, weight in self.projected.items()}
        if totals.parameter_products is not None:
            told |= cosines("parameter_cosine", names, np.array(totals.parameter_products))
        return told
