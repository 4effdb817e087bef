"""Decides whether an answer equals the gold answer, by the cheapest way that can tell.

In this order: the same text; words against words; two exact quantities in rational arithmetic; Math-Verify. What would
be too large to evaluate is refused before anything is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from services.math import symbolic
from services.math.arithmetic import TooLargeError
from services.math.extract import last_marked
from services.math.notation import normalise
from services.math.quantity import Quantity, read_quantity, trailing_unit

Label = Literal["correct", "wrong", "no_answer", "too_large", "unreadable"]
Method = Literal["none", "text", "exact", "math-verify"]

_QUOTED = re.compile(r"\\text ?\{([^{}]*)\}")
_WORDS = re.compile(r"[^\W\d_]{4,}|[^\W\d_]{2,}(?:[ '-]+[^\W\d_]+)+")
_CHOICE_GOLD = re.compile(r"\(?[A-D]\)|[A-D]")
_CHOICE = re.compile(r"\(?([A-Z])(?:[).:].*)?")


class BadGoldError(ValueError):
    """The gold answer cannot be compared with anything; says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Choices that graders differ in.

    percent: "either" lets a percent sign that only one side has mean a unit or a factor 1/100 (50% is 50 and is 0.5);
        with "ratio" it is the factor, always.
    relative_tolerance: how far a number may be off, as a share of the gold number.
    """

    percent: Literal["either", "ratio"] = "either"
    relative_tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer, read."""

    text: str
    words: str
    """In lower case where the answer is words and not mathematics, else ''."""
    quantity: Quantity | None
    parsed: Sequence[Any]
    """What Math-Verify makes of it where it is neither words nor a quantity."""


@dataclass(frozen=True, slots=True)
class Grade:
    """`label` says what became of the answer, `method` what decided."""

    label: Label
    method: Method


@lru_cache(maxsize=4096)
def read_gold(gold: str) -> Gold:
    """Reads a gold answer, or the last one in a gold solution. Raises BadGoldError."""
    marked = last_marked(gold)
    text = normalise(marked.text if marked else gold)
    if not text:
        raise BadGoldError("is empty")
    try:
        quantity = read_quantity(text)
    except TooLargeError:
        raise BadGoldError("is too large to evaluate") from None
    words = _words(text)
    if quantity is not None or words:
        return Gold(text, words, quantity, ())
    parsed = symbolic.parse(text) if text.count("{") == text.count("}") else ()
    if not parsed:
        raise BadGoldError("cannot be read as a number, an expression or words")
    return Gold(text, "", None, parsed)


def grade(gold: Gold, answer: str, policy: Policy) -> Grade:
    """Compares an answer, as it was written, with the gold answer."""
    text = normalise(answer)
    if not text:
        return Grade("no_answer", "none")
    try:
        quantity = read_quantity(text)
    except TooLargeError:
        return Grade("too_large", "none")
    if "".join(text.split()) == "".join(gold.text.split()):
        return Grade("correct", "text")
    if gold.words or _words(text):
        return _decided(_plain(text) == _plain(gold.text) or _choice(text) == (gold.words or None), "text")
    if gold.quantity is not None and quantity is not None:
        return _decided(_same_quantity(gold.quantity, quantity, policy), "exact")
    return _compare_symbols(gold, text, policy)


def _compare_symbols(gold: Gold, text: str, policy: Policy) -> Grade:
    gold_unit, unit = trailing_unit(gold.text), trailing_unit(text)
    if gold_unit and unit and gold_unit != unit:
        return Grade("wrong", "text")
    parsed = symbolic.parse(text)
    if not parsed:
        return Grade("unreadable", "math-verify")
    gold_parsed = gold.parsed or symbolic.parse(gold.text)
    return _decided(symbolic.equal(gold_parsed, parsed, policy.relative_tolerance), "math-verify")


def _decided(correct: bool, method: Method) -> Grade:
    return Grade("correct" if correct else "wrong", method)


def _plain(text: str) -> str:
    """The text in lower case, without what quotes and encloses it."""
    return " ".join(_QUOTED.sub(r" \1 ", text).split()).strip("() .").lower()


def _words(text: str) -> str:
    """The plain text where it is words: quoted as text, four letters or more, or a choice's letter; else ''."""
    plain = _plain(text)
    quoted = _QUOTED.fullmatch(text) is not None and not any(map(str.isdigit, plain))
    return plain if quoted or _WORDS.fullmatch(plain) or _CHOICE_GOLD.fullmatch(text) else ""


def _choice(text: str) -> str:
    """The letter of an answer such as `(B) Paris`, `B. Paris` or `B`, in lower case."""
    choice = _CHOICE.fullmatch(_QUOTED.sub(r"\1", text).strip())
    return choice[1].lower() if choice else ""


def _same_quantity(gold: Quantity, answer: Quantity, policy: Policy) -> bool:
    if gold.name and answer.name and gold.name != answer.name:
        return False
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    if gold.base != answer.base and gold.base != 10 and answer.base != 10:
        return False
    candidates = {answer.value}
    wanted = {gold.value}
    if policy.percent == "ratio":
        wanted = {gold.value / 100 if gold.percent else gold.value}
        candidates = {answer.value / 100 if answer.percent else answer.value}
    elif gold.percent != answer.percent:
        wanted |= {gold.value / 100} if gold.percent else set()
        candidates |= {answer.value / 100} if answer.percent else set()
    return any(abs(one - other) <= policy.relative_tolerance * abs(one) for one in wanted for other in candidates)
