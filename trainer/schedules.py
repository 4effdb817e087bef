"""Numbers that move during training, as pure functions of the optimizer step.

A schedule keeps no state, so a resumed run reads the same values as an uninterrupted one. Steps count from 0. A schedule
that spans `steps` optimizer steps has its `start` at the first of them and exactly its `end` at the last; from there on
it stays at `end`. Without `steps` it spans the whole run.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from trainer.names import unknown_name


class ScheduleError(ValueError):
    """A schedule that cannot be; the message names the key, the value and what would be right."""


def constant(step: int, total_steps: int, *, value: float) -> float:
    """`value` at every step."""
    return value


def linear(step: int, total_steps: int, *, start: float, end: float, steps: int | None = None) -> float:
    """A straight line from `start` to `end`."""
    return _blend(start, end, _progress(step, steps or total_steps))


def cosine(step: int, total_steps: int, *, start: float, end: float, steps: int | None = None) -> float:
    """Half a cosine wave from `start` to `end` (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts)."""
    progress = _progress(step, steps or total_steps)
    return _blend(start, end, (1.0 - math.cos(math.pi * progress)) / 2.0)


def exponential(step: int, total_steps: int, *, start: float, end: float, steps: int | None = None) -> float:
    """`start * (end / start) ** progress`: the same factor at every step. Both ends have the same sign, none is 0."""
    progress = _progress(step, steps or total_steps)
    return end if progress == 1.0 else start * (end / start) ** progress


def warmup(step: int, total_steps: int, *, end: float, steps: int, start: float = 0.0) -> float:
    """A straight line that has left `start` at step 0 already and reaches `end` at step `steps - 1`; then `end`.

    For learning rates: with the default `start` no step is spent on a rate of 0.
    """
    return _blend(start, end, min(1.0, (step + 1) / steps))


def phases(step: int, total_steps: int, *, phases: list[list[float]]) -> float:
    """`[[fraction, value], ...]`: each value holds until its fraction of the run is over; the last fraction is 1."""
    for fraction, value in phases:
        # Rounding takes off the noise of products like 0.07 * 100 = 7.000000000000001, which would shift a phase.
        if step < round(fraction * total_steps, 6):
            return value
    return phases[-1][1]


def piecewise(step: int, total_steps: int, *, points: list[list[float]]) -> float:
    """`[[step, value], ...]`: straight lines between the points, constant before the first and after the last."""
    if step <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in itertools.pairwise(points):
        if step < right:
            return _blend(low, high, (step - left) / (right - left))
    return points[-1][1]


SCHEDULES: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "constant": constant,
        "linear": linear,
        "cosine": cosine,
        "exponential": exponential,
        "warmup": warmup,
        "phases": phases,
        "piecewise": piecewise,
    }
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A named function of `SCHEDULES` with its parameters. Made by `parse_schedule`, which checks them."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, step: int, total_steps: int) -> float:
        """The value at `step` of `total_steps` (0 <= step < total_steps; later steps keep the last value)."""
        return float(SCHEDULES[self.kind](step, total_steps, **self.parameters))


def parse_schedule(value: float | Mapping[str, Any] | Schedule) -> Schedule:
    """A schedule from a number, or from a table such as `{"schedule": "linear", "start": 0.0, "end": 0.02}`.

    Raises ScheduleError.
    """
    if isinstance(value, Schedule):
        return value
    if _is_number(value):
        return Schedule("constant", MappingProxyType({"value": float(value)}))  # pyright: ignore[reportArgumentType]
    if not isinstance(value, Mapping):
        raise ScheduleError(f"a schedule is a finite number or a table with the key 'schedule', not {value!r}")
    parameters = dict(value)
    if "schedule" not in parameters:
        raise ScheduleError(f"a schedule's table needs the key 'schedule'; known: {', '.join(SCHEDULES)}")
    kind = parameters.pop("schedule")
    if not isinstance(kind, str) or kind not in SCHEDULES:
        raise ScheduleError(f"schedule: {unknown_name(kind, SCHEDULES)}")
    _check_keys(kind, parameters)
    for key, given in parameters.items():
        _check_value(kind, key, given)
    if kind == "exponential" and not parameters["start"] * parameters["end"] > 0:
        raise ScheduleError(
            f"exponential: start {parameters['start']!r} and end {parameters['end']!r} must have the same sign and not"
            " be 0; to reach 0 take 'linear' or 'cosine'"
        )
    return Schedule(kind, MappingProxyType(parameters))


def is_schedule(value: object) -> bool:
    """Whether a value is written as a schedule: a table with the key `schedule`."""
    return isinstance(value, Mapping) and "schedule" in value


def _check_keys(kind: str, parameters: Mapping[str, Any]) -> None:
    known = [p for p in inspect.signature(SCHEDULES[kind]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    names = [p.name for p in known]
    for key in parameters:
        if key not in names:
            raise ScheduleError(f"{kind}: {unknown_name(key, names)}")
    for parameter in known:
        if parameter.default is parameter.empty and parameter.name not in parameters:
            raise ScheduleError(f"{kind}: {parameter.name!r} is missing; it takes {', '.join(names)}")


def _check_value(kind: str, key: str, value: Any) -> None:
    if key == "steps":
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ScheduleError(f"{kind}: steps must be a whole number of at least 1, not {value!r}")
    elif key in ("phases", "points"):
        _check_pairs(kind, key, value)
    elif not _is_number(value):
        raise ScheduleError(f"{kind}: {key} must be a finite number, not {value!r}")


def _check_pairs(kind: str, key: str, pairs: Any) -> None:
    is_list = isinstance(pairs, (list, tuple)) and len(pairs) > 0
    if not is_list or not all(
        isinstance(p, (list, tuple)) and len(p) == 2 and all(_is_number(x) for x in p) for p in pairs
    ):
        raise ScheduleError(f"{kind}: {key} must be a list of pairs of finite numbers, not {pairs!r}")
    places = [place for place, _ in pairs]
    if places != sorted(set(places)) or places[0] < 0:
        raise ScheduleError(f"{kind}: the first numbers of {key} must be 0 or more and grow, not {places!r}")
    if key == "phases" and places[-1] != 1:
        raise ScheduleError(f"phases: the last fraction must be 1.0, not {places[-1]!r}: it says where the run ends")


def _progress(step: int, steps: int) -> float:
    return min(1.0, step / (steps - 1)) if steps > 1 else 1.0


def _blend(start: float, end: float, progress: float) -> float:
    return end if progress == 1.0 else start + (end - start) * progress


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
