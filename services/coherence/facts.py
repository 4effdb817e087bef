"""Whether a sentence contradicts a fact, as far as words show it: a denial of it, or another number of the same thing."""

from __future__ import annotations

from itertools import pairwise

from services.coherence.words import FUNCTION_WORDS, NUMBERS, Words, overlap, stem, vocabulary

ALIKE = 0.5
"""Cosine from which on two sentences speak of the same matter."""
SHARED = 0.6
"""Share of subjects in common from which on a denial denies the same thing."""
_DENIALS = vocabulary("no not never none nobody nothing cannot without neither nor")


def contradicts(fact: Words, sentence: Words, cosine: float) -> bool:
    """True for `I have three dogs` and `I have no dogs` against `I have two dogs`, False for `I have a cat`."""
    if cosine < ALIKE:
        return False
    ours, theirs = _counted(sentence), _counted(fact)
    if any(noun in theirs and not numbers & theirs[noun] for noun, numbers in ours.items()):
        return True
    return _denies(fact) != _denies(sentence) and overlap(_unnumbered(fact), _unnumbered(sentence)) >= SHARED


def _counted(words: Words) -> dict[str, set[str]]:
    """The numbers that stand right before a noun, by the noun."""
    found: dict[str, set[str]] = {}
    for number, noun in pairwise(words.tokens):
        if (number[0].isdigit() or number in NUMBERS) and noun[0].isalpha() and noun not in FUNCTION_WORDS:
            found.setdefault(stem(noun), set()).add(str(NUMBERS.get(number, number)))
    return found


def _denies(words: Words) -> bool:
    return any(token in _DENIALS or token.endswith("n't") for token in words.tokens)


def _unnumbered(words: Words) -> Words:
    subjects = frozenset(
        subject
        for subject in words.subjects
        if not subject[0].isdigit() and subject not in _DENIALS and "n't" not in subject
    )
    return Words(words.tokens, subjects, words.numbers, words.made, words.used)
