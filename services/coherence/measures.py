"""What coherence is measured by: pure functions of sentence vectors and of words.

Vectors are unit vectors, float32, shape (number of sentences, dimensions); every measure is in 0..1. Negative cosines
count as 0: sentences that have nothing to do with each other are not told apart.
"""

from __future__ import annotations

import re

import numpy as np

MAX_WORDS = 4000
NGRAM = 3
_WORD = re.compile(r"\w+")


def relevance(prompt: np.ndarray, response: np.ndarray) -> float:
    """Cosine of the prompt's vector, shape (dimensions,), and the mean of the response's; 0 for no response."""
    if not len(response):
        return 0.0
    mean = response.mean(axis=0)
    return _share(prompt @ mean / np.linalg.norm(mean))


def flow(prompt: np.ndarray | None, response: np.ndarray) -> float:
    """Mean cosine of each sentence and the one before it, the prompt being the one before the first.

    0 for no response; 1 for a single sentence without a prompt, as there is no step to judge.
    """
    if not len(response):
        return 0.0
    path = response if prompt is None else np.vstack([prompt[None], response])
    if len(path) == 1:
        return 1.0
    return _share((path[:-1] * path[1:]).sum(axis=1).mean())


def consistency(facts: np.ndarray, response: np.ndarray) -> float:
    """Mean over the response's sentences of the cosine with the nearest fact; 0 for no response."""
    if not len(response):
        return 0.0
    return _share((response @ facts.T).max(axis=1).mean())


def repetition(text: str) -> float:
    """Share of the word trigrams that stood in the text before: 0 none, 1 nearly all; 0 for fewer than three words."""
    words = [match[0].lower() for match, _ in zip(_WORD.finditer(text), range(MAX_WORDS), strict=False)]
    trigrams = list(zip(*(words[start:] for start in range(NGRAM)), strict=False))
    return 1.0 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def _share(cosine: float) -> float:
    return min(1.0, max(0.0, float(cosine)))
