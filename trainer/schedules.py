"""Numbers that move during training, as pure functions of the optimizer step.

A schedule keeps no state, so a resumed run reads the same values as an uninterrupted one. Steps count from 0. The curves
are in `trainer/schedule_shapes.py`; a name with a dot is the import path of a user's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from trainer.finite import is_finite_number
from trainer.imports import ImportPathError, load_function
from trainer.names import unknown_name
from trainer.schedule_shapes import SHAPES, ScheduleError

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"decay": ("linear", "cosine"), "shape": ("triangle", "cosine")}
)
"""Parameters that are words."""

LEAST: Mapping[str, int] = MappingProxyType({"steps": 1, "warmup_steps": 0, "hold_steps": 0, "period": 2})
"""Parameters that are whole numbers, and the smallest of each."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A curve of `SHAPES`, or a user's function, with its parameters. Made by `parse_schedule`."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, step: int, total_steps: int) -> float:
        """The value at `step` of `total_steps` (0 <= step < total_steps; later steps keep the last value).

        A user's module is imported at the first call. Raises ScheduleError where its function cannot be had, cannot be
        called so, or returns something else than a finite number.
        """
        if self.kind in SHAPES:
            return float(SHAPES[self.kind](step, total_steps, **self.parameters))
        function = _user_function(self.kind, tuple(self.parameters))
        try:
            value = function(step, total_steps, **self.parameters)
        except Exception as error:  # whatever a user's code raises
            raise ScheduleError(f"schedule {self.kind!r}: {type(error).__name__}: {error}, at step {step}") from error
        if not is_finite_number(value):
            raise ScheduleError(
                f"schedule {self.kind!r}: it returned {value!r} at step {step} of {total_steps}; return a finite number"
            )
        return float(value)


def parse_schedule(value: float | Mapping[str, Any] | Schedule) -> Schedule:
    """A schedule from a number, or from a table such as `{"schedule": "linear", "start": 0.0, "end": 0.02}`.

    A user's function, `{"schedule": "my_package.my_module.function", ...}`, is called with the step, the number of steps
    and the other keys of the table; it is not imported here. Raises ScheduleError.
    """
    if isinstance(value, Schedule):
        return value
    if is_finite_number(value):
        return Schedule("constant", MappingProxyType({"value": float(value)}))  # pyright: ignore[reportArgumentType]
    if not isinstance(value, Mapping):
        raise ScheduleError(f"a schedule is a finite number or a table with the key 'schedule', not {value!r}")
    parameters = dict(value)
    if "schedule" not in parameters:
        raise ScheduleError(f"a schedule's table needs the key 'schedule'; known: {', '.join(SHAPES)}")
    kind = parameters.pop("schedule")
    if isinstance(kind, str) and "." in kind:
        return Schedule(kind, MappingProxyType(parameters))
    if not isinstance(kind, str) or kind not in SHAPES:
        raise ScheduleError(
            f"schedule: {unknown_name(kind, SHAPES)}; a function of your own is named package.module.function"
        )
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


@functools.cache
def _user_function(path: str, names: tuple[str, ...]) -> Callable[..., Any]:
    try:
        function = load_function(path)
    except ImportPathError as error:
        raise ScheduleError(f"schedule: {error}") from error
    try:
        inspect.signature(function).bind(0, 1, **dict.fromkeys(names))
    except (TypeError, ValueError) as error:
        raise ScheduleError(
            f"schedule {path!r}: {error}; it is called as function(step, total_steps"
            + "".join(f", {name}=..." for name in names)
            + ")"
        ) from None
    return function


def _check_keys(kind: str, parameters: Mapping[str, Any]) -> None:
    known = [p for p in inspect.signature(SHAPES[kind]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    names = [p.name for p in known]
    for key in parameters:
        if key not in names:
            raise ScheduleError(f"{kind}: {unknown_name(key, names)}")
    for parameter in known:
        if parameter.default is parameter.empty and parameter.name not in parameters:
            raise ScheduleError(f"{kind}: {parameter.name!r} is missing; it takes {', '.join(names)}")


def _check_value(kind: str, key: str, value: Any) -> None:
    if key in LEAST:
        if isinstance(value, bool) or not isinstance(value, int) or value < LEAST[key]:
            raise ScheduleError(f"{kind}: {key} must be a whole number of at least {LEAST[key]}, not {value!r}")
    elif key in CHOICES:
        if value not in CHOICES[key]:
            raise ScheduleError(f"{kind}: {key} must be one of {', '.join(CHOICES[key])}, not {value!r}")
    elif key in ("phases", "points"):
        _check_pairs(kind, key, value)
    elif not is_finite_number(value):
        raise ScheduleError(f"{kind}: {key} must be a finite number, not {value!r}")
    elif key == "power" and value <= 0:
        raise ScheduleError(f"{kind}: power must be above 0, not {value!r}; 1 is a straight line")


def _check_pairs(kind: str, key: str, pairs: Any) -> None:
    is_list = isinstance(pairs, (list, tuple)) and len(pairs) > 0
    if not is_list or not all(
        isinstance(p, (list, tuple)) and len(p) == 2 and all(is_finite_number(x) for x in p) for p in pairs
    ):
        raise ScheduleError(f"{kind}: {key} must be a list of pairs of finite numbers, not {pairs!r}")
    places = [place for place, _ in pairs]
    if places != sorted(set(places)) or places[0] < 0:
        raise ScheduleError(f"{kind}: the first numbers of {key} must be 0 or more and grow, not {places!r}")
    if key == "phases" and places[-1] != 1:
        raise ScheduleError(f"phases: the last fraction must be 1.0, not {places[-1]!r}: it says where the run ends")
