"""Expressions: quotients of polynomials, and the operations that a formula is read with.

What an operation knows it carries out exactly; what it does not (the sine of 1, a root of a sum) becomes an atom. So
two expressions that are equal by these rules have proportional tops and bottoms, which `services.math.proof` looks at.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from services.math import polynomial as poly
from services.math.polynomial import ONE, Atom, Polynomial, Rational, TooLargeError

MAX_FACTORIAL = 5_000
_TRIAL_DIVISORS = 1_000


class UndefinedError(ValueError):
    """Division by zero, the logarithm of zero: the text has no value."""


class Expression(NamedTuple):
    """top / bottom."""

    top: Polynomial
    bottom: Polynomial = ONE

    @property
    def rational(self) -> Rational | None:
        """The number that it is, where it is a rational one in plain sight."""
        if self.bottom != ONE:
            return None
        if not self.top:
            return 0
        return self.top.get(()) if len(self.top) == 1 else None

    @property
    def text(self) -> str:
        """A text that expressions of equal form share."""
        top = poly.written(self.top)
        return top if self.bottom == ONE else f"({top})/({poly.written(self.bottom)})"


def number(value: Rational) -> Expression:
    return Expression(poly.constant(value))


def symbol(name: str) -> Expression:
    return of(Atom.make(name, "symbol"))


def of(atom: Atom, exponent: Rational = 1) -> Expression:
    return Expression(poly.of_atom(atom, exponent))


def opaque(name: str, *arguments: Expression) -> Expression:
    """What nothing is known of but that it equals itself: a sum, a limit."""
    return of(Atom.make(f"{name}({','.join(each.text for each in arguments)})", "opaque", *arguments))


def add(left: Expression, right: Expression, sign: int = 1) -> Expression:
    """left + sign * right. Raises TooLargeError."""
    if left.bottom == right.bottom:
        return Expression(poly.add(left.top, right.top, sign), left.bottom)
    tops = poly.multiply(left.top, right.bottom), poly.multiply(right.top, left.bottom)
    return Expression(poly.add(*tops, sign), poly.multiply(left.bottom, right.bottom))


def negate(value: Expression) -> Expression:
    return Expression(poly.scale(value.top, -1), value.bottom)


def multiply(left: Expression, right: Expression) -> Expression:
    """left * right. Raises TooLargeError."""
    bottom = left.bottom if right.bottom is ONE else poly.multiply(left.bottom, right.bottom)
    return Expression(poly.multiply(left.top, right.top), bottom)


def divide(left: Expression, right: Expression) -> Expression:
    """left / right. Raises TooLargeError, UndefinedError."""
    return _cancelled(multiply(left, invert(right)))


def _cancelled(value: Expression) -> Expression:
    """The same without atoms that the bottom, a single product, shares with all of the top: ln 8 / ln 2 is 3."""
    if value.bottom is ONE or len(value.bottom) != 1:
        return value
    ((divisor, coefficient),) = value.bottom.items()
    top: Polynomial = {}
    for monomial, factor in value.top.items():
        exponents = dict(monomial)
        for atom, exponent in divisor:
            exponents[atom] = exponents.get(atom, 0) - exponent
            if exponents[atom] < 0:
                return value
        rest = tuple(sorted((atom, exponent) for atom, exponent in exponents.items() if exponent))
        top[rest] = _plain(Fraction(factor) / coefficient)
    return Expression(top)


def invert(value: Expression) -> Expression:
    """1 / value. Raises UndefinedError."""
    if not value.top:
        raise UndefinedError
    if len(value.top) > 1:
        return Expression(value.bottom, value.top)
    ((monomial, coefficient),) = value.top.items()
    top: Polynomial = {(): 1 / Fraction(coefficient) if coefficient not in (1, -1) else coefficient}
    bottom = ONE
    for atom, exponent in monomial:
        if atom.kind in ("root", "call"):  # stay below the line, where their powers are replaced
            bottom = poly.multiply(bottom, poly.of_atom(atom, exponent))
        else:  # 1 times it, so that exponents of primes and of i come into their range
            top = poly.multiply(top, _negative_power(atom, exponent))
    return Expression(poly.multiply(value.bottom, top), bottom)


def _negative_power(atom: Atom, exponent: Rational) -> Polynomial:
    if atom.kind == "i":
        return {((atom, 1),): -1}
    if atom.kind in ("prime", "surd"):
        return {((atom, 1 - exponent),): Fraction(1, int(atom))}
    return poly.of_atom(atom, -exponent)


def power(base: Expression, exponent: Expression) -> Expression:
    """base ** exponent. Raises TooLargeError, UndefinedError."""
    value = exponent.rational
    if value is None:
        return _symbolic_power(base, exponent)
    if isinstance(value, Fraction) and value.denominator != 1:
        return _whole_power(root(base, value.denominator), value.numerator)
    return _whole_power(base, int(value))


def _whole_power(base: Expression, exponent: int) -> Expression:
    if exponent < 0:
        return _whole_power(invert(base), -exponent)
    if not base.top and exponent == 0:
        raise UndefinedError
    value = base.rational
    if value is not None:
        poly.check_power(value, exponent)
        return number(value**exponent)
    if exponent > poly.MAX_EXPONENT:
        raise TooLargeError
    if len(base.top) == 1 and base.bottom is ONE and exponent > 1:
        ((monomial, coefficient),) = base.top.items()
        if all(atom.kind not in ("root", "call", "i", "prime", "surd") for atom, _ in monomial):
            poly.check_power(coefficient, exponent)
            if any(abs(e) * exponent > poly.MAX_EXPONENT for _, e in monomial):
                raise TooLargeError
            return Expression({tuple((atom, e * exponent) for atom, e in monomial): coefficient**exponent})
    top, bottom = poly.power(base.top, exponent), poly.power(base.bottom, exponent)
    if top is None or bottom is None:
        return of(Atom.make(f"({base.text})^{exponent}", "power", base, number(exponent)))
    return Expression(top, bottom)


def _symbolic_power(base: Expression, exponent: Expression) -> Expression:
    """Powers of one base are brought to atoms that the terms of the exponent name: e^{x+2} is e^2 e^x."""
    if not base.top:
        raise UndefinedError
    if base.rational == 1:
        return base
    if exponent.bottom != ONE:
        return of(Atom.make(f"({base.text})^({exponent.text})", "power", base, exponent))
    value = base.rational
    if value is not None and value > 0:
        result = number(1)
        for prime, times in _factors(Fraction(value)):
            for monomial, coefficient in exponent.top.items():
                result = multiply(result, _term_power(number(prime), monomial, coefficient * times))
        return result
    result = number(1)
    for monomial, coefficient in exponent.top.items():
        result = multiply(result, _term_power(base, monomial, coefficient))
    return result


def _term_power(base: Expression, monomial: poly.Monomial, coefficient: Rational) -> Expression:
    if not monomial:
        return power(base, number(coefficient))
    if base.top == _EULER and monomial[-1][0] is not None and any(atom.kind == "i" for atom, _ in monomial):
        rest = tuple((atom, e) for atom, e in monomial if atom.kind != "i")
        angle = Expression({rest: coefficient})
        return add(call("cos", angle), multiply(of(poly.I), call("sin", angle)))
    coefficient = Fraction(coefficient)
    if max(abs(coefficient.numerator), coefficient.denominator) > poly.MAX_EXPONENT:
        raise TooLargeError
    unit = Expression({monomial: Fraction(1, coefficient.denominator)})
    return of(Atom.make(f"({base.text})^({unit.text})", "power", base, unit), coefficient.numerator)


_EULER = poly.of_atom(poly.E)


def root(value: Expression, degree: int) -> Expression:
    """The real root of a degree where there is one, else the principal one. Raises TooLargeError."""
    if degree > 1000:
        raise TooLargeError
    known = value.rational
    if known is not None:
        return _number_root(Fraction(known), degree)
    if value.bottom != ONE or not value.top:
        return _opaque_root(value, degree)
    if len(value.top) == 1:
        ((monomial, coefficient),) = value.top.items()
        outside, inside = [], []
        for atom, exponent in monomial:
            is_positive = atom.kind in ("constant", "prime", "surd")
            (outside if is_positive else inside).append((atom, exponent))
        if len(inside) == 1 and inside[0][0].kind == "symbol" and inside[0][1] == 1 and coefficient > 0:
            outside.append(inside.pop())
        result = number(1) if not outside else _monomial_root(outside, degree)
        if not inside and (coefficient > 0 or degree == 2):
            return multiply(result, _number_root(Fraction(coefficient), degree))
        result = multiply(result, _number_root(abs(Fraction(coefficient)), degree))
        sign = 1 if coefficient > 0 else -1
        return multiply(result, _opaque_root(Expression({tuple(inside): sign}), degree))
    content = _content(value.top)
    rest = Expression(poly.scale(value.top, 1 / content))
    return multiply(_number_root(content, degree), _opaque_root(rest, degree))


def _monomial_root(atoms: list[tuple[Atom, Rational]], degree: int) -> Expression:
    result = ONE
    for atom, exponent in sorted(atoms):
        result = poly.multiply(result, poly.of_atom(atom, _plain(Fraction(exponent) / degree)))
    return Expression(result)


def _opaque_root(value: Expression, degree: int) -> Expression:
    return of(Atom.make(f"root{degree}({value.text})", "root", value, degree))


def _number_root(value: Fraction, degree: int) -> Expression:
    if value < 0:
        if degree % 2:
            return negate(_number_root(-value, degree))
        if degree == 2:
            return multiply(of(poly.I), _number_root(-value, degree))
        return _opaque_root(number(value), degree)
    if value in (0, 1):
        return number(_plain(value))
    monomial: list[tuple[Atom, Rational]] = []
    outside: Rational = 1
    for prime, times in _factors(value):
        whole, part = divmod(times, degree)
        outside *= Fraction(prime) ** whole
        if part:
            kind = "prime" if prime < _TRIAL_DIVISORS**2 else "surd"
            monomial.append((Atom.make(str(prime), kind), Fraction(part, degree)))
    return Expression({tuple(sorted(monomial)): _plain(Fraction(outside))})


@lru_cache(maxsize=1024)
def _factors(value: Fraction) -> tuple[tuple[int, int], ...]:
    """Prime factors and exponents of a positive number; what trial division leaves stands as one factor."""
    found: dict[int, int] = {}
    for whole, sign in ((value.numerator, 1), (value.denominator, -1)):
        if whole.bit_length() > 4096:
            raise TooLargeError
        for divisor in _primes():
            if divisor * divisor > whole:
                break
            while whole % divisor == 0:
                whole //= divisor
                found[divisor] = found.get(divisor, 0) + sign
        for degree in (2, 3, 5, 7) if whole > _TRIAL_DIVISORS**2 else ():
            guess = _integer_root(whole, degree)
            if guess**degree == whole:
                whole, sign = guess, sign * degree
                break
        if whole > 1:
            found[whole] = found.get(whole, 0) + sign
    return tuple(sorted((prime, times) for prime, times in found.items() if times))


def _integer_root(value: int, degree: int) -> int:
    low, high = 1, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low


@lru_cache(maxsize=1)
def _primes() -> tuple[int, ...]:
    sieve = bytearray([1]) * (_TRIAL_DIVISORS + 1)
    for each in range(2, math.isqrt(_TRIAL_DIVISORS) + 1):
        sieve[each * each :: each] = bytes(len(range(each * each, _TRIAL_DIVISORS + 1, each)))
    return tuple(each for each in range(2, _TRIAL_DIVISORS + 1) if sieve[each])


def _content(polynomial: Polynomial) -> Fraction:
    values = [Fraction(each) for each in polynomial.values()]
    top = math.gcd(*(each.numerator for each in values))
    return Fraction(top, math.lcm(*(each.denominator for each in values)))


def _plain(value: Fraction) -> Rational:
    return value.numerator if value.denominator == 1 else value


def conjugate(value: Expression) -> Expression | None:
    """a - bi of a + bi, a constant; None where i is not in it, or something that may not be real."""
    atoms = {atom for side in value for atom in poly.atoms(side)}
    if poly.I not in atoms or any(atom.kind not in ("i", "constant", "prime", "surd") for atom in atoms):
        return None
    top, bottom = ({m: -c if any(a == poly.I for a, _ in m) else c for m, c in side.items()} for side in value)
    return Expression(top, bottom)


def factorial(value: Expression) -> Expression:
    """value!. Raises TooLargeError."""
    known = value.rational
    if known is None or known.denominator != 1 or known < 0:
        return of(Atom.make(f"factorial({value.text})", "call", "factorial", value))
    if known > MAX_FACTORIAL:
        raise TooLargeError
    return number(math.factorial(int(known)))


def double_factorial(value: Expression) -> Expression | None:
    """n (n - 2) (n - 4) ...; None where n is no whole number. Raises TooLargeError."""
    known = value.rational
    if not isinstance(known, int) or known < 0:
        return None
    if known > MAX_FACTORIAL:
        raise TooLargeError
    return number(math.prod(range(known, 0, -2)))


def binomial(top: Expression, bottom: Expression) -> Expression:
    """top choose bottom. Raises TooLargeError."""
    n, k = top.rational, bottom.rational
    if n is None or k is None or n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n:
        return of(Atom.make(f"binomial({top.text},{bottom.text})", "call", "binomial", top, bottom))
    if min(k, n - k) * poly.bit_size(n) > poly.MAX_BITS:
        raise TooLargeError
    return number(math.comb(int(n), int(k)))


def call(name: str, *arguments: Expression) -> Expression:
    """A function's value: exact at the arguments that are known, else an atom. Raises UndefinedError, TooLargeError."""
    from services.math.functions import evaluate  # it reads sines by these operations

    known = evaluate(name, *arguments)
    if known is not None:
        return known
    return of(Atom.make(f"{name}({','.join(each.text for each in arguments)})", "call", name, *arguments))
