"""One term of a composite, made from what a job file says and checked before anything is computed."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trainer.controllers import Controller
from trainer.losses.aggregation import Aggregation, AggregationKind
from trainer.losses.contract import Scope
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.losses.term import BuiltInTerm, StatisticsFunction, TermFunction
from trainer.losses.user import LossFunction, load_loss, per_scope
from trainer.moving import Moving, is_moving, parse_moving
from trainer.names import unknown_name
from trainer.schedules import Schedule

NEEDS = ("ref_logprobs", "entropy", "teacher_logprobs", "values", "returns")
"""What a user's function may ask for that is not computed unless asked for."""


class TermError(ValueError):
    """A term that cannot be part of a composite; the message names it and says what would be right."""


@dataclass(frozen=True)
class Term:
    """One term of a composite. Made by `make_term`, which checks it."""

    name: str
    function: TermFunction
    weight: Moving
    kwargs: Mapping[str, Any]
    """Values that move are read at each step."""
    aggregation: Aggregation
    needs: frozenset[str]
    """Optional tensors of `PackedBatch` that must be there."""
    scope: Scope = "sequence"
    non_negative: bool = False
    statistics: StatisticsFunction | None = None
    user_function: LossFunction | None = None
    """The function inside, where it is a user's: it sees one sequence, pair or group at a time, with its masked tokens."""

    def places(self) -> dict[str, Moving]:
        """What moves, by place: see `trainer.places`."""
        moving = {f"terms.{self.name}.kwargs.{k}": v for k, v in self.kwargs.items() if is_moving(v)}
        return {f"terms.{self.name}.weight": self.weight, **moving}

    def kwargs_at(self, step: int, total_steps: int) -> dict[str, Any]:
        """The keyword arguments at a step."""
        return {k: v(step, total_steps) if isinstance(v, (Schedule, Controller)) else v for k, v in self.kwargs.items()}


def make_term(
    name: str,
    *,
    type: str | None = None,
    path: str | None = None,
    weight: float | Mapping[str, Any] | Moving = 1.0,
    kwargs: Mapping[str, Any] | None = None,
    aggregation: AggregationKind | Aggregation | None = None,
    constant: float | None = None,
    longest: int = 1,
    needs: Sequence[str] = (),
    scope: Scope | None = None,
) -> Term:
    """A term from what a job file says: a built-in `type`, or the import `path` of a user's function.

    `constant` belongs to the aggregation `sequence_sum`; some built-in terms take `longest`, the tokens of the longest
    completion, where there is none. `needs` and `scope` are for user functions: what they read, and what they are called
    with. Raises TermError, and ImportPathError for a path that leads nowhere; whether the term trains anything is for
    `trainer.probe` to say.
    """
    if (type is None) == (path is None):
        raise TermError(f"term {name!r}: give either a built-in type or the path of a function")
    user_function = None if path is None else load_loss(path)
    if user_function is not None:
        _check_needs(name, needs)
        built_in = BuiltInTerm(per_scope(user_function, scope or "sequence"), frozenset(needs), scope or "sequence")
    else:
        if type not in BUILT_IN_TERMS:
            raise TermError(f"term {name!r}: type: {unknown_name(type, sorted(BUILT_IN_TERMS))}")
        if needs or scope:
            raise TermError(f"term {name!r}: needs and scope are for your own functions; {type!r} declares its own")
        built_in = BUILT_IN_TERMS[str(type)]
    parsed = {k: parse_moving(v) if is_moving(v) else v for k, v in (kwargs or {}).items()}
    _check_kwargs(
        name, user_function or built_in.function, parsed, leading=2 if built_in.scope == "pair" and path else 1
    )
    if not isinstance(aggregation, Aggregation):
        kind = aggregation or built_in.aggregation
        default = float(longest) if built_in.per_longest and kind == "sequence_sum" else 1.0
        aggregation = Aggregation(kind, default if constant is None else constant)
    kinds = [kind for kind in built_in.aggregations if kind != "segment_mean" or user_function is None]
    if aggregation.kind not in kinds:
        raise TermError(
            f"term {name!r}: aggregation {aggregation.kind!r} does not fit values of a {built_in.scope}; it takes"
            f" {', '.join(kinds)}"
        )
    return Term(
        name=name,
        function=built_in.function,
        weight=parse_moving(weight),
        kwargs=parsed,
        aggregation=aggregation,
        needs=built_in.needs | _needs_of(built_in.scope, aggregation, parsed),
        scope=built_in.scope,
        non_negative=built_in.non_negative,
        statistics=None if parsed.get(built_in.replaces_statistics) is not None else built_in.statistics,
        user_function=user_function,
    )


def _needs_of(scope: Scope, aggregation: Aggregation, kwargs: Mapping[str, Any]) -> frozenset[str]:
    segments = aggregation.kind == "segment_mean" or kwargs.get("span") == "segment"
    groups = aggregation.kind == "group_mean" or scope != "sequence"
    return frozenset({"segment_index"} if segments else ()) | frozenset({"group_index"} if groups else ())


def _check_needs(name: str, needs: Sequence[str]) -> None:
    for need in needs:
        if need not in NEEDS:
            raise TermError(f"term {name!r}: needs: {unknown_name(need, NEEDS)}")


def _check_kwargs(name: str, function: Callable[..., Any], kwargs: Mapping[str, Any], leading: int) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = {p.name: p for p in parameters[leading:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    hints = _hints(function)
    for key, value in kwargs.items():
        if key not in known:
            raise TermError(f"term {name!r}: kwargs: {unknown_name(key, known)}")
        _check_type(f"term {name!r}: kwargs: {key}", value, hints.get(key, Any))
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in kwargs]
    if missing:
        given = "two arguments (a pair)" if leading == 2 else "one argument"
        raise TermError(
            f"term {name!r}: kwargs: {missing[0]!r} is missing; the function is called with {given}, the others must be"
            " named in kwargs or have a default"
        )


def _check_type(where: str, value: Any, hint: Any) -> None:
    takes_float = hint is float or float in typing.get_args(hint)
    if is_moving(value):
        if hint is Any or takes_float:
            return
        raise TermError(f"{where} takes no schedule and no controller; it must be {_spoken(hint)}")
    try:
        TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError:
        raise TermError(f"{where} must be {_spoken(hint)}, not {value!r}") from None


def _spoken(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    names = {float: "a number or a schedule", int: "a whole number", bool: "true or false", str: "a text"}
    kinds = [names[kind] for kind in typing.get_args(hint) or (hint,) if kind in names]
    return " or ".join(kinds) or str(hint)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of plain kinds; those of a user's function that cannot be read here are not checked."""
    try:
        hints = typing.get_type_hints(function.func if isinstance(function, partial) else function)
    except Exception:  # annotations may name what only a type checker imports
        hints = {p.name: _PLAIN.get(str(p.annotation), Any) for p in inspect.signature(function).parameters.values()}
    plain = (float, int, bool, str, type(None))
    return {
        name: hint
        for name, hint in hints.items()
        if hint in plain
        or typing.get_origin(hint) is typing.Literal
        or (typing.get_args(hint) and all(part in plain for part in typing.get_args(hint)))
    }


_PLAIN: Mapping[str, Any] = {"float": float, "int": int, "bool": bool, "str": str, "float | None": float | None}
