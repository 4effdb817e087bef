"""Rational arithmetic that refuses an operation before its result, or the work for it, becomes too large.

An operand is a number or an `Unknown`: a letter, a function, anything whose value is not known but whose size still
matters, as sympy would multiply it out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MAX_BITS = 65_536
"""Of a numerator or a denominator: about 20,000 digits."""
MAX_EXPONENT = 10_000
"""Of a power whose base is unknown."""
MAX_TERMS = 5_000
"""Of an unknown when it is multiplied out."""
MAX_FACTORIAL = 5_000


class TooLargeError(Exception):
    """Evaluating a text would cost more than the limits of this module allow."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A part without a known value. `terms` says how many there are when it is multiplied out."""

    terms: int = 1


Value = Fraction | Unknown


def checked(value: Value) -> Value:
    """The value itself. Raises TooLargeError."""
    if value.terms > MAX_TERMS if isinstance(value, Unknown) else _bits(value) > MAX_BITS:
        raise TooLargeError
    return value


def add(left: Value, right: Value) -> Value:
    """left + right. Raises TooLargeError."""
    return _apply(operator.add, left, right, _terms(left) + _terms(right))


def subtract(left: Value, right: Value) -> Value:
    """left - right. Raises TooLargeError."""
    return _apply(operator.sub, left, right, _terms(left) + _terms(right))


def multiply(left: Value, right: Value) -> Value:
    """left * right. Raises TooLargeError."""
    return _apply(operator.mul, left, right, _terms(left) * _terms(right))


def divide(left: Value, right: Value) -> Value:
    """left / right, unknown for right = 0. Raises TooLargeError."""
    return _apply(operator.truediv, left, right or Unknown(), _terms(left) * _terms(right))


def power(base: Value, exponent: Value, max_exponent: int) -> Value:
    """base ** exponent, known where both are and the exponent is whole. Raises TooLargeError.

    max_exponent: largest one for an unknown base.
    """
    if isinstance(exponent, Unknown):
        return Unknown(_terms(base))
    if isinstance(base, Unknown):
        if abs(exponent) > max_exponent:
            raise TooLargeError
        size = math.ceil(abs(exponent))
        return checked(Unknown(math.comb(base.terms + size - 1, size)))  # multisets of the base's terms
    if _bits(base) > 1 and abs(exponent) * _bits(base) > MAX_BITS:
        raise TooLargeError
    if exponent.denominator != 1 or (base == 0 and exponent <= 0):
        return Unknown()
    return base ** int(exponent)


def factorial(value: Value) -> Value:
    """value!, known for whole numbers of at least 0. Raises TooLargeError."""
    if isinstance(value, Unknown) or value.denominator != 1 or value < 0:
        return Unknown()
    if value > MAX_FACTORIAL:
        raise TooLargeError
    return Fraction(math.factorial(int(value)))


def binomial(top: Value, bottom: Value) -> Value:
    """top choose bottom, known for whole numbers 0 <= bottom <= top. Raises TooLargeError."""
    if isinstance(top, Unknown) or isinstance(bottom, Unknown):
        return Unknown(_terms(top) * _terms(bottom))
    if top.denominator != 1 or bottom.denominator != 1 or not 0 <= bottom <= top:
        return Unknown()
    if min(bottom, top - bottom) * _bits(top) > MAX_BITS:
        raise TooLargeError
    return Fraction(math.comb(int(top), int(bottom)))


def square_root(value: Value) -> Value:
    """The square root, known where it is rational."""
    if isinstance(value, Unknown) or value < 0:
        return Unknown()
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    return root if root * root == value else Unknown()


def _apply(operation: Callable[[Fraction, Fraction], Fraction], left: Value, right: Value, terms: int) -> Value:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return checked(Unknown(terms))
    return checked(operation(left, right))


def _terms(value: Value) -> int:
    return value.terms if isinstance(value, Unknown) else 1


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())
