"""The loss of a job: a weighted sum of terms.

`L = sum_k w_k(t) / N_k * sum_i sum_t l_k`: term k has a weight that may move with the step t, and a normaliser N_k counted
over the whole optimizer step. The sum over micro-batches and ranks of what `Composite.loss` returns is L, and so is the
sum of the gradients, whatever the cut. Averaging over ranks is the engine's matter, not this file's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from trainer.losses.aggregation import Counts
from trainer.losses.contract import MetricSum
from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.moving import Moving
from trainer.term import Term, TermError

if TYPE_CHECKING:
    from torch import Tensor

Statistics = Mapping[str, Mapping[str, float]]
"""For each term that asks for them, means over the whole step by name."""


Combination = Literal["sum", "pcgrad"]
"""How weighted gradients become one: added up, or added up once conflicts are projected out."""


class NothingToTrainError(ValueError):
    """An optimizer step without a single token that counts."""


class NotFiniteLossError(ArithmeticError):
    """A term's value or gradient is NaN or infinite. `terms` names the terms."""

    def __init__(self, terms: Sequence[str], message: str) -> None:
        self.terms = tuple(terms)
        super().__init__(message)


@dataclass(frozen=True)
class TermValue:
    """What a term gave on one micro-batch."""

    value: float
    """Its share of the term's value: summed over micro-batches and ranks it is `sum l / N`."""
    by_domain: tuple[float, ...]
    """The same, split by the domains of the step; one entry where there are no domains."""
    metrics: Mapping[str, MetricSum]


@dataclass(frozen=True)
class CompositeOutput:
    """`loss`: a scalar connected to the batch's log-probabilities, also where no token counts."""

    loss: Tensor
    terms: Mapping[str, TermValue]


@dataclass(frozen=True)
class CompositeGradients:
    """The gradient of each term, unweighted and divided by its normaliser, with respect to what the policy gave.

    K terms in the order of the composite; F live fields of N tokens.
    """

    terms: Mapping[str, TermValue]
    fields: tuple[str, ...]
    """The F fields of `LIVE_FIELDS` that the batch has."""
    gradients: Tensor
    """float64 `[K, F, N]`; 0 at masked tokens."""

    def surrogate(self, batch: PackedBatch, weights: Sequence[float]) -> Tensor:
        """A scalar whose gradient is the weighted sum of the terms' gradients; its value means nothing.

        A term of weight 0 takes no part, whatever its gradient is.
        """
        import torch

        kept = [place for place, weight in enumerate(weights) if weight != 0]
        scale = self.gradients.new_tensor([weights[place] for place in kept])
        whole = (scale[:, None, None] * self.gradients[kept]).sum(0)
        live = [getattr(batch, name) for name in self.fields]
        parts = [(tensor * gradient.to(tensor.dtype)).sum() for tensor, gradient in zip(live, whole, strict=True)]
        return torch.stack(parts).sum()


class Composite:
    """Weighted terms. What moves is a function of the step, or of a controller that a term's weight or argument is."""

    def __init__(self, terms: Sequence[Term], combination: Combination = "sum", seed: int = 0) -> None:
        """Raises TermError without terms, and where two share a name. `seed` is PCGrad's."""
        names = [term.name for term in terms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            raise TermError(f"the term name {twice[0]!r} is used twice" if twice else "a composite needs a term")
        self.terms = tuple(terms)
        self.combination, self.seed = combination, seed

    @property
    def needs(self) -> frozenset[str]:
        """Optional tensors of `PackedBatch` that some term reads."""
        return frozenset[str]().union(*(term.needs for term in self.terms))

    def places(self) -> dict[str, Moving]:
        """What moves, by place: see `trainer.places`."""
        return {place: moving for term in self.terms for place, moving in term.places().items()}

    @property
    def whole_groups(self) -> bool:
        """Whether some term looks at pairs or groups, so that a group must lie in one micro-batch."""
        return any(term.scope != "sequence" for term in self.terms)

    @property
    def looks_ahead(self) -> bool:
        """Whether something must be known of the whole step before the first gradient: see `measure`, and PCGrad."""
        return self.combination == "pcgrad" or any(term.statistics for term in self.terms)

    def normalisers(self, counts: Counts) -> dict[str, float]:
        """N of each term, from the counts of the whole optimizer step. Raises NothingToTrainError."""
        if counts.tokens == 0:
            raise NothingToTrainError(
                f"no token of this step can be trained on; {counts.dropped_tokens} were dropped for missing log-probabilities"
            )
        return {term.name: term.aggregation.normaliser(counts) for term in self.terms}

    def weights(self, step: int, total_steps: int) -> dict[str, float]:
        """The weight of each term at a step."""
        return {term.name: term.weight(step, total_steps) for term in self.terms}

    def measure(self, batch: PackedBatch, step: int, total_steps: int) -> dict[str, Mapping[str, MetricSum]]:
        """The micro-batch's part of the statistics of the terms that declare them; no gradient."""
        import torch

        with torch.no_grad():
            valid = batch.valid()
            return {
                term.name: term.statistics(valid, **term.kwargs_at(step, total_steps))
                for term in self.terms
                if term.statistics
            }

    def loss(
        self,
        batch: PackedBatch,
        normalisers: Mapping[str, float],
        step: int,
        total_steps: int,
        statistics: Statistics | None = None,
    ) -> CompositeOutput:
        """The micro-batch's share of L, and what each term gave.

        A term of weight 0 is computed, for its metrics, but takes no part in the loss or its gradient. Raises
        NotFiniteLossError where the value of a term that takes part is NaN or infinite.
        """
        loss = batch.trainer_logprobs[:0].double().sum()
        values: dict[str, TermValue] = {}
        weights = self.weights(step, total_steps)
        for term, share, value in self._shares(batch, normalisers, step, total_steps, statistics or {}):
            values[term.name] = value
            if weights[term.name] != 0:
                loss = loss + weights[term.name] * share
        _refuse([name for name, v in values.items() if weights[name] != 0 and not math.isfinite(v.value)], step)
        return CompositeOutput(loss, values)

    def gradients(
        self,
        batch: PackedBatch,
        normalisers: Mapping[str, float],
        step: int,
        total_steps: int,
        statistics: Statistics | None = None,
    ) -> CompositeGradients:
        """The gradient of every term alone, which never reaches the model: the terms' graphs end at what it gave.

        One backward pass through the model with `CompositeGradients.surrogate` then does for all terms. Raises
        NotFiniteLossError where a term of weight other than 0 has a value or a gradient that is NaN or infinite.
        """
        import torch

        fields = tuple(name for name in LIVE_FIELDS if getattr(batch, name) is not None)
        leaves = [getattr(batch, name).detach().requires_grad_() for name in fields]
        leaf_batch = replace(batch, **dict(zip(fields, leaves, strict=True)))
        values: dict[str, TermValue] = {}
        rows: list[Tensor] = []
        bad: list[str] = []
        for term, share, value in self._shares(leaf_batch, normalisers, step, total_steps, statistics or {}):
            values[term.name] = value
            if share.requires_grad:
                row = torch.autograd.grad(share, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
            else:
                row = [torch.zeros_like(leaf) for leaf in leaves]
            rows.append(torch.stack([part.double() for part in row]))
            if term.weight(step, total_steps) != 0 and not (math.isfinite(value.value) and rows[-1].isfinite().all()):
                bad.append(term.name)
        _refuse(bad, step)
        return CompositeGradients(values, fields, torch.stack(rows))

    def _shares(
        self,
        batch: PackedBatch,
        normalisers: Mapping[str, float],
        step: int,
        total_steps: int,
        statistics: Statistics,
    ) -> Iterator[tuple[Term, Tensor, TermValue]]:
        valid = batch.valid()
        for term in self.terms:
            own = replace(valid, statistics=statistics[term.name]) if term.statistics else valid
            output = term.function(batch if term.user_function else own, **term.kwargs_at(step, total_steps))
            values, owners = term.aggregation.contributions(output, valid)
            # 0 only where no part of the step has a value of this term: there is nothing to divide then
            values = values / (normalisers[term.name] or 1.0)
            yield term, values.sum(), TermValue(*_by_domain(values.detach(), owners, batch), output.metrics)


def _by_domain(values: Tensor, owners: Tensor, batch: PackedBatch) -> tuple[float, tuple[float, ...]]:
    total = float(values.sum())
    if batch.domain_index is None or batch.domain_count == 1:
        return total, (total,)
    parts = values.new_zeros(batch.domain_count).index_add(0, batch.domain_index[owners], values)
    return total, tuple(parts.tolist())


def _refuse(names: Sequence[str], step: int) -> None:
    if names:
        raise NotFiniteLossError(names, f"the value or the gradient of {', '.join(names)} is not finite at step {step}")
