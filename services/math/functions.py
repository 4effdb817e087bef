"""Functions whose values are known exactly at some arguments: sine and cosine, logarithms, absolute values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from services.math import expression as ex
from services.math import polynomial as poly
from services.math.expression import Expression, UndefinedError

FUNCTIONS = frozenset(
    re.findall(
        r"\S+",
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp abs floor ceil gcd lcm max min",
    )
)
"""Those that can be evaluated; other names stand for functions that nothing is known of."""
KNOWN = FUNCTIONS | {"factorial", "binomial"}
"""Functions between whose values there are relations."""

_PI = poly.of_atom(poly.PI)


_OF_MANY = ("max", "min", "gcd", "lcm")


def evaluate(name: str, *arguments: Expression) -> Expression | None:
    """The value, or None where it is not known. Raises UndefinedError, TooLargeError."""
    rule = _RULES.get(name)
    if len(arguments) != 1 and name in FUNCTIONS and name not in _OF_MANY:
        raise UndefinedError
    return rule(*arguments) if rule else None


def _turns(angle: Expression) -> Fraction | None:
    """The angle as a multiple of pi, where it is a rational one."""
    if not angle.top:
        return Fraction(0)
    if angle.bottom == poly.ONE and len(angle.top) == 1:
        ((monomial, coefficient),) = angle.top.items()
        if monomial == ((poly.PI, 1),):
            return Fraction(coefficient)
    return None


def _is_negative(value: Expression) -> bool:
    """Of an expression and its negative, one is negative in this sense."""
    return bool(value.top) and value.top[min(value.top)] < 0


def _sine(angle: Expression) -> Expression | None:
    turns = _turns(angle)
    if turns is None:
        if _is_negative(angle):
            return ex.negate(ex.call("sin", ex.negate(angle)))
        return None
    turns %= 2
    if turns > 1:
        return ex.negate(_sine_of(turns - 1))
    return _sine_of(turns)


def _sine_of(turns: Fraction) -> Expression:
    """sin(pi * turns), turns in [0, 1]; one atom for the angles that share it."""
    turns = min(turns, 1 - turns)
    known = _SINES.get(turns)
    if known is not None:
        return known
    inner = Expression({((poly.PI, 1),): Fraction(1, 2) - turns})  # cosines alone, so that sin^2 + cos^2 is seen
    return ex.of(poly.Atom.make(f"cos({inner.text})", "call", "cos", inner))


def _cosine(angle: Expression) -> Expression | None:
    turns = _turns(angle)
    if turns is None:
        return ex.call("cos", ex.negate(angle)) if _is_negative(angle) else None
    return _sine(Expression({((poly.PI, 1),): turns + Fraction(1, 2)}) if turns != Fraction(-1, 2) else ex.number(0))


def _root(value: int) -> Expression:
    return ex.root(ex.number(value), 2)


def _over(value: Expression, divisor: int) -> Expression:
    return Expression(poly.scale(value.top, Fraction(1, divisor)))


_SINES = {
    Fraction(0): ex.number(0),
    Fraction(1, 12): _over(ex.add(_root(6), _root(2), -1), 4),
    Fraction(1, 10): _over(ex.add(_root(5), ex.number(1), -1), 4),
    Fraction(1, 6): ex.number(Fraction(1, 2)),
    Fraction(1, 4): _over(_root(2), 2),
    Fraction(3, 10): _over(ex.add(_root(5), ex.number(1)), 4),
    Fraction(1, 3): _over(_root(3), 2),
    Fraction(5, 12): _over(ex.add(_root(6), _root(2)), 4),
    Fraction(1, 2): ex.number(1),
}


_LOGARITHMIC = ("constant", "prime", "surd", "symbol")
"""Kinds of atoms whose product has the sum of their logarithms as its own, wherever those are real."""


def _logarithm(value: Expression) -> Expression | None:
    known = value.rational
    if known is not None:
        if known <= 0:
            raise UndefinedError
        total = ex.number(0)
        for prime, times in ex._factors(Fraction(known)):
            inner = ex.number(prime)
            atom = ex.of(poly.Atom.make(f"ln({prime})", "call", "ln", inner))
            total = ex.add(total, ex.multiply(ex.number(times), atom))
        return total
    if value.bottom == poly.ONE and len(value.top) == 1:
        ((monomial, coefficient),) = value.top.items()
        is_letter = coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1 and monomial[0][0].kind == "symbol"
        if coefficient > 0 and not is_letter and all(atom.kind in _LOGARITHMIC for atom, _ in monomial):
            total = ex.call("ln", ex.number(coefficient))
            for atom, exponent in monomial:
                one = ex.number(1) if atom == poly.E else _inner_logarithm(atom)
                total = ex.add(total, ex.multiply(ex.number(exponent), one))
            return total
        if coefficient == 1 and len(monomial) == 1 and monomial[0][0].kind == "power":
            base, exponent = monomial[0][0].arguments
            if base.top == poly.of_atom(poly.E):
                return ex.multiply(ex.number(monomial[0][1]), exponent)
    return None


def _inner_logarithm(atom: poly.Atom) -> Expression:
    if atom.kind in ("constant", "symbol"):
        inner = ex.of(atom)
        return ex.of(poly.Atom.make(f"ln({inner.text})", "call", "ln", inner))
    return ex.call("ln", ex.number(int(atom)))


def _absolute(value: Expression) -> Expression | None:
    known = value.rational
    if known is not None:
        return ex.number(abs(known))
    from services.math.proof import sign  # it evaluates the atoms made here

    found = sign(value)
    if found is not None:
        return value if found >= 0 else ex.negate(value)
    if (conjugate := ex.conjugate(value)) is not None:
        sides = zip(value, conjugate, strict=True)
        top, bottom = (ex.root(ex.multiply(Expression(one), Expression(two)), 2) for one, two in sides)
        return ex.divide(top, bottom)
    if value.bottom == poly.ONE and len(value.top) == 1:
        ((monomial, coefficient),) = value.top.items()
        if abs(coefficient) != 1:
            inner = ex.call("abs", Expression({monomial: 1}))
            return ex.multiply(ex.number(abs(coefficient)), inner)
    return ex.call("abs", ex.negate(value)) if _is_negative(value) else None


def _whole(floor: bool) -> Callable[[Expression], Expression | None]:
    def evaluate(value: Expression) -> Expression | None:
        known = value.rational
        if known is None:
            return None
        return ex.number(known.__floor__() if floor else known.__ceil__())

    return evaluate


_ARCS = {
    "arctan": {
        "0": Fraction(0),
        ex.number(1).text: Fraction(1, 4),
        _root(3).text: Fraction(1, 3),
        _over(_root(3), 3).text: Fraction(1, 6),
    },
    "arcsin": {sine.text: turns for turns, sine in _SINES.items()},
}


def _arc(name: str) -> Callable[[Expression], Expression | None]:
    def evaluate(value: Expression) -> Expression | None:
        if name == "arccos":
            sine = ex.call("arcsin", value)
            return ex.add(Expression({((poly.PI, 1),): Fraction(1, 2)}), sine, -1)
        turns = _ARCS[name].get(value.text)
        if turns is not None:
            return Expression(poly.scale(_PI, turns))
        return ex.negate(ex.call(name, ex.negate(value))) if _is_negative(value) else None

    return evaluate


def _quotient(top: str, bottom: str) -> Callable[[Expression], Expression]:
    def evaluate(angle: Expression) -> Expression:
        return ex.divide(ex.call(top, angle) if top else ex.number(1), ex.call(bottom, angle))

    return evaluate


def _extreme(pick: Callable[..., Fraction]) -> Callable[..., Expression | None]:
    def evaluate(*values: Expression) -> Expression | None:
        known = [Fraction(each.rational) for each in values if each.rational is not None]
        return ex.number(pick(known)) if len(known) == len(values) and known else None

    return evaluate


def _of_whole_numbers(function: Callable[..., int]) -> Callable[..., Expression | None]:
    def evaluate(*values: Expression) -> Expression | None:
        known = [each.rational for each in values]
        return ex.number(function(*known)) if all(isinstance(each, int) for each in known) else None

    return evaluate


_RULES: dict[str, Callable[..., Expression | None]] = {
    "sin": _sine,
    "cos": _cosine,
    "tan": _quotient("sin", "cos"),
    "cot": _quotient("cos", "sin"),
    "sec": _quotient("", "cos"),
    "csc": _quotient("", "sin"),
    "arctan": _arc("arctan"),
    "arcsin": _arc("arcsin"),
    "arccos": _arc("arccos"),
    "ln": _logarithm,
    "exp": lambda value: ex.power(ex.of(poly.E), value),
    "abs": _absolute,
    "floor": _whole(True),
    "ceil": _whole(False),
    "max": _extreme(max),
    "min": _extreme(min),
    "gcd": _of_whole_numbers(math.gcd),
    "lcm": _of_whole_numbers(math.lcm),
}
