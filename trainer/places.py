"""The places of a job file where a number may move, and what may stand in each.

A place is named by where it is: `terms.kl.weight`, `terms.dpo.kwargs.beta`, `rewards.math/correctness`,
`rewards.code.code/tests` (a weight of the domain `code` alone), `data.max_difficulty`, `optim.learning_rate_factor`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from trainer.controller_spec import ControllerError, ControllerSpec, check_places, is_controller, parse_controller
from trainer.finite import is_finite_number
from trainer.moving import is_moving, parse_moving
from trainer.names import unknown_name
from trainer.schedules import parse_schedule

METRICS: Mapping[str, tuple[str, ...]] = {
    "rollout": ("length", "given", "truncated", "left_out", "staleness", "staleness_mean"),
    "group": ("count", "zero_signal", "filtered", "dropped", "dropped_completions", "resampled", "quality", "mixed", "difficulty"),
    "loss": ("total", "score_gradient_norm"),
    "optim": ("learning_rate", "gradient_norm", "skipped"),
    "mismatch": (
        *("kl", "kl_k3", "difference_max", "clipped", "lost"),
        *("ratio_p01", "ratio_p50", "ratio_p99", "ratio_max", "sequence_ratio_min", "sequence_ratio_max"),
    ),
    "batch": ("tokens", "sequences", "segments", "groups", "pairs", "dropped_tokens"),
}
"""The metrics of a step that every job has, by what they begin with."""

METRIC_AREAS = ("term", "reward", *METRICS, "cosine", "domain")
"""What the metrics of a step begin with."""


def _check_kind(value: Any) -> Any:
    """Refuses what is neither, in one line: pydantic would tell what it lacks to be the one, and what to be the other."""
    if not is_finite_number(value) and not isinstance(value, dict):
        raise ValueError('must be a finite number or a table such as { schedule = "linear", start = 1.0, end = 0.1 }')
    return value


def _check_schedule(value: float | dict[str, Any]) -> float | dict[str, Any]:
    if is_controller(value):
        raise ControllerError(
            "a controller cannot stand here; give one to optim.learning_rate_factor, which multiplies"
        )
    parse_schedule(value)
    return value


def _check_moving(value: float | dict[str, Any]) -> float | dict[str, Any]:
    parse_moving(value)
    return value


def _check_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    for name, value in arguments.items():
        if is_moving(value):
            try:
                parse_moving(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return arguments


Scheduled = Annotated[float | dict[str, Any], BeforeValidator(_check_kind), AfterValidator(_check_schedule)]
"""A number, or a schedule as a table: `{ schedule = "linear", start = 0.0, end = 0.02, steps = 200 }`."""

Moves = Annotated[float | dict[str, Any], BeforeValidator(_check_kind), AfterValidator(_check_moving)]
"""A number, a schedule, or a controller as a table: `{ controller = "target_kl", start = 0.05, target = 0.02, ... }`."""

Arguments = Annotated[dict[str, Any], AfterValidator(_check_arguments)]
"""Keyword arguments, of which those that are numbers may move."""


def check_controllers(
    places: Mapping[str, Any], *, terms: Collection[str], non_negative: Collection[str], scorers: Collection[str]
) -> None:
    """Raises ControllerError for a controller that cannot stand in its place, or that watches what will never be there.

    places: what is written at each place. terms: names of the terms. non_negative: of those that are never below 0.
    scorers: names of the job's scorers.
    """
    specs = {place: parse_controller(value) for place, value in places.items() if is_controller(value)}
    check_places(specs, non_negative)
    for place, spec in specs.items():
        if not spec.of_term:
            _check_metric(place, spec, terms, scorers)


def _check_metric(place: str, spec: ControllerSpec, terms: Collection[str], scorers: Collection[str]) -> None:
    area, name, *_ = spec.parameters["metric"].split("/")
    where = f"{place}: metric {spec.parameters['metric']!r}"
    if area not in METRIC_AREAS:
        raise ControllerError(f"{where}: {unknown_name(area, METRIC_AREAS)}")
    rest = spec.parameters["metric"].removeprefix(f"{area}/")
    if area in METRICS and rest not in METRICS[area]:
        raise ControllerError(f"{where}: of {area}, {unknown_name(rest, METRICS[area])}")
    if area == "term" and name not in terms:
        raise ControllerError(f"{where}: of the terms, {unknown_name(name, sorted(terms))}")
    if area == "reward" and name != "total" and name not in scorers:
        raise ControllerError(f"{where}: of the scorers, {unknown_name(name, ('total', *sorted(scorers)))}")
