"""Toxicity from two models: a linear one trained on labelled comments, and likeness to prototype sentences.

The linear model (alt-profanity-check: TF-IDF and a calibrated linear SVM) knows words; the embeddings know what a
sentence is about. Neither was trained or tuned on the other's data.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from services.embeddings import Embedder
from services.safety.prototypes import HARMLESS, TOXIC

WINDOW_CHARACTERS = 800
MAX_CHARACTERS = 12_800
"""Of a text that are looked at."""
NEAREST = 5
"""Prototypes of each kind that count for a text: the nearest."""
STEEPNESS = 16.0
MIDDLE = 0.05
"""How much nearer to the toxic prototypes than to the harmless ones counts as half toxic. Ordinary text is at -0.1 to 0.05."""
LINEAR_SHARE = 0.4


class ToxicityModel:
    """Estimates how toxic texts are."""

    def __init__(self, embedder: Embedder) -> None:
        """Loads the linear model; takes a second. It lies in its wheel in joblib's format, which is a kind of pickle:
        it is as trusted as the wheel's code."""
        import profanity_check

        self._linear = profanity_check.predict_prob
        self._embedder = embedder
        self._toxic = embedder.embed(TOXIC)
        self._harmless = embedder.embed(HARMLESS)

    def estimate(self, texts: Sequence[str]) -> list[float]:
        """One number from 0 (harmless) to 1 (toxic) a text: that of its worst window of 800 characters.

        A text without anything but blanks is harmless, 0. What lies beyond 12,800 characters is not looked at.
        Not a probability: the ranking is measured, the scale is not calibrated.
        """
        windows = [textwrap.wrap(text[:MAX_CHARACTERS], WINDOW_CHARACTERS) for text in texts]
        scores = iter(self._windows([window for own in windows for window in own]))
        return [max((next(scores) for _ in own), default=0.0) for own in windows]

    def _windows(self, windows: Sequence[str]) -> list[float]:
        if not windows:
            return []
        vectors = self._embedder.embed(windows)
        margin = _nearest(vectors @ self._toxic.T) - _nearest(vectors @ self._harmless.T)
        likeness = 1.0 / (1.0 + np.exp(-STEEPNESS * (margin.astype(np.float64) - MIDDLE)))
        blend = LINEAR_SHARE * self._linear(list(windows)) + (1.0 - LINEAR_SHARE) * likeness
        return np.clip(blend, 0.0, 1.0).tolist()


def _nearest(similarities: np.ndarray) -> np.ndarray:
    """Mean of each row's NEAREST largest numbers."""
    return np.sort(similarities, axis=1)[:, -NEAREST:].mean(axis=1)
