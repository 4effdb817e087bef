"""What a sentence is about, read from its words: the words that carry meaning, its numbers, and those it works out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_TOKENS = 4000
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(
    rf"(?P<number>\d[\d,]*(?:\.\d+)?|\.\d+)|(?P<equals>=)|(?P<word>[{_CJK}]|(?:(?![{_CJK}])[^\W\d_])+(?:['’][^\W\d_]+)?)"
)
_NAMED = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def vocabulary(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


NUMBERS = {name: number for number, name in enumerate(_NAMED, start=2)} | {
    "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
"""Number words that stand for their number; `one` is left out, which is more often no number."""
FUNCTION_WORDS = vocabulary(
    """
    a about after all also am an and any are as at be because been before being both but by can could did do does
    each either else every few for from get gets got had has have having he her here hers him his how i if in into
    is it its just many may me might mine more most much must my neither no nor not now of off on once one only or
    other our out over own per shall she should since so some still such than that the their them then there these
    they this those through to too under until up us very was we were what when where which while who whom whose
    why will with would yes yet you your therefore thus hence however first next finally again
    """
)


@dataclass(frozen=True, slots=True)
class Words:
    """A text's words."""

    tokens: tuple[str, ...]
    """All words and numbers in small letters, in order."""
    subjects: frozenset[str]
    """Stems of the words that carry meaning, and the numbers' values."""
    numbers: frozenset[float]
    made: frozenset[float]
    """Numbers that stand right after an equals sign."""
    used: frozenset[float]
    """Numbers that stand elsewhere."""


def read(text: str) -> Words:
    """The words of the first 4,000 tokens. In scripts without spaces (CJK) each character is a word."""
    tokens: list[str] = []
    subjects: set[str] = set()
    made: set[float] = set()
    used: set[float] = set()
    after_equals = False
    for match, _ in zip(_TOKEN.finditer(text), range(MAX_TOKENS), strict=False):
        token = match[0].lower().replace("’", "'")
        value = _value(token) if match["number"] else NUMBERS.get(token)
        if match["equals"]:
            after_equals = True
            continue
        tokens.append(token)
        if value is not None:
            (made if after_equals else used).add(value)
            subjects.add(f"{value:.15g}")
        elif token not in FUNCTION_WORDS:
            subjects.add(stem(token))
        after_equals = False
    return Words(tuple(tokens), frozenset(subjects), frozenset(made | used), frozenset(made), frozenset(used))


def stem(word: str) -> str:
    """The word, in small letters, without an English ending; two words with one stem are mostly forms of one."""
    word = word.removesuffix("'s")
    for ending in ("ing", "ies", "es", "ed", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def overlap(one: Words, other: Words) -> float:
    """Share of subjects in common, 0 to 1: their number over the geometric mean of both numbers; 0 where one has none."""
    if not one.subjects or not other.subjects:
        return 0.0
    return len(one.subjects & other.subjects) / math.sqrt(len(one.subjects) * len(other.subjects))


def runs(tokens: Iterable[str], length: int) -> list[tuple[str, ...]]:
    """All runs of `length` tokens that stand side by side."""
    tokens = list(tokens)
    return list(zip(*(tokens[start:] for start in range(length)), strict=False))


def _value(text: str) -> float:
    return float(text.replace(",", "")[:300])
