"""The loss of a job: a weighted sum of terms.

`L = sum_k w_k(t) / N_k * sum_i sum_t l_k`: term k has a weight that may move with the step t, and a normaliser N_k counted
over the whole optimizer step. The sum over micro-batches and ranks of what `Composite.loss` returns is L, and so is the
sum of the gradients, whatever the cut. Averaging over ranks is the engine's matter, not this file's.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainer.losses.aggregation import Counts
from trainer.losses.contract import MetricSum, TermOutput
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
    """A term's value or gradient is NaN or infinite. `terms` names the terms; `values` are those of all terms, if known."""

    def __init__(self, terms: Sequence[str], message: str, values: Mapping[str, TermValue] | None = None) -> None:
        self.terms, self.values = tuple(terms), values or {}
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
        whole = (scale @ self.gradients[kept].flatten(1)).view(self.gradients.shape[1:])
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
        self.combination: Combination = combination
        self.seed = seed

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
    def compares_pairs(self) -> bool:
        """Whether some term reads the best and the worst of each group as a preference pair."""
        return any(term.scope == "pair" or "chosen" in term.needs for term in self.terms)

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
        """The micro-batch's share of L, and what each term gave: the plain definition, to which `gradients`, by which the
        engine trains, is held.

        A term of weight 0 is computed, for its metrics, but takes no part in the loss or its gradient. Raises
        NotFiniteLossError where the value of a term that takes part is NaN or infinite.
        """
        loss = batch.trainer_logprobs[:0].double().sum()
        values: dict[str, TermValue] = {}
        weights = self.weights(step, total_steps)
        valid = batch.valid()
        for term in self.terms:
            share, values[term.name] = _share(term, batch, valid, normalisers, step, total_steps, statistics or {})
            if weights[term.name] != 0:
                loss = loss + weights[term.name] * share
        _refuse([name for name, v in values.items() if weights[name] != 0 and not math.isfinite(v.value)], step, values)
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
        # Each term has leaves of its own, so that one backward pass gives all their gradients, and keeps them apart.
        valid, places = batch.valid(), batch.loss_mask.nonzero().squeeze(1)
        values: dict[str, TermValue] = {}
        shares: list[Tensor] = []
        leaves: list[Tensor] = []
        for term in self.terms:
            given, own = _with_leaves(batch if term.user_function else valid, fields)
            seen = given.valid() if term.user_function else given
            share, values[term.name] = _share(term, given, seen, normalisers, step, total_steps, statistics or {})
            shares.append(share)
            leaves += own
        counted = torch.zeros(len(shares), len(fields), len(places), dtype=torch.float64, device=places.device)
        live = [share for share in shares if share.requires_grad]
        found = torch.autograd.grad(live, leaves, allow_unused=True) if live else []
        for row, part in zip(counted.flatten(0, 1), found, strict=False):
            if part is not None:
                row.copy_(part if len(part) == len(row) else part[places])
        finite = counted.isfinite().flatten(1).all(1).tolist()
        sound = {name: ok and math.isfinite(v.value) for (name, v), ok in zip(values.items(), finite, strict=True)}
        weights = self.weights(step, total_steps)
        _refuse([name for name, weight in weights.items() if weight and not sound[name]], step, values)
        gradients = counted.new_zeros(*counted.shape[:2], len(batch.loss_mask)).index_copy_(2, places, counted)
        return CompositeGradients(values, fields, gradients)


def _share(
    term: Term,
    batch: PackedBatch,
    valid: PackedBatch,
    normalisers: Mapping[str, float],
    step: int,
    total_steps: int,
    statistics: Statistics,
) -> tuple[Tensor, TermValue]:
    """What a term adds to the loss before its weight; `valid` holds the batch's tokens that count."""
    own = replace(valid, statistics=statistics[term.name]) if term.statistics else valid
    output = _called(term, batch if term.user_function else own, step, total_steps)
    values, owners = term.aggregation.contributions(output, valid)
    # 0 only where no part of the step has a value of this term: there is nothing to divide then
    values = values / (normalisers[term.name] or 1.0)
    share = values.sum()
    total = float(share.detach())
    parts = (total,) if batch.domain_count == 1 else _by_domain(values.detach(), owners, batch)
    return share, TermValue(total, parts, output.metrics)


def _called(term: Term, batch: PackedBatch, step: int, total_steps: int) -> TermOutput:
    kwargs = term.kwargs_at(step, total_steps)
    if term.user_function is None:
        return term.function(batch, **kwargs)
    try:
        return term.function(batch, **kwargs)
    except Exception as error:  # whatever a user's code raises
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, line {frame.lineno}, at step {step}"
        raise TermError(f"term {term.name!r}: {type(error).__name__}: {error}; in {where}") from error


def _with_leaves(batch: PackedBatch, fields: Sequence[str]) -> tuple[PackedBatch, list[Tensor]]:
    leaves = [getattr(batch, name).detach().requires_grad_() for name in fields]
    return replace(batch, **dict(zip(fields, leaves, strict=True))), leaves


def _by_domain(values: Tensor, owners: Tensor, batch: PackedBatch) -> tuple[float, ...]:
    index = batch.require("domain_index")[owners]
    return tuple(values.new_zeros(batch.domain_count).index_add(0, index, values).tolist())


def _refuse(names: Sequence[str], step: int, values: Mapping[str, TermValue]) -> None:
    if names:
        message = f"the value or the gradient of {', '.join(names)} is not finite at step {step}"
        raise NotFiniteLossError(names, message, values)
