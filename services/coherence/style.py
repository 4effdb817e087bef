"""How a text reads, from its words alone: an estimate of fluency without a model, and of how engaging it is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from services.coherence.words import FUNCTION_WORDS, Words, vocabulary

_DETERMINERS = vocabulary("a an the my your our their every")
_PREPOSITIONS = vocabulary("of at from into with for")
_SUBJECTS = vocabulary("i he she we they")
_VERBS = vocabulary("is are was were am has had will would can could should does did")
_JOINERS = vocabulary("and or but because than")
_OPEN = _DETERMINERS | _PREPOSITIONS | _JOINERS
"""Words that no sentence ends with, mostly."""
_NOT_AFTER = {
    **dict.fromkeys(_DETERMINERS, _DETERMINERS | _PREPOSITIONS | _SUBJECTS | _VERBS | _JOINERS),
    **dict.fromkeys(_PREPOSITIONS, _SUBJECTS | _VERBS | _JOINERS | {"of"}),
    **dict.fromkeys(_SUBJECTS, _DETERMINERS | {"of", "at"}),
    **dict.fromkeys(_VERBS, {"of"} | (_VERBS - {"had", "is"})),
}
"""Words that hardly ever follow the one they are listed under."""
_DOUBLED = vocabulary("that had is very so no really long far more")
_PLAIN = re.compile(r"[\w\s.,;:!?'\"()\[\]{}<>=+\-*/%$€£#&@^|~`’‘“”–—…。、！？「」\\]")
_VOWEL = re.compile(r"[aeiouyàáâäãåæèéêëìíîïòóôöõøœùúûü]")
_LATIN = re.compile(r"[a-zß-ÿ]+")
_CLUMP = re.compile(r"[bcdfghjklmnpqrstvwxz]{6}|(.)\1\1")
LONGEST_WORD = 24
"""Letters."""
PENALTY = 5.0
"""How much a pair that English hardly has weighs."""
FUNCTION_SHARE = 0.15
"""Share of function words that hardly any English text of `LONG_ENOUGH` words falls below."""
LONG_ENOUGH = 12
"""Words."""
RICH = 25
"""New words of meaning after which a text counts as two thirds rich."""


def fluency(text: str, parts: Sequence[Words]) -> float:
    """0 to 1, without a model: product of four shares.

    Characters of a usual kind; words that look like words (a vowel, no clump of six consonants or one letter three times,
    at most 24 letters; other scripts pass); `1 - 5 x` the share of neighbouring words that English hardly puts side by
    side (`the of`, `a is`, a word twice, a sentence that ends with `the`); and, from 12 words on, `0.5 + 0.5 x` the share
    of function words over 0.15, at most 1, which a list of keywords misses. 0 for no sentence.
    """
    tokens = [token for part in parts for token in part.tokens]
    if not tokens:
        return 0.0
    usual = len(_PLAIN.findall(text)) / len(text)
    wordlike = sum(map(_looks_like_a_word, tokens)) / len(tokens)
    joints = sum(len(part.tokens) for part in parts)
    bad = sum(map(_bad_joints, parts))
    words = [token for token in tokens if token[0].isalpha()]
    share = sum(word in FUNCTION_WORDS for word in words) / len(words) if words else 1.0
    carried = 0.5 + 0.5 * min(1.0, share / FUNCTION_SHARE) if len(words) >= LONG_ENOUGH else 1.0
    return usual * wordlike * max(0.0, 1.0 - PENALTY * bad / joints) * carried


def engagement(prompt: Words, parts: Sequence[Words], text: str) -> float:
    """0 to 1: half for substance, a quarter for variety, a quarter for turning to the reader. 0 for no sentence.

    Substance is `1 - exp(-n / 25)` of `n` words of meaning that the prompt does not have; variety the share of a
    response's words of meaning that are not said again, times substance; turning to the reader is a question at the end
    or `you` somewhere, times substance, so that an empty question earns nothing. The prompt's own question does not count.
    """
    if not parts:
        return 0.0
    subjects = frozenset[str]().union(*(part.subjects for part in parts))
    new = len(subjects - prompt.subjects)
    substance = 1.0 - math.exp(-new / RICH)
    tokens = [token for part in parts for token in part.tokens]
    meaning = [token for token in tokens if token not in FUNCTION_WORDS]
    variety = len(set(meaning)) / len(meaning) if meaning else 0.0
    asks = text.rstrip().endswith(("?", "？")) and not parts[-1].subjects <= prompt.subjects
    turns = asks or any(token in ("you", "your") for token in tokens)
    return substance * (0.5 + 0.25 * variety + 0.25 * turns)


def _looks_like_a_word(token: str) -> bool:
    if token[0].isdigit() or len(token) == 1 or not _LATIN.fullmatch(token.replace("'", "")):
        return True
    return len(token) <= LONGEST_WORD and (len(token) <= 3 or bool(_VOWEL.search(token))) and not _CLUMP.search(token)


def _bad_joints(part: Words) -> int:
    tokens = part.tokens
    bad = sum(_is_bad(one, other) for one, other in pairwise(tokens))
    return bad + (len(tokens) > 2 and tokens[-1] in _OPEN)


def _is_bad(one: str, other: str) -> bool:
    if one == other:
        return one.isalpha() and one not in _DOUBLED and len(one) > 1
    return other in _NOT_AFTER.get(one, ())
