r"""Reads an answer as a quantity: an exact number, perhaps with a name, a base, a percent sign or a unit.

Policy for units: a unit that only one side states does not count; two measures that differ (km and m, dollars and
cents) make the answer wrong, and none is converted; words that name no measure ("18 eggs") do not count. A scale word
multiplies: `5 million` is 5,000,000.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from services.math.exact import evaluate

_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NO_UNIT = set(
    re.findall(
        r"\w+",
        "times plus minus negative half halves third thirds quarter quarters fourth fourths fifth tenth squared cubed"
        " factorial over mod choose root not sin cos tan cot sec csc log exp max min gcd lcm det dim div",
    )
)
_MEASURES = {
    alias: names.split()[0]
    for names in (
        "mm millimeter millimetre",
        "cm centimeter centimetre",
        "m meter metre",
        "km kilometer kilometre",
        "in inch inches",
        "ft foot feet",
        "yd yard",
        "mi mile",
        "mg milligram",
        "g gram",
        "kg kilogram",
        "lb lbs pound",
        "oz ounce",
        "ml milliliter millilitre",
        "l liter litre",
        "s sec second",
        "minute min mins",
        "h hr hour",
        "day",
        "week",
        "month",
        "year",
        "dollar usd",
        "cent",
        "euro € eur",
        "£ gbp",
        "¥ yen yuan",
        "mph",
        r"degree deg \circ",
        "radian rad",
        "square sq",
        "cubic cu",
        "per /",
    )
    for alias in names.split()
}
_NAME = re.compile(r"((?:\\?[A-Za-z]|\\[a-z]{2,8})(?:_(?:\{\w{1,8}\}|\w))?) ?= ?(?=[^=]+$)")
_BASE = re.compile(r"(\w{1,300})_(?:\{(\d{1,2})\}|(\d))")
_NUMBER = re.compile(r"([-+]? ?)([€£¥]?)((?:[^A-Za-z\\€£¥]|\\(?:frac|times|cdot|div|sqrt|binom)(?![a-z]))*)(.{0,200})")
_UNIT_TOKEN = re.compile(r"\\text ?\{([^{}]*)\}|([A-Za-z]+)|(\\circ|[/€£¥])|(\^ ?\{?[23]\}?)|[\s{}^.,-]+|(.)")
_TRAILING_TEXT = re.compile(r"(?:\\text ?\{[^{}]*\}(?: ?\^ ?\{?[23]\}?)? ?)+$")
_POWERS = {"2": "square", "3": "cubic"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and what was written around it."""

    value: Fraction
    name: str = ""
    """The variable that it was given to, as in `x = 5`."""
    base: int = 10
    percent: bool = False
    unit: tuple[str, ...] = ()
    """The words of the unit where all of them name measures; otherwise nothing."""


def read_quantity(text: str) -> Quantity | None:
    """The quantity that a normalised answer states, or None where it states none that this package reads exactly.

    Raises TooLargeError where evaluating the answer would cost more than `services.math.arithmetic` allows.
    """
    value = evaluate(text)  # refuses what is too large, wherever in the text it stands
    named = _NAME.match(text)
    name, text = (named[1], text[named.end() :]) if named else ("", text)
    if based := _BASE.fullmatch(text):
        return _based(name, based[1], int(based[2] or based[3]))
    value = evaluate(text) if named else value
    if value is not None:
        return Quantity(value, name)
    parts = _NUMBER.fullmatch(text)
    if parts is None:
        return None
    sign, currency, number, rest = parts.groups()
    value = evaluate(sign + number.rstrip(" ^{%"))
    between = number[len(number.rstrip(" ^{%")) :]
    words = _unit_words(currency + between + rest)
    if value is None or words is None:
        return None
    for word in words:
        value *= _SCALES.get(word, 1)
    words = [word for word in words if word not in _SCALES]
    if words in (["percent"], ["pct"], ["%"]):
        return Quantity(value, name, percent=True)
    return Quantity(value, name, unit=_measures(words))


def _based(name: str, digits: str, base: int) -> Quantity | None:
    try:
        return Quantity(Fraction(int(digits, base)), name, base) if 2 <= base <= 36 else None
    except ValueError:
        return None


def _unit_words(text: str) -> list[str] | None:
    """The unit's words in lower case; None where the text is no unit, or might be part of a formula."""
    words: list[str] = []
    for token in _UNIT_TOKEN.finditer(text):
        quoted, plain, sign, power, other = token.groups()
        if quoted is not None:
            words += re.findall(r"[a-z]+|[%/€£¥]", quoted.lower())
        elif plain is not None:
            word = plain.lower()
            apart = text[token.start() - 1 : token.start()].isspace() and len(word) > 2
            if word in _NO_UNIT or len(word) == 1 or not (apart or word in _MEASURES):
                return None
            words.append(word)
        elif sign is not None:
            words.append(sign)
        elif power is not None and words:
            words.insert(-1, _POWERS[power.strip("^{} ")])
        elif other == "%":
            words.append("%")
        elif other is not None:
            return None
    return None if _NO_UNIT.intersection(words) else words


def _measures(words: list[str]) -> tuple[str, ...]:
    words = " ".join(words).replace("mph", "mi per h").split()
    names = [_MEASURES.get(word) or _MEASURES.get(word.removesuffix("s")) for word in words]
    return tuple(name for name in names if name) if all(names) else ()


def trailing_unit(text: str) -> tuple[str, ...]:
    r"""The measures that an answer of any kind ends with, written as text: `5\sqrt{2}\text{ km}`."""
    end = _TRAILING_TEXT.search(text[-200:])
    return _measures(_unit_words(end[0]) or []) if end else ()
