"""What likeness is measured by: pure functions of sentence vectors and of words.

Vectors are unit vectors, float32, shape (number of sentences, dimensions); every measure is in 0..1. Negative cosines
count as 0: sentences that have nothing to do with each other are not told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

import numpy as np

from services.coherence.words import Words, overlap, runs

RUN = 3
SAME = 0.97
"""Cosine from which on two sentences say the same."""
PRIOR, PRIOR_STEPS = 0.2, 2
"""Every text is taken to have two steps of 0.2 before its own: a single good step is no proof of flow."""
COPY = 0.6
"""Square of the overlap from which on words begin to count as the prompt's own in another order; 1 is the same bag."""
BAG = 4
"""Words of meaning that such a bag has at least: a short answer may well be the question's words and one more."""


def likeness(cosine: float, shared: float) -> float:
    """`1 - (1 - cosine) (1 - shared / 2)`: meaning, raised by names, numbers and rare words in common.

    Vectors see what kind of thing a text speaks of, words see which one; either may be missing.
    """
    return 1.0 - (1.0 - _share(cosine)) * (1.0 - shared / 2.0)


def relevance(prompt: np.ndarray, response: np.ndarray, prompt_words: Words, response_words: Words) -> float:
    """Likeness of the prompt and the response, less by how far the response is a copy of the prompt; 0 for no response.

    prompt: shape (windows, dimensions), of which the one that is nearest to the response's mean counts. response: of the
    sentences that `own` leaves, as `response_words`.
    """
    if not len(response):
        return 0.0
    mean = response.mean(axis=0)
    nearest = float((prompt @ mean).max() / np.linalg.norm(mean))
    return likeness(nearest, overlap(prompt_words, response_words)) * (1.0 - copied(prompt_words, response_words))


def own(prompt: Words, prompt_parts: Sequence[Words], parts: Sequence[Words]) -> list[int]:
    """Places of the sentences that a response is judged by: each once, without those that only say the prompt again.

    All of them, each once, where that leaves less than a third of the words: an answer may be a sentence out of a long
    prompt.
    """
    places = list({part.tokens: place for place, part in reversed(list(enumerate(parts)))}.values())[::-1]
    asked = {part.tokens for part in prompt_parts}
    left = [place for place in places if not _is_copy(prompt, asked, parts[place])]
    words, words_left = (sum(len(parts[place].tokens) for place in some) for some in (places, left))
    return left if 3 * words_left >= words else places


def copied(prompt: Words, response: Words) -> float:
    """How far the response is the prompt again, 0 to 1.

    The share of the response's word trigrams that the prompt has, times the share of the prompt's that the response
    has: an answer taken out of a long prompt is no copy of it. A bag of the prompt's words counts like a copy once
    hardly anything is added to it and little left out.
    """
    asked, said = Counter(runs(prompt.tokens, RUN)), Counter(runs(response.tokens, RUN))
    common = (asked & said).total()
    in_order = common**2 / (asked.total() * said.total()) if common else 0.0
    return max(in_order, (_bag(prompt, response) - COPY) / (1.0 - COPY))


def flow(
    prompt: np.ndarray | None,
    response: np.ndarray,
    prompt_words: Words,
    prompt_parts: Sequence[Words],
    parts: Sequence[Words],
    signs: int,
) -> float:
    """Mean likeness of each sentence and the one before it, the prompt being the one before the first, times
    `1 - signs / steps`; `PRIOR_STEPS` steps of `PRIOR` are added to the mean. 0 for no response.

    A sentence that was there before, in the response or in the prompt, is a step of 0.

    prompt: shape (windows, dimensions). prompt_parts, parts: sentences of the prompt and of the response. signs: how many
    signs of disorder `services.coherence.order` found.
    """
    if not len(response):
        return 0.0
    before = {part.tokens for part in prompt_parts}
    cosines = np.maximum(response @ response.T, 0.0)
    steps = []
    for place, part in enumerate(parts):
        again = _is_copy(prompt_words, before, part) or bool((cosines[place, :place] > SAME).any())
        before.add(part.tokens)
        if place:
            step = likeness(cosines[place, place - 1], overlap(parts[place - 1], part))
        elif prompt is not None:
            step = likeness((prompt @ response[0]).max(), max(overlap(known, part) for known in prompt_parts))
        else:
            continue
        steps.append(0.0 if again else step)
    mean = (sum(steps) + PRIOR * PRIOR_STEPS) / (len(steps) + PRIOR_STEPS)
    return mean * (1.0 - min(1.0, signs / max(1, len(steps))))


def _is_copy(prompt: Words, before: Container[tuple[str, ...]], part: Words) -> bool:
    """Whether a sentence was there before, or is a bag of the prompt's words."""
    return part.tokens in before or _bag(prompt, part) > COPY


def _bag(prompt: Words, response: Words) -> float:
    """Square of the overlap; 0 for few words, and for a text that works something out (`= 12`)."""
    return overlap(prompt, response) ** 2 if len(response.subjects) >= BAG and not response.made else 0.0


def consistency(likenesses: np.ndarray, contradicted: Sequence[bool]) -> float:
    """Mean over the response's sentences of the likeness to the nearest fact, 0 for one that contradicts a fact.

    likenesses: shape (sentences, facts). contradicted: one for each sentence. 0 for no response.
    """
    if not len(likenesses):
        return 0.0
    return float(np.where(contradicted, 0.0, likenesses.max(axis=1)).mean())


def repetition(tokens: Sequence[str]) -> float:
    """Share of the word trigrams that stood in the text before: 0 none, 1 nearly all; 0 for fewer than three words."""
    trigrams = runs(tokens, RUN)
    return 1.0 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def _share(cosine: float) -> float:
    return min(1.0, max(0.0, float(cosine)))
