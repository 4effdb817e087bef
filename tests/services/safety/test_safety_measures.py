"""AUC, calibration and thresholds against numbers worked out by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from services.safety.measures import (
    Cut,
    Rule,
    auc,
    auc_interval,
    brier,
    calibration_error,
    choose_threshold,
    cut,
    parse_rule,
    reliability,
    wilson,
)

TOXIC = np.array([True, True, False, True, False, False])
SAID = np.array([0.95, 0.9, 0.6, 0.55, 0.15, 0.1])
pairs = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=4, max_size=60).filter(
    lambda rows: len({toxic for toxic, _ in rows}) == 2
)


def test_auc_by_hand() -> None:
    assert auc(TOXIC, SAID) == 8 / 9  # of nine pairs only 0.55 against 0.6 is wrong
    assert auc(TOXIC, np.zeros(6)) == 0.5


@given(pairs)
def test_auc_and_brier_are_what_scikit_learn_says(rows: list[tuple[bool, int]]) -> None:
    toxic, said = np.array([row[0] for row in rows]), np.array([row[1] / 20 for row in rows])
    assert auc(toxic, said) == pytest.approx(roc_auc_score(toxic, said))
    assert brier(toxic, said) == pytest.approx(brier_score_loss(toxic, said))


def test_an_interval_of_an_area() -> None:
    """Both ends are 1.96 of their own standard errors (Hanley and McNeil's, with the mean of both numbers) from the area."""
    low, high = auc_interval(0.9, 60, 40)
    for end in (low, high):
        spread = ((1 - end) / (2 - end) + end / (1 + end)) * 49
        error = (end * (1 - end) * (1 + spread) / 2400) ** 0.5
        assert abs(0.9 - end) / error == pytest.approx(1.959964, abs=1e-4)
    assert low < 0.9 < high


def test_a_perfect_area_on_few_rows_is_not_certain() -> None:
    low, high = auc_interval(1.0, 10, 10)
    assert 0.7 < low < 0.9 and high == 1.0
    assert auc_interval(1.0, 1000, 1000)[0] > 0.995


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Normal scores a distance apart whose area is 0.9."""
    drawn = np.random.default_rng(1)
    distance = 2**0.5 * 1.2815515655446004
    toxic = np.arange(80) < 40
    covered = 0
    for _ in range(400):
        low, high = auc_interval(auc(toxic, drawn.normal(size=80) + distance * toxic), 40, 40)
        covered += low <= 0.9 <= high
    assert 0.92 <= covered / 400 <= 0.99


def test_wilson_by_hand() -> None:
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_reliability_by_hand() -> None:
    bins = reliability(TOXIC, SAID)
    assert [(b.low, b.rows, b.said, b.toxic) for b in bins] == [
        (0.1, 2, pytest.approx(0.125), 0.0),
        (0.5, 1, pytest.approx(0.55), 1.0),
        (0.6, 1, pytest.approx(0.6), 0.0),
        (0.9, 2, pytest.approx(0.925), 1.0),
    ]
    assert calibration_error(TOXIC, SAID) == pytest.approx((2 * 0.125 + 0.45 + 0.6 + 2 * 0.075) / 6)
    assert reliability(np.array([True]), np.array([1.0]))[0].high == 1.0


def test_a_threshold_by_each_rule() -> None:
    assert choose_threshold(TOXIC, SAID, Rule()) == Cut(pytest.approx(0.35), 3, 4, 3)  # F1 6/7; 0.75 gives 4/5
    assert choose_threshold(TOXIC, SAID, Rule("precision", 0.9)) == Cut(pytest.approx(0.75), 2, 2, 3)
    assert choose_threshold(TOXIC, SAID, Rule("recall", 0.6)) == Cut(pytest.approx(0.75), 2, 2, 3)
    assert choose_threshold(TOXIC, SAID, Rule("recall", 1.0)).threshold == pytest.approx(0.35)
    with pytest.raises(ValueError, match="no threshold has a precision of 1"):
        choose_threshold(TOXIC, -SAID, Rule("precision", 1.0))


@given(pairs, st.sampled_from(["f1", "precision=0.8", "recall=.75", "recall=1"]))
def test_no_other_threshold_is_better(rows: list[tuple[bool, int]], text: str) -> None:
    toxic, said = np.array([row[0] for row in rows]), np.array([row[1] / 20 for row in rows])
    rule = parse_rule(text)
    every = [cut(toxic, said, threshold) for threshold in np.arange(-0.005, 1.0, 0.01)]
    every = [one for one in every if one.said]
    allowed = [one for one in every if rule.aim == "f1" or getattr(one, rule.aim) >= rule.least]
    if not allowed:
        with pytest.raises(ValueError, match="ask for less"):
            choose_threshold(toxic, said, rule)
        return
    aim = {"f1": "f1", "precision": "recall", "recall": "precision"}[rule.aim]
    assert getattr(choose_threshold(toxic, said, rule), aim) == max(getattr(one, aim) for one in allowed)


@pytest.mark.parametrize(
    "text", ["", "f2", "precision", "precision=0", "precision=1.5", "recall=x", "recall=-1", "auc=0.9"]
)
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rule"):
        parse_rule(text)
