"""What a job file says of a controller: its kind, its bounds, what it watches; and where each kind may stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from trainer import controller_rules as rules
from trainer.finite import is_finite_number
from trainer.names import unknown_name


class ControllerError(ValueError):
    """A controller that cannot be; the message names the key, the value and what would be right."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of controller takes and where it may stand."""

    rule: rules.Rule | None
    """None for `gradnorm`, which moves several values together."""
    required: tuple[str, ...] = ()
    optional: Mapping[str, float | None] = field(default_factory=dict)
    of_term: bool = False
    """Whether it watches the term whose weight it is, and so can be nothing else. The others name their metric."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "threshold": Kind(rules.threshold, (), {"low": None, "high": None, "factor_above": 1.1, "factor_below": 0.9}),
        "target_kl": Kind(rules.target_kl, ("target",), {"gain": 0.1, "error_limit": 0.2}),
        "target_entropy": Kind(rules.target_entropy, ("target",), {"rate": 0.1}),
        "reward_gap": Kind(rules.reward_gap, (), {"sensitivity": 0.6, "momentum": 0.9}),
        "running_scale": Kind(rules.running_scale, (), {"momentum": 0.9}, of_term=True),
        "gradnorm": Kind(None, (), {"alpha": 0.0, "rate": 0.025}, of_term=True),
        "uncertainty": Kind(rules.uncertainty, (), {"rate": 0.025}, of_term=True),
    }
)

ANY_SIZE = ("low", "high", "sensitivity", "alpha")
"""Parameters that may be 0; all the others are above it."""


@dataclass(frozen=True, slots=True)
class ControllerSpec:
    """A kind of `KINDS` with all its parameters. Made by `parse_controller`, which checks them."""

    kind: str
    parameters: Mapping[str, Any]
    """`start`, `min`, `max`, those of the kind, and `metric` unless the kind watches its own term."""

    @property
    def of_term(self) -> bool:
        """Whether it can only be the weight of a term of the loss."""
        return KINDS[self.kind].of_term

    @property
    def needs_non_negative(self) -> bool:
        """Whether it is right only for terms whose value is never below 0."""
        return self.kind == "uncertainty" or (self.kind == "gradnorm" and self.parameters["alpha"] > 0)


def parse_controller(value: Mapping[str, Any]) -> ControllerSpec:
    """A controller from a table such as `{"controller": "target_kl", "start": 0.05, "min": 0.001, "max": 1.0,
    "target": 0.02, "metric": "term/kl/k1"}`. Raises ControllerError.
    """
    given = dict(value)
    name = given.pop("controller", None)
    if not isinstance(name, str) or name not in KINDS:
        raise ControllerError(f"controller: {unknown_name(name, KINDS)}")
    kind = KINDS[name]
    required = ("start", "min", "max", *kind.required, *(() if kind.of_term else ("metric",)))
    known = (*required, *kind.optional)
    for key in given:
        if key not in known:
            raise ControllerError(f"{name}: {unknown_name(key, known)}")
    for key in required:
        if key not in given:
            raise ControllerError(f"{name}: {key!r} is missing; it takes {', '.join(known)}")
    for key, number in given.items():
        _check_value(name, key, number)
    parameters = {**kind.optional, **given}
    _check_bounds(name, parameters)
    if name == "threshold":
        _check_thresholds(parameters)
    return ControllerSpec(name, MappingProxyType(parameters))


def is_controller(value: object) -> bool:
    """Whether a value is written as a controller: a table with the key `controller`."""
    return isinstance(value, Mapping) and "controller" in value


def check_places(specs: Mapping[str, ControllerSpec], non_negative: Collection[str]) -> None:
    """Raises ControllerError for the first controller that cannot stand in its place.

    specs: by place, `terms.<name>.weight` and others. non_negative: names of the terms whose value is never below 0.
    """
    for place, spec in specs.items():
        term = term_of(place)
        if spec.of_term and (term is None or place != f"terms.{term}.weight"):
            raise ControllerError(
                f"{place}: {spec.kind} weighs a term by the term's own value, so it can only be the weight of a term of"
                " the loss; take 'threshold', 'target_kl' or another that names a metric"
            )
        if spec.needs_non_negative and term not in non_negative:
            mend = "leave alpha at 0" if spec.kind == "gradnorm" else "take 'running_scale' or 'gradnorm' with alpha 0"
            raise ControllerError(
                f"{place}: {spec.kind} is only for terms that are never negative, and {term!r} is not known to be one of"
                f" them: below 0 its weight would grow without end; {mend}, or say non_negative = true of a function of"
                " your own that never is"
            )
    balanced = [place for place, spec in specs.items() if spec.kind == "gradnorm"]
    if len(balanced) == 1:
        raise ControllerError(f"{balanced[0]}: gradnorm balances terms with each other; give it to two terms or more")


def term_of(place: str) -> str | None:
    """The term that a place such as `terms.kl.weight` belongs to."""
    parts = place.split(".")
    return parts[1] if parts[0] == "terms" and len(parts) > 2 else None


def _check_value(kind: str, key: str, value: Any) -> None:
    if key == "metric":
        if not isinstance(value, str) or "/" not in value:
            raise ControllerError(f"{kind}: metric must be a name such as 'term/kl/k1', not {value!r}")
        return
    if not is_finite_number(value):
        raise ControllerError(f"{kind}: {key} must be a finite number, not {value!r}")
    if key in (*ANY_SIZE, "start", "min", "max"):
        if key == "alpha" and not 0 <= value <= 10:
            raise ControllerError(f"{kind}: alpha must be between 0 and 10, not {value!r}")
    elif key == "target" and kind == "target_entropy":
        return
    elif value <= 0 or (key == "momentum" and value >= 1):
        between = "above 0 and below 1" if key == "momentum" else "above 0"
        raise ControllerError(f"{kind}: {key} must be {between}, not {value!r}")


def _check_bounds(kind: str, parameters: Mapping[str, Any]) -> None:
    least, start, most = (parameters[key] for key in ("min", "start", "max"))
    if not least <= start <= most:
        raise ControllerError(f"{kind}: start {start!r} must be between min {least!r} and max {most!r}")
    if kind == "threshold" and least * most <= 0:
        raise ControllerError(f"threshold: min {least!r} and max {most!r} must have the same sign: factors never pass 0")
    if kind != "threshold" and least <= 0:
        raise ControllerError(f"{kind}: min must be above 0, not {least!r}")


def _check_thresholds(parameters: Mapping[str, Any]) -> None:
    low, high = parameters["low"], parameters["high"]
    if low is None and high is None:
        raise ControllerError("threshold: give low, high or both: outside of them the value moves")
    if low is not None and high is not None and low > high:
        raise ControllerError(f"threshold: low {low!r} must not be above high {high!r}")
