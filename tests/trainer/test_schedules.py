"""Schedules: hand-computed values, exact ends, and errors that name what is wrong."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.schedules import ScheduleError, parse_schedule

finite = st.floats(-1e6, 1e6, allow_nan=False)


def values(table, total_steps, steps=None):
    schedule = parse_schedule(table)
    return [schedule(step, total_steps) for step in (range(total_steps) if steps is None else steps)]


def test_a_number_is_a_constant():
    assert values(0.3, 3) == [0.3, 0.3, 0.3]
    assert values({"schedule": "constant", "value": 2}, 2) == [2.0, 2.0]


def test_linear_over_five_steps():
    assert values({"schedule": "linear", "start": 1.0, "end": 3.0}, 5) == [1.0, 1.5, 2.0, 2.5, 3.0]


def test_linear_holds_its_end_after_its_own_steps():
    assert values({"schedule": "linear", "start": 0.0, "end": 1.0, "steps": 3}, 5) == [0.0, 0.5, 1.0, 1.0, 1.0]


def test_cosine_is_at_half_height_in_the_middle_and_at_a_quarter_turn():
    seen = values({"schedule": "cosine", "start": 2.0, "end": 0.0}, 5)
    assert seen[0] == 2.0 and seen[-1] == 0.0
    assert seen[1] == pytest.approx(1 + math.cos(math.pi / 4), abs=1e-15)
    assert seen[2] == pytest.approx(1.0, abs=1e-15)


def test_exponential_multiplies_by_the_same_factor():
    assert values({"schedule": "exponential", "start": 8.0, "end": 1.0}, 4) == pytest.approx([8, 4, 2, 1], abs=1e-12)
    assert values({"schedule": "exponential", "start": -1.0, "end": -4.0}, 3) == pytest.approx([-1, -2, -4])


def test_warmup_spends_no_step_at_zero():
    assert values({"schedule": "warmup", "end": 1.0, "steps": 4}, 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_phases_change_where_their_fraction_of_the_run_is_over():
    table = {"schedule": "phases", "phases": [[0.3, 0.0], [0.7, 0.5], [1.0, 1.0]]}
    assert values(table, 10) == [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1]


def test_phases_are_not_shifted_by_rounding_noise():
    assert 0.07 * 100 > 7
    assert values({"schedule": "phases", "phases": [[0.07, 1.0], [1.0, 2.0]]}, 100, [6, 7]) == [1.0, 2.0]


def test_piecewise_is_flat_outside_its_points():
    table = {"schedule": "piecewise", "points": [[2, 1.0], [4, 3.0], [8, 1.0]]}
    assert values(table, 12) == [1, 1, 1, 2, 3, 2.5, 2, 1.5, 1, 1, 1, 1]


@given(finite, finite, st.integers(1, 400), st.sampled_from(["linear", "cosine"]))
def test_ends_are_exact_and_values_stay_between_them(start, end, steps, kind):
    schedule = parse_schedule({"schedule": kind, "start": start, "end": end})
    assert schedule(steps - 1, steps) == end
    assert steps == 1 or schedule(0, steps) == start
    assert schedule(steps + 5, steps) == end
    low, high = min(start, end), max(start, end)
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    assert all(low - slack <= schedule(step, steps) <= high + slack for step in range(steps))


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 100))
def test_exponential_ends_exactly_at_its_end(start, end, steps):
    schedule = parse_schedule({"schedule": "exponential", "start": start, "end": end})
    assert schedule(0, steps) == start
    assert schedule(steps - 1, steps) == end


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("linear", "finite number or a table"),
        (True, "finite number or a table"),
        (float("nan"), "finite number or a table"),
        ({"start": 1.0}, "needs the key 'schedule'; known: constant, linear"),
        ({"schedule": ["linear"], "start": 1.0}, "unknown name ['linear']"),
        ({"schedule": "liner", "start": 1, "end": 2}, "did you mean 'linear'"),
        ({"schedule": "linear", "start": 1}, "'end' is missing; it takes start, end, steps"),
        ({"schedule": "linear", "start": 1, "end": 2, "step": 4}, "did you mean 'steps'"),
        ({"schedule": "linear", "start": "0", "end": 2}, "start must be a finite number, not '0'"),
        ({"schedule": "linear", "start": 0, "end": float("inf")}, "end must be a finite number"),
        ({"schedule": "linear", "start": 0, "end": 1, "steps": 0}, "whole number of at least 1, not 0"),
        ({"schedule": "warmup", "end": 1, "steps": 2.5}, "whole number of at least 1, not 2.5"),
        ({"schedule": "exponential", "start": 1.0, "end": 0.0}, "take 'linear' or 'cosine'"),
        ({"schedule": "exponential", "start": 1.0, "end": -1.0}, "same sign"),
        ({"schedule": "phases", "phases": []}, "list of pairs"),
        ({"schedule": "phases", "phases": [[0.5, 1.0]]}, "last fraction must be 1.0, not 0.5"),
        ({"schedule": "phases", "phases": [[0.5, 1.0], [0.5, 2.0], [1.0, 3.0]]}, "must be 0 or more and grow"),
        ({"schedule": "piecewise", "points": [[3, 1.0], [1, 2.0]]}, "must be 0 or more and grow"),
        ({"schedule": "piecewise", "points": [[1, 2, 3]]}, "list of pairs"),
    ],
)
def test_a_bad_schedule_says_what_is_wrong(table, said):
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(table)
    assert said in str(caught.value)
