"""The loss of a job: a weighted sum of terms.

`L = sum_k w_k(t) / N_k * sum_i sum_t l_k`: term k has a weight that may move with the step t, and a normaliser N_k counted
over the whole optimizer step. The sum over micro-batches and ranks of what `Composite.loss` returns is L, and so is the
sum of the gradients, whatever the cut. Averaging over ranks is the engine's matter, not this file's.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.losses.aggregation import Aggregation, Counts
from trainer.losses.contract import MetricSum
from trainer.losses.packed import PackedBatch
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.losses.term import TermFunction
from trainer.losses.user import LossFunction, load_loss, per_sequence
from trainer.names import unknown_name
from trainer.schedules import Schedule, is_schedule, parse_schedule

if TYPE_CHECKING:
    from torch import Tensor

NEEDS = ("ref_logprobs", "entropy")
"""What a term may ask for that is not computed unless asked for."""


class TermError(ValueError):
    """A term that cannot be part of a composite; the message names it and says what would be right."""


class NothingToTrainError(ValueError):
    """An optimizer step without a single token that counts."""


class NotFiniteLossError(ArithmeticError):
    """A term's value or gradient is NaN or infinite. `terms` names the terms."""

    def __init__(self, terms: Sequence[str], message: str) -> None:
        self.terms = tuple(terms)
        super().__init__(message)


@dataclass(frozen=True)
class Term:
    """One term of a composite. Made by `make_term`, which checks it."""

    name: str
    function: TermFunction
    weight: Schedule
    kwargs: Mapping[str, Any]
    """Values that are `Schedule` are read at each step."""
    aggregation: Aggregation
    needs: frozenset[str]
    """Optional tensors of `PackedBatch` that must be there."""
    user_function: LossFunction | None = None
    """The function inside, where it is a user's and so sees one sequence at a time, masked tokens included."""

    def kwargs_at(self, step: int, total_steps: int) -> dict[str, Any]:
        """The keyword arguments at a step."""
        return {k: v(step, total_steps) if isinstance(v, Schedule) else v for k, v in self.kwargs.items()}


def make_term(
    name: str,
    *,
    type: str | None = None,
    path: str | None = None,
    weight: float | Mapping[str, Any] | Schedule = 1.0,
    kwargs: Mapping[str, Any] | None = None,
    aggregation: Aggregation | None = None,
    needs: Sequence[str] = (),
) -> Term:
    """A term from what a job file says: a built-in `type`, or the import `path` of a user's function.

    `needs` is for user functions that read `ref_logprobs` or `entropy`. Raises TermError, and LossPathError for a path
    that leads nowhere; whether the term trains anything is for `trainer.probe` to say.
    """
    if (type is None) == (path is None):
        raise TermError(f"term {name!r}: give either a built-in type or the path of a function")
    if type is not None:
        if type not in BUILT_IN_TERMS:
            raise TermError(f"term {name!r}: type: {unknown_name(type, BUILT_IN_TERMS)}")
        user_function, built_in = None, BUILT_IN_TERMS[type]
        function, signature, required = built_in.function, inspect.signature(built_in.function), built_in.needs
    else:
        user_function = load_loss(str(path))
        function, signature, required = per_sequence(user_function), inspect.signature(user_function), frozenset()
    for need in needs:
        if need not in NEEDS:
            raise TermError(f"term {name!r}: needs: {unknown_name(need, NEEDS)}")
    parsed = {k: parse_schedule(v) if is_schedule(v) else v for k, v in (kwargs or {}).items()}
    _check_kwargs(name, signature, parsed)
    return Term(
        name=name,
        function=function,
        weight=parse_schedule(weight),
        kwargs=parsed,
        aggregation=aggregation or Aggregation(),
        needs=required | frozenset(needs),
        user_function=user_function,
    )


@dataclass(frozen=True)
class TermValue:
    """What a term gave on one micro-batch."""

    value: float
    """Its share of the term's value: summed over micro-batches and ranks it is `sum l / N`."""
    metrics: Mapping[str, MetricSum]


@dataclass(frozen=True)
class CompositeOutput:
    """`loss`: a scalar connected to the batch's log-probabilities, also where no token counts."""

    loss: Tensor
    terms: Mapping[str, TermValue]


class Composite:
    """Weighted terms. Immutable; everything that moves is a function of the step."""

    def __init__(self, terms: Sequence[Term]) -> None:
        """Raises TermError without terms, and where two share a name."""
        names = [term.name for term in terms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            raise TermError(f"the term name {twice[0]!r} is used twice" if twice else "a composite needs a term")
        self.terms = tuple(terms)

    @property
    def needs(self) -> frozenset[str]:
        """Optional tensors of `PackedBatch` that some term reads."""
        return frozenset[str]().union(*(term.needs for term in self.terms))

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

    def loss(
        self, batch: PackedBatch, normalisers: Mapping[str, float], step: int, total_steps: int
    ) -> CompositeOutput:
        """The micro-batch's share of L, and what each term gave.

        A term of weight 0 is computed, for its metrics, but takes no part in the loss or its gradient. Raises
        NotFiniteLossError where the value of a term that takes part is NaN or infinite.
        """
        valid = batch.valid()
        loss = valid.trainer_logprobs[:0].double().sum()
        values: dict[str, TermValue] = {}
        weights = self.weights(step, total_steps)
        for term in self.terms:
            output = term.function(batch if term.user_function else valid, **term.kwargs_at(step, total_steps))
            share = term.aggregation.sum(output, valid) / normalisers[term.name]
            values[term.name] = TermValue(float(share.detach()), output.metrics)
            if weights[term.name] != 0:
                loss = loss + weights[term.name] * share
        bad = [name for name, term in values.items() if weights[name] != 0 and not math.isfinite(term.value)]
        if bad:
            raise NotFiniteLossError(bad, f"the value of {', '.join(bad)} is not finite at step {step}")
        return CompositeOutput(loss, values)


def _check_kwargs(name: str, signature: inspect.Signature, kwargs: Mapping[str, Any]) -> None:
    parameters = list(signature.parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = {p.name: p for p in parameters[1:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    for key, value in kwargs.items():
        if key not in known:
            raise TermError(f"term {name!r}: kwargs: {unknown_name(key, known)}")
        numbers_only = known[key].annotation == "float" or (
            known[key].annotation == "float | None" and value is not None
        )
        if numbers_only and (isinstance(value, bool) or not isinstance(value, (int, float, Schedule))):
            raise TermError(f"term {name!r}: kwargs: {key} must be a number or a schedule, not {value!r}")
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in kwargs]
    if missing:
        raise TermError(f"term {name!r}: kwargs: {missing[0]!r} is missing")
