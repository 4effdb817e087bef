"""How like completions are to each other, from 0 to 1, by one trait or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
Likeness = Callable[[int, Rows], Floats]
"""How like one row is to others: `likeness(row, rows)` has a number from 0 to 1 for each of `rows`."""

DECIMALS = 6
"""Cosines are rounded: their last bits depend on how many are computed at once."""


def by_vectors(vectors: NDArray[np.float32]) -> Likeness:
    """The cosine of unit vectors, `[n, d]`; those that point away from each other have 0."""
    return lambda row, rows: (vectors[rows] @ vectors[row]).astype(np.float64).clip(0.0, 1.0).round(DECIMALS)


def by_reward(rewards: Sequence[float]) -> Likeness:
    """1 minus the difference over the whole range. Without a reward (NaN) one is like the others without, and no other."""
    return _by_distance(np.array(rewards, dtype=np.float64))


def by_length(lengths: Sequence[int]) -> Likeness:
    """1 minus the difference over the whole range."""
    return _by_distance(np.array(lengths, dtype=np.float64))


def by_prefix(prompts: Sequence[Sequence[int]]) -> Likeness:
    """The tokens that two prompts share from their first on, as a share of the longer one."""
    distinct = {tuple(prompt): place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    index = np.array([distinct[tuple(prompt)] for prompt in prompts], dtype=np.int64)
    lengths = np.array([len(prompt) for prompt in distinct], dtype=np.int64)
    table = np.full((len(distinct), max(1, int(lengths.max(initial=0)))), -1, dtype=np.int64)
    for place, prompt in enumerate(distinct):
        table[place, : len(prompt)] = prompt
    known: dict[int, Floats] = {}

    def shares(place: int) -> Floats:
        shared = np.logical_and.accumulate(table == table[place], axis=1).sum(1)
        longer = np.maximum(lengths, lengths[place])
        return np.minimum(shared, np.minimum(lengths, lengths[place])) / np.maximum(longer, 1)

    def likeness(row: int, rows: Rows) -> Floats:
        place = int(index[row])
        if place not in known:
            known[place] = shares(place)
        return known[place][index[rows]]

    return likeness


def weighted(parts: Sequence[tuple[Likeness, float]]) -> Likeness:
    """The mean of several by their weights."""
    total = sum(weight for _, weight in parts)
    return lambda row, rows: sum((weight * like(row, rows) for like, weight in parts), np.zeros(len(rows))) / total


def _by_distance(values: Floats) -> Likeness:
    known = values[~np.isnan(values)]
    spread = float(np.ptp(known)) if len(known) else 0.0

    def likeness(row: int, rows: Rows) -> Floats:
        if np.isnan(values[row]):
            return np.isnan(values[rows]).astype(np.float64)
        distance = np.abs(values[rows] - values[row])
        scaled = distance / spread if spread > 0 else np.where(np.isnan(distance), np.nan, 0.0)
        return np.where(np.isnan(scaled), 0.0, 1.0 - scaled)

    return likeness
