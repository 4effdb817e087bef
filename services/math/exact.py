r"""Evaluates numbers written in LaTeX or plain text exactly, and refuses those too large before computing them.

A recursive-descent reader over a bounded number of tokens: integers, decimals, thousands separators, scientific
notation, fractions, mixed numbers, `+ - * / ^ !`, `\frac`, `\sqrt` of squares, `\binom`, brackets. What it does not
know (letters, functions, intervals, matrices) is an `Unknown`, and it reads on: so the size of every part is checked,
wherever it stands. Nothing is evaluated by Python's or sympy's own parsers.
"""

from __future__ import annotations

import re
from fractions import Fraction

from services.math.arithmetic import (
    MAX_BITS,
    MAX_EXPONENT,
    TooLargeError,
    Unknown,
    Value,
    add,
    binomial,
    checked,
    divide,
    factorial,
    multiply,
    power,
    square_root,
    subtract,
)

MAX_CHARACTERS = 4000
MAX_TOKENS = 2000
MAX_DEPTH = 40
MAX_TOWER = 3
"""Powers within exponents."""
MAX_SUMMANDS = 200
"""Upper bound of a sum or a product."""

_TOKEN = re.compile(
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?(?:[eE][+-]?\d+(?![\d.]))?|\.\d+)"
    r"|\*\*|\\[A-Za-z]+|\\.|\S"
)
_PRODUCT = {"*", r"\times", r"\cdot", r"\ast"}
_QUOTIENT = {"/", r"\div"}
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\lceil": r"\rceil", r"\lfloor": r"\rfloor"}
_STOPS = {*_CLOSING.values(), ",", ";", ":", "=", "<", ">", "&", "\\\\", "%", "|", "~"}


def evaluate(text: str) -> Fraction | None:
    """The number that the text is, or None where it is no number or one that this reader does not know.

    Raises TooLargeError where a part of the text exceeds the limits.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLargeError
    reader = _Reader(text)
    value = reader.sequence(0)
    while reader.ahead is not None:  # a bracket too many
        reader.take()
        reader.sequence(0)
        value = Unknown()
    return None if isinstance(value, Unknown) else value


class _Reader:
    """One pass over the tokens. Methods return values and raise TooLargeError."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._tower = 0

    @property
    def ahead(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def take(self) -> str:
        symbol = self._tokens[self._next]
        self._next += 1
        return symbol

    def sequence(self, depth: int) -> Value:
        """Expressions up to a closing bracket or the end; known only where there is just one."""
        if depth > MAX_DEPTH:
            raise TooLargeError
        value = self._sum(depth)
        while self.ahead is not None and self.ahead not in _CLOSING.values():
            self.take()
            value = add(Unknown(), add(value, self._sum(depth)))
        return value

    def _sum(self, depth: int) -> Value:
        value = self._product(depth)
        while self.ahead in ("+", "-"):
            operation = add if self.take() == "+" else subtract
            value = self._sized(operation(value, self._product(depth)))
        return value

    def _product(self, depth: int) -> Value:
        value = self._signed(depth)
        while self.ahead is not None and self.ahead not in _STOPS and self.ahead not in ("+", "-"):
            if self.ahead in _QUOTIENT:
                self.take()
                value = divide(value, self._signed(depth))
            elif self.ahead in _PRODUCT:
                self.take()
                value = multiply(value, self._signed(depth))
            elif self.ahead[0].isdecimal():  # two numbers side by side are no product
                value = multiply(multiply(value, self._power(depth)), Unknown())
            else:
                value = multiply(value, self._power(depth))
            self._sized(value)
        return value

    def _signed(self, depth: int) -> Value:
        sign = 1
        while self.ahead in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        value = self._power(depth)
        return value if isinstance(value, Unknown) else sign * value

    def _power(self, depth: int) -> Value:
        max_exponent = MAX_SUMMANDS if self.ahead in (r"\sum", r"\prod") else MAX_EXPONENT
        value = self._atom(depth)
        while self.ahead in ("^", "**", "_", "!"):
            sign = self.take()
            if sign == "!":
                value = factorial(value)
                if self._tokens[self._next : self._next + 2] == ["!", "!"]:
                    raise TooLargeError
                if self.ahead == "!":  # a double factorial
                    self.take()
                    value = Unknown()
            elif sign == "_":
                self._group(depth)
                value = Unknown()
            else:
                value = power(value, self._exponent(depth), max_exponent)
        return self._sized(value)

    def _exponent(self, depth: int) -> Value:
        self._tower += 1
        if self._tower > MAX_TOWER:
            raise TooLargeError
        value = self._signed(depth + 1)
        self._tower -= 1
        return value

    def _sized(self, value: Value) -> Value:
        """The value itself. A number within an exponent, known or not as a whole, must be one that is allowed there."""
        if self._tower and isinstance(value, Fraction) and abs(value) > MAX_BITS:
            raise TooLargeError
        return checked(value)

    def _atom(self, depth: int) -> Value:
        if self.ahead is None or self.ahead in _STOPS:
            return Unknown()
        symbol = self.take()
        if symbol in _CLOSING:
            return self._bracket(symbol, depth)
        if symbol[0].isdecimal() or (symbol[0] == "." and len(symbol) > 1):
            return self._mixed(_number(symbol), depth)
        if symbol in (r"\frac", r"\binom"):
            top = self._group(depth, digit=True)
            bottom = self._group(depth, digit=True)
            return divide(top, bottom) if symbol == r"\frac" else binomial(top, bottom)
        if symbol == r"\sqrt":
            return self._root(depth)
        if symbol == r"\Gamma":
            factorial(self._atom(depth))
        return Unknown()

    def _bracket(self, opening: str, depth: int) -> Value:
        value = self.sequence(depth + 1)
        closed = self.ahead == _CLOSING[opening]
        if closed:
            self.take()
        return value if closed and opening in "({" else multiply(value, Unknown())

    def _mixed(self, whole: Fraction, depth: int) -> Value:
        """The number, and the fraction that stands right behind it: `2\\frac{3}{4}`, `2 3/4`."""
        behind = self._tokens[self._next : self._next + 3]
        if behind[:1] == [r"\frac"]:
            fraction = self._atom(depth)
        elif len(behind) == 3 and behind[0].isdecimal() and behind[1] == "/" and behind[2].isdecimal():
            self._next += 3
            fraction = divide(_number(behind[0]), _number(behind[2]))
        else:
            return whole
        is_mixed = isinstance(fraction, Fraction) and whole.denominator == 1 and 0 < fraction < 1
        return add(whole, fraction) if is_mixed else multiply(fraction, Unknown())

    def _root(self, depth: int) -> Value:
        if self.ahead == "[":
            self._atom(depth)
            return multiply(self._group(depth, digit=True), Unknown())
        return square_root(self._group(depth, digit=True))

    def _group(self, depth: int, *, digit: bool = False) -> Value:
        """A command's argument: a braced group or one token, of a number only the first digit if `digit`."""
        if depth > MAX_DEPTH:
            raise TooLargeError
        symbol = self.ahead
        if digit and symbol is not None and symbol.isdecimal() and len(symbol) > 1:
            self._tokens[self._next] = symbol[1:]
            return Fraction(symbol[0])
        return self._atom(depth + 1)


def _tokens(text: str) -> list[str]:
    """At most MAX_TOKENS tokens. Commas group thousands only outside brackets: `(1,234)` is a pair."""
    tokens: list[str] = []
    brackets = 0
    position = 0
    while match := _TOKEN.search(text, position):
        symbol, position = match[0], match.end()
        if match["number"] and "," in symbol and brackets:
            symbol = symbol.partition(",")[0]
            position = match.start() + len(symbol)
        brackets += symbol in ("(", "[", r"\{")
        tokens.append(symbol)
        if len(tokens) > MAX_TOKENS:
            raise TooLargeError
    return tokens


def _number(symbol: str) -> Fraction:
    digits, _, exponent = symbol.replace(",", "").lower().partition("e")
    if len(exponent) > 6 or abs(int(exponent or 0)) * 4 > MAX_BITS:
        raise TooLargeError
    return Fraction(digits) * Fraction(10) ** int(exponent or 0)
