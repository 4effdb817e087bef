"""The curves that a schedule can follow, each a pure function of the optimizer step.

A curve that spans `steps` optimizer steps has its `start` at the first of them and exactly its `end` at the last; from
there on it stays at `end`. Without `steps` it spans the whole run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType


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
    return _blend(start, end, _half_wave(_progress(step, steps or total_steps)))


def exponential(step: int, total_steps: int, *, start: float, end: float, steps: int | None = None) -> float:
    """`start * (end / start) ** progress`: the same factor at every step. Both ends have the same sign, none is 0."""
    progress = _progress(step, steps or total_steps)
    return end if progress == 1.0 else start * (end / start) ** progress


def polynomial(
    step: int, total_steps: int, *, start: float, end: float, power: float, steps: int | None = None
) -> float:
    """`end + (start - end) * (1 - progress) ** power`: above power 1 it is fast at first, below 1 at last."""
    return _blend(start, end, 1.0 - (1.0 - _progress(step, steps or total_steps)) ** power)


def warmup(step: int, total_steps: int, *, end: float, steps: int, start: float = 0.0) -> float:
    """A straight line that has left `start` at step 0 already and reaches `end` at step `steps - 1`; then `end`.

    For learning rates: with the default `start` no step is spent on a rate of 0.
    """
    return _blend(start, end, min(1.0, (step + 1) / steps))


def warmup_hold_decay(
    step: int,
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int,
    hold_steps: int,
    start: float = 0.0,
    end: float = 0.0,
    decay: str = "cosine",
    steps: int | None = None,
) -> float:
    """Climbs like `warmup` to `peak`, stays there for `hold_steps` more, falls to `end` at step `steps - 1`.

    decay: `linear` or `cosine`.
    Raises ScheduleError where no step is left for the decay.
    """
    spanned = steps or total_steps
    last_high = max(0, warmup_steps + hold_steps - 1)
    if last_high >= spanned - 1:
        raise ScheduleError(
            f"warmup_hold_decay: warmup_steps {warmup_steps} and hold_steps {hold_steps} leave none of {spanned} steps for"
            " the decay; make them smaller, or take 'warmup'"
        )
    if step < warmup_steps:
        return _blend(start, peak, (step + 1) / warmup_steps)
    if step <= last_high:
        return peak
    progress = min(1.0, (step - last_high) / (spanned - 1 - last_high))
    return _blend(peak, end, progress if decay == "linear" else _half_wave(progress))


def cyclic(step: int, total_steps: int, *, start: float, end: float, period: int, shape: str = "triangle") -> float:
    """From `start` to `end` and back, again and again, `period` steps each time (Smith 2017, cyclical learning rates).

    shape: `triangle`, straight lines, or `cosine`, a whole wave. An odd period passes `end` between two steps.
    """
    progress = 1.0 - abs(1.0 - 2.0 * (step % period) / period)
    return _blend(start, end, progress if shape == "triangle" else _half_wave(progress))


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


SHAPES: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        shape.__name__: shape
        for shape in (
            constant,
            linear,
            cosine,
            exponential,
            polynomial,
            warmup,
            warmup_hold_decay,
            cyclic,
            phases,
            piecewise,
        )
    }
)


def _progress(step: int, steps: int) -> float:
    return min(1.0, step / (steps - 1)) if steps > 1 else 1.0


def _half_wave(progress: float) -> float:
    return (1.0 - math.cos(math.pi * progress)) / 2.0


def _blend(start: float, end: float, progress: float) -> float:
    return end if progress == 1.0 else start + (end - start) * progress
