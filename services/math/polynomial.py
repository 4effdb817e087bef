"""Polynomials over the rationals in atoms: the canonical form in which two constants or formulas are the same object.

A polynomial maps monomials to coefficients, a monomial is a sorted tuple of (atom, exponent). Atoms are letters, pi, e,
the imaginary unit, roots of primes, and what is opaque here (`sin(x)`, a nested root). What is known of an atom is
used when monomials are multiplied: sqrt(2)**2 is 2, i**2 is -1, sin(x)**2 is 1 - cos(x)**2, and the square of a
nested root is what stands under it. Sizes are checked before anything is computed.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

MAX_BITS = 65_536
"""Of a numerator or a denominator: about 20,000 digits."""
MAX_TERMS = 300
"""Of a polynomial."""
MAX_EXPONENT = 10**6

Rational = int | Fraction
Monomial = tuple[tuple["Atom", Rational], ...]
Polynomial = dict[Monomial, Rational]
"""Never changed once made. Without zero coefficients: the empty one is zero."""

ONE: Polynomial = {(): 1}
ZERO: Polynomial = {}


class TooLargeError(Exception):
    """Evaluating a text would cost more than this package's limits allow."""


class Atom(str):
    """What a polynomial is in, by the text that it is written with: equal texts are equal atoms.

    kind: symbol, constant (pi, e), i, prime (a root of it is taken; also a number that was not factored: surd), root,
    call, power or opaque. arguments: what is under the root, base and exponent, the function's arguments.
    """

    kind: str
    arguments: tuple[Any, ...]

    @classmethod
    def make(cls, text: str, kind: str, *arguments: Any) -> Atom:
        atom = cls(text)
        atom.kind = kind
        atom.arguments = arguments
        return atom


I = Atom.make("i", "i")  # noqa: E741
PI = Atom.make(r"\pi", "constant")
E = Atom.make("e", "constant")


def constant(value: Rational) -> Polynomial:
    """The polynomial of a number."""
    return {(): value} if value else ZERO


def of_atom(atom: Atom, exponent: Rational = 1) -> Polynomial:
    """atom ** exponent."""
    return {((atom, exponent),): 1}


def add(left: Polynomial, right: Polynomial, sign: int = 1) -> Polynomial:
    """left + sign * right. Raises TooLargeError."""
    total = dict(left)
    for monomial, coefficient in right.items():
        value = total.get(monomial, 0) + sign * coefficient
        if value:
            total[monomial] = value
        else:
            del total[monomial]
    if len(total) > MAX_TERMS:
        raise TooLargeError
    return total


def scale(polynomial: Polynomial, factor: Rational) -> Polynomial:
    """factor * polynomial. Raises TooLargeError."""
    if factor == 1:
        return polynomial
    if not factor:
        return ZERO
    return {monomial: checked(coefficient * factor) for monomial, coefficient in polynomial.items()}


def multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """left * right, reduced. Raises TooLargeError."""
    if len(left) == 1 and () in left:
        return scale(right, left[()])
    if len(right) == 1 and () in right:
        return scale(left, right[()])
    if len(left) * len(right) > MAX_TERMS * 10:
        raise TooLargeError
    product: Polynomial = {}
    reducible = False
    for one, a in left.items():
        for other, b in right.items():
            factor, monomial, more = _times(one, other)
            reducible = reducible or more
            product[monomial] = product.get(monomial, 0) + checked(a * b * factor)
    product = {monomial: coefficient for monomial, coefficient in product.items() if coefficient}
    if len(product) > MAX_TERMS:
        raise TooLargeError
    return _reduce(product) if reducible else product


def power(base: Polynomial, exponent: int) -> Polynomial | None:
    """base ** exponent for exponent >= 0; None where that has too many terms. Raises TooLargeError."""
    if exponent > MAX_EXPONENT:
        raise TooLargeError
    if len(base) > 1 and math.comb(len(base) + exponent - 1, exponent) > MAX_TERMS:
        return None
    check_power(max(map(abs, base.values()), default=0), exponent)
    result = ONE
    while exponent:
        if exponent & 1:
            result = multiply(result, base)
        exponent >>= 1
        base = multiply(base, base) if exponent else base
    return result


def check_power(base: Rational, exponent: Rational) -> None:
    """Raises TooLargeError where base ** exponent would be too large."""
    bits = bit_size(base)
    if bits > 1 and abs(exponent) * bits > MAX_BITS:
        raise TooLargeError


def checked(value: Rational) -> Rational:
    """The value itself. Raises TooLargeError."""
    if bit_size(value) > MAX_BITS:
        raise TooLargeError
    return value


def bit_size(value: Rational) -> int:
    """Bits of the larger of numerator and denominator."""
    if isinstance(value, int):
        return value.bit_length()
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def atoms(polynomial: Polynomial) -> set[Atom]:
    """The atoms that it is written with, not those within them."""
    return {atom for monomial in polynomial for atom, _ in monomial}


def written(polynomial: Polynomial) -> str:
    """A text that equal polynomials share."""
    terms = sorted(
        f"{spelled(coefficient)}*{'*'.join(f'{a}^{e}' for a, e in m)}" for m, coefficient in polynomial.items()
    )
    return "+".join(terms) or "0"


def spelled(value: Rational) -> str:
    """The number as text. Large ones are in hexadecimal: Python writes no decimal of more than 4,300 digits."""
    if bit_size(value) < 10_000:
        return str(value)
    return f"{value.numerator:x}/{value.denominator:x}h"


def _times(left: Monomial, right: Monomial) -> tuple[Rational, Monomial, bool]:
    """Coefficient and monomial of the product, and whether an atom in it is still to be replaced."""
    if not left:
        return 1, right, False
    if not right:
        return 1, left, False
    exponents = dict(left)
    factor: Rational = 1
    reducible = False
    for atom, more in right:
        exponent = exponents.get(atom, 0) + more
        kind = atom.kind
        if kind in ("prime", "surd"):
            whole = math.floor(exponent)
            if whole:
                check_power(int(atom), whole)
                factor *= Fraction(int(atom)) ** whole
                exponent -= whole
        elif kind == "i":
            factor *= -1 if exponent % 4 >= 2 else 1
            exponent %= 2
        elif kind == "root":
            reducible = reducible or (exponent >= atom.arguments[1] and atom.arguments[0].bottom == ONE)
        elif kind == "call":
            reducible = reducible or (exponent >= 2 and atom.startswith("sin("))
        exponents[atom] = exponent
    return factor, tuple(sorted((atom, e) for atom, e in exponents.items() if e)), reducible


def _reduce(polynomial: Polynomial) -> Polynomial:
    """The polynomial with powers of roots and of sines replaced by what they are."""
    total: Polynomial = {}
    for monomial, coefficient in polynomial.items():
        term: Polynomial = {(): coefficient}
        for atom, exponent in monomial:
            part = of_atom(atom, exponent)
            degree, square = _square(atom)
            if square is not None and exponent >= degree:
                times = int(exponent // degree)
                rest = exponent - times * degree
                replaced = power(square, times)
                if replaced is None:
                    raise TooLargeError
                part = multiply(of_atom(atom, rest), replaced) if rest else replaced
            term = multiply(term, part)
        total = add(total, term)
    return total


def _square(atom: Atom) -> tuple[int, Polynomial | None]:
    """The power of the atom that is a polynomial, and that polynomial."""
    if atom.kind == "root":
        radicand, degree = atom.arguments
        return degree, radicand.top if radicand.bottom == ONE else None
    if atom.kind == "call" and atom.startswith("sin("):
        cosine = Atom.make("cos" + atom[3:], "call", "cos", *atom.arguments[1:])
        return 2, {(): 1, ((cosine, 2),): -1}
    return 0, None
