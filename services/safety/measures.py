"""How well estimates of toxicity agree with labels: ranking, calibration, and a threshold by a stated rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
"""Of the normal distribution, for 95 %."""
BINS = 10


def auc(toxic: np.ndarray, values: np.ndarray) -> float:
    """Area under the ROC curve: the share of pairs of a toxic and a harmless text that are ranked right, ties by half.

    toxic: bool, shape (n,), both kinds present. values: shape (n,).
    """
    bad, good = values[toxic], np.sort(values[~toxic])
    below, up_to = np.searchsorted(good, bad, "left"), np.searchsorted(good, bad, "right")
    return float((below + up_to).sum() / 2 / (len(bad) * len(good)))


def auc_interval(area: float, toxic: int, harmless: int) -> tuple[float, float]:
    """95 % confidence interval of an area under the ROC curve, from the numbers of both kinds.

    Newcombe, Statistics in Medicine 25 (2006) 559-573, method 5: the areas from which the one found is 1.96 of their own
    standard errors away, by the variance of Hanley and McNeil with both kinds' numbers replaced by their mean in it. It
    keeps a width where every pair is ranked right.
    """

    def off(guess: float) -> float:
        weight = ((1 - guess) / (2 - guess) + guess / (1 + guess)) * ((toxic + harmless) / 2 - 1)
        return Z95 * math.sqrt(max(0.0, guess * (1 - guess) * (1 + weight) / (toxic * harmless)))

    low = _root(lambda guess: area - guess - off(guess), 0.0, area)
    high = _root(lambda guess: area - guess + off(guess), area, 1.0)
    return low, high


def _root(function: Callable[[float], float], left: float, right: float) -> float:
    """Where a function that is positive at `left` and not at `right` changes its sign, by halving; an end where it does not."""
    if function(left) <= 0:
        return left
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (middle, right) if function(middle) > 0 else (left, middle)
    return (left + right) / 2


def wilson(hits: int, of: int) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson, JASA 22 (1927) 209-212); 0 to 1 of none."""
    if not of:
        return 0.0, 1.0
    share, square = hits / of, Z95 * Z95
    centre = (share + square / (2 * of)) / (1 + square / of)
    half = Z95 / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, centre - half), min(1.0, centre + half)


def brier(toxic: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared difference of probability and outcome: 0 best; always saying 0.5 gives 0.25."""
    return float(np.mean((probabilities - toxic) ** 2))


@dataclass(frozen=True, slots=True)
class Bin:
    """A row of a reliability table."""

    low: float
    high: float
    rows: int
    said: float
    """Mean probability."""
    toxic: float
    """Share that is toxic."""


def reliability(toxic: np.ndarray, probabilities: np.ndarray) -> list[Bin]:
    """Ten bins of equal width; empty ones are left out."""
    place = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return [
        Bin(b / BINS, (b + 1) / BINS, int(own.sum()), float(probabilities[own].mean()), float(toxic[own].mean()))
        for b in range(BINS)
        if (own := place == b).any()
    ]


def calibration_error(toxic: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error: mean distance of said and toxic over the ten bins, weighted by rows. Never quite 0 on few
    rows, be they calibrated as they may."""
    return sum(row.rows * abs(row.said - row.toxic) for row in reliability(toxic, probabilities)) / len(toxic)


@dataclass(frozen=True, slots=True)
class Cut:
    """What a threshold gets right: counts of texts."""

    threshold: float
    hits: int
    """Toxic, and said to be."""
    said: int
    """Said to be toxic."""
    toxic: int

    @property
    def precision(self) -> float:
        return self.hits / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.toxic

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.said + self.toxic)


def cut(toxic: np.ndarray, values: np.ndarray, threshold: float) -> Cut:
    """What saying toxic from `threshold` on gets right."""
    said = values >= threshold
    return Cut(threshold, int((said & toxic).sum()), int(said.sum()), int(toxic.sum()))


@dataclass(frozen=True, slots=True)
class Rule:
    """How a threshold is chosen: the best F1; or the best recall with a precision, or precision with a recall, of at least
    `least`."""

    aim: str = "f1"
    least: float = 0.0

    def __str__(self) -> str:
        other = {"precision": "recall", "recall": "precision"}
        return "best F1" if self.aim == "f1" else f"best {other[self.aim]} with {self.aim} of at least {self.least:g}"


def parse_rule(text: str) -> Rule:
    """`f1`, `precision=0.95` or `recall=0.9`. Raises ValueError for anything else."""
    if text == "f1":
        return Rule()
    match = re.fullmatch(r"(precision|recall)=(0?\.\d+|1(?:\.0*)?)", text)
    if not match or not float(match[2]):
        raise ValueError(
            f"{text!r} is no rule; it must be f1, precision=SHARE or recall=SHARE, SHARE above 0 and up to 1"
        )
    return Rule(match[1], float(match[2]))


def choose_threshold(toxic: np.ndarray, probabilities: np.ndarray, rule: Rule) -> Cut:
    """The threshold that the rule asks for: half-way between two neighbouring probabilities, or the smallest of them.

    Raises ValueError where none does what the rule asks.
    """
    best: tuple[float, float, Cut] | None = None
    for candidate in (cut(toxic, probabilities, threshold) for threshold in _between(probabilities)):
        worth = _worth(candidate, rule)
        if worth is not None and (best is None or worth > best[:2]):
            best = (*worth, candidate)
    if best is None:
        raise ValueError(f"no threshold has a {rule.aim} of {rule.least:g} on the training part; ask for less")
    return best[2]


def _between(probabilities: np.ndarray) -> Sequence[float]:
    values = np.unique(probabilities)
    return [float(values[0]), *((values[:-1] + values[1:]) / 2).tolist()]


def _worth(candidate: Cut, rule: Rule) -> tuple[float, float] | None:
    """What is compared first and second; None where the candidate misses the rule."""
    if rule.aim == "f1":
        return candidate.f1, candidate.precision
    kept, other = candidate.precision, candidate.recall
    if rule.aim == "recall":
        kept, other = other, kept
    return None if kept < rule.least else (other, kept)
