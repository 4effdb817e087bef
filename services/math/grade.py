"""Decides whether an answer equals the gold answer, by the cheapest way that can tell.

In this order: two plain numbers; the same text; words against words; values read and compared exactly. What is left is
for Math-Verify, which `services.math.scorer` asks. Too large a text is refused before anything in it is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from services.math.checks import MathChecks
from services.math.compare import compare
from services.math.errors import ForeignError, UnreadableError
from services.math.expression import Expression, UndefinedError, number
from services.math.extract import last_marked
from services.math.notation import normalise, renamed
from services.math.polynomial import TooLargeError
from services.math.reader import read
from services.math.tokens import MAX_CHARACTERS
from services.math.values import Quantity, Value
from services.math.words import choice, has_words, plain, same_text, words

Label = Literal["correct", "wrong", "no_answer", "too_large", "unreadable", "timeout"]
Method = Literal["none", "text", "exact", "math-verify"]

_PLAIN = re.compile(r"\$? ?(-?)(\d{1,14}|\d{1,3}(?:,\d{3}){1,4})(\.\d{1,12})? ?\$?\.?")


class BadGoldError(ValueError):
    """The gold answer cannot be compared with anything; says why, without quoting it."""


_COUNT = re.compile(r"\\(?:sum|prod) ?_ ?\{[^{}]*\} ?\^ ?\{? ?([a-zA-Z])")


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer, read."""

    text: str
    number: int | Fraction | None = None
    words: str = ""
    value: Value | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether only Math-Verify can say what it means, if anything."""
        return self.value is None and not self.words


@dataclass(frozen=True, slots=True)
class Grade:
    """`label` says what became of the answer, `method` what decided, `reason` why it is wrong."""

    label: Label
    method: Method
    reason: str = ""


_CORRECT = Grade("correct", "exact")
_WRONG = Grade("wrong", "exact", "value")


_FRACTION = re.compile(r"\$?(-?)(?:\\[dt]?frac\{(-?\d{1,14})\}\{(\d{1,14})\}|(\d{1,14})/(\d{1,14}))\$?")


def plain_number(text: str) -> int | Fraction | None:
    """The number that the text is, where it is digits and little else; a fast path around the reader."""
    match = _PLAIN.fullmatch(text)
    if match is None:
        return _plain_fraction(text) if "/" in text or "frac" in text else None
    sign, whole, decimals = match.groups()
    if "," in whole:
        whole = whole.replace(",", "")
    if decimals and decimals.strip(".0"):
        return Fraction(int(sign + whole + decimals[1:]), 10 ** (len(decimals) - 1))
    return int(sign + whole)


def _plain_fraction(text: str) -> int | Fraction | None:
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    sign, top, bottom, plain_top, plain_bottom = match.groups()
    divisor = int(bottom or plain_bottom)
    value = Fraction(int(top or plain_top), divisor) if divisor else None
    return -value if value is not None and sign else value


@lru_cache(maxsize=8192)
def read_gold(gold: str, comma: bool = False) -> Gold:
    """Reads a gold answer, or the last one in a gold solution. Raises BadGoldError.

    comma: whether a comma between digits is a decimal one.
    """
    known = None if comma else plain_number(gold)
    if known is not None:
        return Gold(gold, known, value=Quantity(number(known)))
    marked = last_marked(gold, is_gold=True)
    text = normalise(marked.text if marked else gold, comma)
    if not text:
        raise BadGoldError("is empty")
    known = plain_number(text)
    if known is not None:
        return Gold(text, known, value=Quantity(number(known)))
    value = None
    try:
        value = read(text)
    except TooLargeError:
        raise BadGoldError("is too large to evaluate") from None
    except UndefinedError:
        raise BadGoldError("has no value: it divides by zero, or the like") from None
    except UnreadableError:
        if not (words(text) or (has_words(text) and _is_closed(text))):
            raise BadGoldError("cannot be read as a number, an expression or words") from None
        return Gold(text, words=words(text) or plain(text))
    except ForeignError:
        if not _is_closed(text):
            raise BadGoldError("has braces that do not match") from None
    return Gold(text, words=words(text), value=value)


def _is_closed(text: str) -> bool:
    return text.count("{") == text.count("}")


def grade(gold: Gold, answer: str, policy: MathChecks, comma: bool = False) -> Grade | None:
    """Compares an answer, as it was written, with the gold answer; None where Math-Verify has to."""
    if gold.number is not None and not comma and policy.fractions == "any":
        known = plain_number(answer)
        if known is not None:
            if known == gold.number:
                return _CORRECT
            if not policy.relative_tolerance and policy.decimals is None:
                return _WRONG
    if len(answer) > MAX_CHARACTERS:
        return Grade("too_large", "none", "length")
    text, wanted = normalise(answer, comma), gold.text
    if not text:
        return Grade("no_answer", "none")
    if policy.names == "any":
        text, wanted = renamed(text), renamed(wanted)
    try:
        value, problem = read(text), ""
    except TooLargeError:
        return Grade("too_large", "none", "size")
    except UndefinedError:
        value, problem = None, "undefined"
    except UnreadableError:
        value, problem = None, "unreadable"
    except ForeignError:
        value, problem = None, "foreign"
    if policy.fractions == "any" and same_text(text, wanted):
        return Grade("correct", "text")
    if gold.words or (value is None and words(text)):
        return _compare_words(text, gold)
    if problem in ("undefined", "unreadable"):
        return Grade("unreadable", "exact", problem)
    wanted_value = gold.value if policy.names == "same" else _read_again(wanted)
    if value is None or wanted_value is None:
        return None
    try:
        same, reason = compare(wanted_value, value, policy)
    except (TooLargeError, UndefinedError, RecursionError):
        return Grade("too_large", "none", "size")
    if same is None:
        return _differing_instance(wanted, text, policy)
    return _CORRECT if same else Grade("wrong", "exact", reason)


def _differing_instance(gold: str, answer: str, policy: MathChecks) -> Grade | None:
    """Two sums up to n that are proven to differ for a small n differ; else nothing is known."""
    counts = set(_COUNT.findall(gold)) & set(_COUNT.findall(answer))
    for letter in sorted(counts)[:1]:
        for count in (4, 7):
            one, other = (_read_again(text, {letter: number(count)}) for text in (gold, answer))
            if one is None or other is None:
                return None
            with suppress(TooLargeError, UndefinedError):
                if compare(one, other, policy).same is False:
                    return _WRONG
    return None


def _read_again(text: str, letters: Mapping[str, Expression] | None = None) -> Value | None:
    try:
        return read(text, letters)
    except (TooLargeError, UnreadableError, ForeignError, UndefinedError):
        return None


def _compare_words(text: str, gold: Gold) -> Grade:
    same = plain(text) == plain(gold.text) or (bool(gold.words) and choice(text) == gold.words)
    return Grade("correct", "text") if same else Grade("wrong", "text", "words")
