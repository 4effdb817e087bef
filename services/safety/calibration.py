"""Fits a head on labelled texts and measures it on rows that it has not seen.

A logistic regression on the windows' features, shrunk towards 0 by a strength that cross-validation chooses; then Platt's
scaling of its log-odds, fitted on the folds that each part was not fitted on (Platt, 1999), so that what is served are
probabilities. Isotonic regression would need some thousand rows. A text counts by its worst window in fitting the scaling as
in serving, and in proportion to its number of windows in fitting the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.safety.head import Head, HeadFacts, probabilities
from services.safety.labels import Labels
from services.safety.measures import (
    Bin,
    Cut,
    Rule,
    auc,
    auc_interval,
    brier,
    calibration_error,
    choose_threshold,
    cut,
    reliability,
)
from services.safety.windows import FEATURES, WindowReader, Windows

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Of which cross-validation chooses: scikit-learn's C, the inverse of the regularisation."""
FOLDS = 5
MIN_EACH = 20
"""Toxic and harmless texts that are needed; some hundreds of each make a head worth having."""
MIN_HELD_OUT = 5
"""Of each kind on the held-out part."""


class CalibrationError(ValueError):
    """No head can be fitted on these labels. The message says why."""


@dataclass(frozen=True)
class Fit:
    """A fitted and scaled head, and what it was chosen by."""

    weights: np.ndarray
    """float64, shape (features,)."""
    intercept: float
    strength: float
    unseen: np.ndarray
    """Probabilities of the training texts, each by a fit on other folds: float64, shape (texts,)."""


@dataclass(frozen=True)
class Calibration:
    """A head and what was measured on the held-out rows."""

    head: Head
    auc: float
    auc_interval: tuple[float, float]
    general_auc: float
    """Of the default estimate on the same rows."""
    brier: float
    base_brier: float
    """Of always saying the share of toxic rows of the training part."""
    calibration_error: float
    reliability: Sequence[Bin]
    cut: Cut


def calibrate(
    labels: Labels, held_out: float, rule: Rule, seed: int, make_reader: Callable[[], WindowReader] = WindowReader
) -> Calibration:
    """Fits on a part of the labels and measures on the rest. The same labels and seed give the same head.

    held_out: share of the texts that are measured on, drawn by `seed`, with the same share of toxic ones.
    make_reader: called once the labels are found to be enough.
    Raises CalibrationError where the labels are too few or cannot be told from the texts.
    """
    train, test = split(labels.toxic, held_out, seed)
    reader = make_reader()
    windows = reader.read(labels.texts)
    seen, unseen = windows.of(train), windows.of(test)
    found = fit(seen, labels.toxic[train], seed)
    try:
        chosen = choose_threshold(labels.toxic[train], found.unseen, rule)
    except ValueError as error:
        raise CalibrationError(str(error)) from None
    toxic = labels.toxic[test]
    facts = HeadFacts(
        features=FEATURES,
        embedding_digest=reader.embedding_digest,
        linear_digest=reader.linear_digest,
        intercept=found.intercept,
        toxic_from=chosen.threshold,
        rule=str(rule),
        strength=found.strength,
        seed=seed,
        rows={
            "fitted_toxic": int(labels.toxic[train].sum()),
            "fitted_harmless": int((~labels.toxic[train]).sum()),
            "held_out_toxic": int(toxic.sum()),
            "held_out_harmless": int((~toxic).sum()),
            "duplicates": labels.duplicates,
            "conflicting": sum(map(len, labels.conflicts)),
        },
        figures={},
    )
    said = probabilities(unseen, found.weights, found.intercept)
    area = auc(toxic, said)
    interval = auc_interval(area, int(toxic.sum()), int((~toxic).sum()))
    done = cut(toxic, said, chosen.threshold)
    figures = {
        "auc": area,
        "auc_low": interval[0],
        "auc_high": interval[1],
        "brier": brier(toxic, said),
        "calibration_error": calibration_error(toxic, said),
        "precision": done.precision,
        "recall": done.recall,
    }
    return Calibration(
        Head(found.weights, facts.model_copy(update={"figures": figures})),
        area,
        interval,
        auc(toxic, unseen.worst(unseen.general, 0.0)),
        figures["brier"],
        brier(toxic, np.full(len(toxic), labels.toxic[train].mean())),
        figures["calibration_error"],
        reliability(toxic, said),
        done,
    )


def split(toxic: np.ndarray, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the texts to fit on and of those to measure on, each ascending; both have the same share of toxic ones.

    Raises CalibrationError where there are too few of a kind.
    """
    counts = int(toxic.sum()), int((~toxic).sum())
    if min(counts) < MIN_EACH:
        raise CalibrationError(f"{counts[0]} toxic and {counts[1]} harmless texts; {MIN_EACH} of each are needed")
    drawn = np.random.default_rng(seed)
    test = []
    for kind, count in zip((toxic, ~toxic), counts, strict=True):
        taken = round(held_out * count)
        if not MIN_HELD_OUT <= taken <= count - FOLDS:
            raise CalibrationError(
                f"holding out {held_out:g} of {count} texts of a kind leaves {taken} to measure on and {count - taken} to"
                f" fit on; at least {MIN_HELD_OUT} and {FOLDS} are needed"
            )
        test.append(drawn.permutation(np.flatnonzero(kind))[:taken])
    held = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(toxic)), held), held


def fit(windows: Windows, toxic: np.ndarray, seed: int) -> Fit:
    """Fits weights and scaling. toxic: bool, shape (windows.count,), at least FOLDS of each kind.

    Raises CalibrationError where what the texts say does not go with the labels at all.
    """
    folds = _folds(toxic, seed)
    odds = {strength: _unseen_odds(windows, toxic, folds, strength) for strength in STRENGTHS}
    strength = min(STRENGTHS, key=lambda each: _log_loss(toxic, odds[each]))
    slope, offset = _platt(odds[strength], toxic)
    if slope <= 0:
        raise CalibrationError("the labels cannot be told from the texts at all; is the right column the label?")
    weights, intercept = _regression(windows, toxic, strength)
    unseen = 1.0 / (1.0 + np.exp(-(slope * odds[strength] + offset)))
    return Fit(slope * weights, slope * intercept + offset, strength, unseen)


def _folds(toxic: np.ndarray, seed: int) -> np.ndarray:
    """Which fold each text is in: int, shape (texts,), each kind spread evenly."""
    drawn = np.random.default_rng(seed)
    fold = np.empty(len(toxic), dtype=int)
    for kind in (toxic, ~toxic):
        places = drawn.permutation(np.flatnonzero(kind))
        fold[places] = np.arange(len(places)) % FOLDS
    return fold


def _unseen_odds(windows: Windows, toxic: np.ndarray, folds: np.ndarray, strength: float) -> np.ndarray:
    """Log-odds of each text by a fit on the other folds: shape (texts,)."""
    odds = np.empty(len(toxic))
    for fold in range(FOLDS):
        others, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        weights, intercept = _regression(windows.of(others), toxic[others], strength)
        part = windows.of(own)
        odds[own] = part.worst(part.features @ weights + intercept, 0.0)
    return odds


def _regression(windows: Windows, toxic: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    share = 1.0 / np.bincount(windows.text, minlength=windows.count)[windows.text]
    model = LogisticRegression(C=strength, max_iter=5000)
    model.fit(windows.features, toxic[windows.text], sample_weight=share)
    return np.asarray(model.coef_)[0], float(np.asarray(model.intercept_)[0])


def _log_loss(toxic: np.ndarray, odds: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0.0, np.where(toxic, -odds, odds))))


def _platt(odds: np.ndarray, toxic: np.ndarray) -> tuple[float, float]:
    """Slope and offset of Platt's scaling, with his targets: (n + 1) / (n + 2) of n toxic texts, 1 / (n + 2) of n harmless."""
    from sklearn.linear_model import LogisticRegression

    bad, good = int(toxic.sum()), int((~toxic).sum())
    target = np.where(toxic, (bad + 1) / (bad + 2), 1 / (good + 2))
    model = LogisticRegression(C=1e6, max_iter=5000)  # all but free: it has two numbers to find
    column = np.concatenate([odds, odds])[:, None]
    outcome = np.repeat([True, False], len(odds))
    model.fit(column, outcome, sample_weight=np.concatenate([target, 1 - target]))
    return float(np.asarray(model.coef_)[0, 0]), float(np.asarray(model.intercept_)[0])
