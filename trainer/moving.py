"""A number of the job file that may move: a schedule, which follows the step, or a controller, which follows a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer.controller_spec import is_controller, parse_controller
from trainer.controllers import Controller
from trainer.schedule_shapes import ScheduleError
from trainer.schedules import Schedule, is_schedule, parse_schedule

Moving = Schedule | Controller
"""Both are called as `moving(step, total_steps) -> float`."""

SAMPLED_STEPS = 1000
"""How many steps of a long schedule are looked at before a run."""


def parse_moving(value: float | Mapping[str, Any] | Moving) -> Moving:
    """A schedule or a controller from a number or a table; one that is made already is given back as it is.

    Every controller made here has a state of its own. Raises ScheduleError, ControllerError.
    """
    if isinstance(value, (Schedule, Controller)):
        return value
    return Controller(parse_controller(value)) if is_controller(value) else parse_schedule(value)  # pyright: ignore[reportArgumentType]


def is_moving(value: object) -> bool:
    """Whether a value is a schedule or a controller, or is written as one: a table with its key. A number is not."""
    return isinstance(value, (Schedule, Controller)) or is_schedule(value) or is_controller(value)


def moving_range(moving: Moving, total_steps: int) -> tuple[float, float]:
    """The smallest and the largest value of a run: a controller's bounds, or what a schedule has at its steps.

    Of a run of more than `SAMPLED_STEPS` steps as many are looked at: the first half of them in a row, the others evenly
    spread up to the last step.
    Imports a user's schedule. Raises ScheduleError where one cannot be had or is not finite at one of these steps.
    """
    if isinstance(moving, Controller):
        return float(moving.spec.parameters["min"]), float(moving.spec.parameters["max"])
    values = _sampled(moving, total_steps).values()
    return min(values), max(values)


def extreme_steps(schedule: Schedule, total_steps: int) -> tuple[int, int]:
    """The first steps at which a schedule has its smallest and its largest value, looked for as `moving_range` does."""
    values = _sampled(schedule, total_steps)
    return min(values, key=values.__getitem__), max(values, key=values.__getitem__)


def sampled_steps(total_steps: int) -> list[int]:
    """The steps of a run that are looked at before it, in their order: all of them, or `SAMPLED_STEPS` of a longer one."""
    last, half = max(0, total_steps - 1), SAMPLED_STEPS // 2
    if last < SAMPLED_STEPS:
        return list(range(last + 1))
    # Steps in a row too: even spacing alone could fall in with a cycle and see one of its values only.
    return sorted({*range(half), *(round(place * last / (half - 1)) for place in range(half))})


def _sampled(schedule: Schedule, total_steps: int) -> dict[int, float]:
    values = {step: schedule(step, max(1, total_steps)) for step in sampled_steps(total_steps)}
    for step, value in values.items():
        if not math.isfinite(value):
            raise ScheduleError(f"schedule {schedule.kind!r}: it is {value!r} at step {step} of {total_steps}")
    return values


def course(moving: Moving, total_steps: int) -> str:
    """What a person is told of it: `0 -> 0.01 -> 0.02 (start, middle, end)`, or what moves it between which bounds.

    Raises ScheduleError as a schedule does.
    """
    if isinstance(moving, Controller):
        parameters = moving.spec.parameters
        watched = "its own term" if moving.spec.of_term else parameters["metric"]
        bounds = f"between {parameters['min']:g} and {parameters['max']:g}"
        return f"{parameters['start']:g}, then moved {bounds} by {moving.spec.kind} of {watched}"
    last = max(0, total_steps - 1)
    values = [f"{moving(step, max(1, total_steps)):g}" for step in (0, total_steps // 2, last)]
    return values[0] if len(set(values)) == 1 else " -> ".join(values) + " (start, middle, end)"
