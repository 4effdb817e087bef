"""What two models say of a text, window by window: the general estimate of toxicity and the features of fitted heads.

The linear model (alt-profanity-check: TF-IDF and a calibrated linear SVM) knows words; the embeddings know what a sentence
is about. Neither was trained or tuned on the other's data. Masked words are spelt out before either reads them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from services.embeddings import DIMENSIONS, Embedder, packaged_model
from services.safety import words
from services.safety.digest import digest_of
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

FEATURES = "embedding, general estimate, capitals, exclamations; 1"
"""Names what `Windows.features` holds. A head fitted on other features is refused."""
EMBEDDING_SCALE = 5.0
"""Of the unit vectors among the features: brings their numbers to the size of the others, so that all are shrunk alike."""
CAPITALS_SCALE = 5.0
MAX_EXCLAMATIONS = 3
CERTAIN = 0.998
"""The general estimate's log-odds are taken within this and its complement."""


@dataclass(frozen=True)
class Windows:
    """Windows of several texts, in order; a text without anything but blanks has none."""

    text: np.ndarray
    """Which text a window is of: int, shape (windows,), ascending."""
    count: int
    """Texts."""
    vectors: np.ndarray
    """Unit vectors: float64, shape (windows, DIMENSIONS)."""
    general: np.ndarray
    """The general estimate of toxicity, 0 to 1: float64, shape (windows,)."""
    shouting: np.ndarray
    """Share of capitals among the characters, and exclamation marks up to 3: float64, shape (windows, 2)."""

    @cached_property
    def features(self) -> np.ndarray:
        """What heads are fitted on: float64, shape (windows, DIMENSIONS + 3)."""
        likely = np.clip(self.general, 1.0 - CERTAIN, CERTAIN)
        odds = np.log(likely / (1.0 - likely))
        return np.column_stack([EMBEDDING_SCALE * self.vectors, odds, self.shouting * (CAPITALS_SCALE, 1.0)])

    def worst(self, values: np.ndarray, without: float) -> np.ndarray:
        """The largest of each text's values, `without` for a text that has no window. values: shape (windows,)."""
        worst = np.full(self.count, -np.inf)
        np.maximum.at(worst, self.text, values)
        return np.where(np.isneginf(worst), without, worst)

    def of(self, texts: np.ndarray) -> Windows:
        """Those of some texts, which are then counted from 0 in the order given. texts: int, shape (n,), no one twice."""
        place = np.full(self.count, -1)
        place[texts] = np.arange(len(texts))
        kept = np.flatnonzero(place[self.text] >= 0)
        kept = kept[np.argsort(place[self.text[kept]], kind="stable")]
        return Windows(place[self.text[kept]], len(texts), self.vectors[kept], self.general[kept], self.shouting[kept])


class WindowReader:
    """Reads texts with both models."""

    def __init__(self) -> None:
        """Loads the models; takes some seconds and about 500 MB. The linear one lies in its wheel in joblib's format,
        which is a kind of pickle: it is as trusted as the wheel's code."""
        import profanity_check

        self.embedding_digest = digest_of(packaged_model())
        self.linear_digest = digest_of(Path(profanity_check.__path__[0]) / "data")
        self._linear = profanity_check.predict_prob
        self._embedder = Embedder()
        self._toxic = self._embed(TOXIC)
        self._harmless = self._embed(HARMLESS)

    def read(self, texts: Sequence[str]) -> Windows:
        """The windows of 800 characters. What lies beyond a text's first 12,800 characters is not looked at."""
        plain = [words.unmask(text[:MAX_CHARACTERS])[:MAX_CHARACTERS] for text in texts]
        split = [textwrap.wrap(text, WINDOW_CHARACTERS) for text in plain]
        windows = [window for own in split for window in own]
        vectors = self._embed(windows)
        return Windows(
            np.repeat(np.arange(len(texts)), [len(own) for own in split]),
            len(texts),
            vectors,
            self._estimate(windows, vectors),
            np.array([_shouting(window) for window in windows]).reshape(-1, 2),
        )

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors: float64, shape (len(texts), DIMENSIONS). One text a call: what stands beside a text in a call would
        change the last bits of its vector, and verdicts must not depend on that."""
        return np.array([self._embedder.embed([text])[0] for text in texts], np.float64).reshape(-1, DIMENSIONS)

    def _estimate(self, windows: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        """The blend of both models, made surer by listed words; shape (windows,)."""
        if not windows:
            return np.empty(0)
        margin = _nearest(vectors @ self._toxic.T) - _nearest(vectors @ self._harmless.T)
        likeness = 1.0 / (1.0 + np.exp(-STEEPNESS * (margin - MIDDLE)))
        blend = LINEAR_SHARE * self._linear(list(windows)) + (1.0 - LINEAR_SHARE) * likeness
        listed = np.array([words.weight(window) for window in windows])
        return np.clip(1.0 - (1.0 - blend) * (1.0 - listed), 0.0, 1.0)


def _nearest(similarities: np.ndarray) -> np.ndarray:
    """Mean of each row's NEAREST largest numbers."""
    return np.sort(similarities, axis=1)[:, -NEAREST:].mean(axis=1)


def _shouting(window: str) -> tuple[float, float]:
    capitals = sum(character.isupper() for character in window)
    return capitals / len(window), float(min(window.count("!"), MAX_EXCLAMATIONS))
