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
        (10**400, "finite number or a table"),
        ({"schedule": "polynomial", "start": 1, "end": 0, "power": 0}, "power must be above 0, not 0"),
        ({"schedule": "polynomial", "start": 1, "end": 0}, "'power' is missing"),
        ({"schedule": "cyclic", "start": 1, "end": 0, "period": 1}, "period must be a whole number of at least 2, not 1"),
        ({"schedule": "cyclic", "start": 1, "end": 0, "period": 4, "shape": "saw"}, "one of triangle, cosine, not 'saw'"),
        (
            {"schedule": "warmup_hold_decay", "peak": 1, "warmup_steps": -1, "hold_steps": 0},
            "warmup_steps must be a whole number of at least 0, not -1",
        ),
        (
            {"schedule": "warmup_hold_decay", "peak": 1, "warmup_steps": 1, "hold_steps": 0, "decay": "exponential"},
            "decay must be one of linear, cosine, not 'exponential'",
        ),
    ],
)
def test_a_bad_schedule_says_what_is_wrong(table, said):
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(table)
    assert said in str(caught.value)


def test_polynomial_by_hand():
    table = {"schedule": "polynomial", "start": 4.0, "end": 0.0, "power": 2}
    assert values(table, 5) == [4.0, 2.25, 1.0, 0.25, 0.0]
    assert values({**table, "power": 1}, 5) == [4.0, 3.0, 2.0, 1.0, 0.0]


def test_warmup_hold_decay_by_hand():
    table = {"schedule": "warmup_hold_decay", "peak": 1.0, "warmup_steps": 2, "hold_steps": 3, "decay": "linear"}
    assert values(table, 9) == [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert values({**table, "steps": 7}, 9) == [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0]
    waved = values({**table, "decay": "cosine", "end": 0.1}, 9)
    assert waved[6] == pytest.approx(0.55) and waved[-1] == 0.1


def test_warmup_hold_decay_may_begin_at_its_peak():
    table = {"schedule": "warmup_hold_decay", "peak": 1.0, "warmup_steps": 0, "hold_steps": 0, "decay": "linear"}
    assert values(table, 3) == [1.0, 0.5, 0.0]


def test_warmup_hold_decay_refuses_to_have_no_decay():
    schedule = parse_schedule({"schedule": "warmup_hold_decay", "peak": 1.0, "warmup_steps": 6, "hold_steps": 4})
    with pytest.raises(ScheduleError, match="leave none of 10 steps for the decay; make them smaller"):
        schedule(0, 10)
    assert schedule(10, 11) == 0.0


def test_cyclic_goes_there_and_back():
    table = {"schedule": "cyclic", "start": 0.0, "end": 2.0, "period": 4}
    assert values(table, 9) == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert values({**table, "shape": "cosine", "period": 8}, 5) == pytest.approx([0, 1 - math.sqrt(0.5), 1, 1 + math.sqrt(0.5), 2])


@given(finite, finite, st.floats(0.01, 9), st.integers(2, 300))
def test_polynomial_is_exact_at_its_ends_and_between_them(start, end, power, steps):
    schedule = parse_schedule({"schedule": "polynomial", "start": start, "end": end, "power": power})
    assert (schedule(0, steps), schedule(steps - 1, steps), schedule(steps, steps)) == (start, end, end)
    slack = 1e-9 * max(1.0, abs(start), abs(end))
    assert all(min(start, end) - slack <= schedule(s, steps) <= max(start, end) + slack for s in range(steps))


@given(finite, finite, st.integers(1, 40), st.sampled_from(["triangle", "cosine"]), st.integers(0, 1000))
def test_cyclic_repeats_to_the_bit(start, end, half, shape, step):
    schedule = parse_schedule({"schedule": "cyclic", "start": start, "end": end, "period": 2 * half, "shape": shape})
    assert schedule(step, 10) == schedule(step + 2 * half, 10)
    assert (schedule(0, 10), schedule(half, 10)) == (start, end)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(2, 60), finite, finite, st.sampled_from(["linear", "cosine"]))
def test_warmup_hold_decay_holds_and_ends_exactly(warmup_steps, hold_steps, decay_steps, peak, end, decay):
    total = max(1, warmup_steps + hold_steps) + decay_steps
    table = {"peak": peak, "end": end, "warmup_steps": warmup_steps, "hold_steps": hold_steps, "decay": decay}
    schedule = parse_schedule({"schedule": "warmup_hold_decay", **table})
    first_high = max(0, warmup_steps - 1)
    assert all(schedule(s, total) == peak for s in range(first_high, max(1, warmup_steps + hold_steps)))
    assert schedule(total - 1, total) == schedule(total + 7, total) == end


OWN = """
import math
def half(step, total_steps, high):
    return high / 2
def curve(step, total_steps):
    return math.inf if step == 3 else float(step)
def word(step, total_steps):
    return "high"
def breaks(step, total_steps):
    return 1 / 0
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module with schedules of a user's."""
    name = f"own_schedules_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_schedule_of_ones_own_is_called_with_its_parameters(own):
    assert values({"schedule": f"{own}.half", "high": 3}, 2) == [1.5, 1.5]


def test_parsing_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "loud_schedules.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    schedule = parse_schedule({"schedule": "loud_schedules.curve"})
    with pytest.raises(ScheduleError, match=r"loud_schedules cannot be imported: RuntimeError: imported$"):
        schedule(0, 1)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"schedule": ".curv"}, "must be package.module.function"),
        ({"schedule": "no_such_module_here.fn"}, "cannot be imported: ModuleNotFoundError"),
        ({"schedule": "{own}.curv"}, "did you mean 'curve'"),
        ({"schedule": "{own}.half"}, r"missing a required argument: 'high'; it is called as function\(step, total_steps\)"),
        ({"schedule": "{own}.curve", "low": 1}, r"unexpected keyword argument 'low'; .*total_steps, low=\.\.\.\)"),
        ({"schedule": "{own}.curve"}, "returned inf at step 3 of 9; return a finite number"),
        ({"schedule": "{own}.word"}, "returned 'high' at step 3"),
        ({"schedule": "{own}.breaks"}, "ZeroDivisionError: division by zero, at step 3"),
    ],
)
def test_a_schedule_of_ones_own_that_cannot_be_used(own, table, said):
    schedule = parse_schedule({**table, "schedule": table["schedule"].replace("{own}", own)})
    with pytest.raises(ScheduleError, match=said):
        schedule(3, 9)
