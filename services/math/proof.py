"""Proofs that two expressions are equal, or that they are not.

Equal: the cross products are the same polynomial; or, for constants with nested roots, the root is taken out by
squaring, which keeps the equation where the signs agree. Not equal: the difference is a nonzero polynomial in atoms
between which there is no relation (letters, roots of primes, i and one of pi and e); or it evaluates to more than its
rounding can be, at one point at least, first in floating point and then with 60 digits. Points lie on the real line;
one at which a root or a logarithm leaves it says nothing. What neither proves is left to others.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

from services.math import polynomial as poly
from services.math.expression import Expression
from services.math.functions import KNOWN
from services.math.polynomial import ONE, Atom, Polynomial, TooLargeError

DIGITS = 60
_FLOAT_SHARE, _DIGITS_SHARE = 1e-7, 1e-40
"""Of the sum of a polynomial's absolute terms, what may be rounding. Far more than it is."""
_MAX_SQUARINGS = 4
_MAX_EXPONENT, _MAX_ARGUMENT = 10**6, 10**6
"""Of powers and of functions that are evaluated; beyond, that takes long or says nothing."""
_POINTS = (0.7320, 1.9137, -1.3413, 3.1871, -0.4519)


class _NoValueError(Exception):
    """An atom has no real value at a point, or none that is computed here."""


def equal(left: Expression, right: Expression) -> bool | None:
    """Whether they are equal wherever both have a value; None where that is not proven. Raises TooLargeError."""
    if left == right:
        return True
    if left.bottom == right.bottom:
        return is_zero(poly.add(left.top, right.top, -1))
    products = poly.multiply(left.top, right.bottom), poly.multiply(right.top, left.bottom)
    return is_zero(poly.add(*products, -1))


def is_zero(polynomial: Polynomial, squarings: int = 0) -> bool | None:
    """Whether it is zero; None where that is not proven."""
    if not polynomial:
        return True
    if _is_free(polynomial):
        return False
    value = _evaluated(polynomial)
    if value is not None:
        return False
    if symbols(polynomial) or squarings >= _MAX_SQUARINGS:
        return None
    return _is_zero_by_squaring(polynomial, squarings)


def sign(value: Expression) -> int | None:
    """-1, 0 or 1 of a real constant; None where it is none, or that is not proven."""
    if symbols(value.top) or symbols(value.bottom):
        return None
    known = value.rational
    if known is not None:
        return (known > 0) - (known < 0)
    signs = [_sign(each) for each in value]
    return None if None in signs else signs[0] * signs[1]  # type: ignore[operator]


def approximate(value: Expression) -> float | None:
    """A real constant in floating point; None where it is none."""
    try:
        top, bottom = (_value(each, math, {})[0] for each in value)
        return float(top / bottom)
    except (_NoValueError, ArithmeticError, ValueError, TypeError):
        return None


def symbols(polynomial: Polynomial) -> set[Atom]:
    """The letters in it, those within other atoms included."""
    found: set[Atom] = set()
    for atom in poly.atoms(polynomial):
        if atom.kind == "symbol":
            found.add(atom)
        for argument in atom.arguments:
            if isinstance(argument, Expression):
                found |= symbols(argument.top) | symbols(argument.bottom)
    return found


def _is_free(polynomial: Polynomial) -> bool:
    kinds = {atom.kind for atom in poly.atoms(polynomial)}
    constants = sum(atom.kind == "constant" for atom in poly.atoms(polynomial))
    return kinds <= {"symbol", "prime", "i", "constant"} and constants <= 1


def _sign(polynomial: Polynomial) -> int | None:
    if not polynomial:
        return 0
    if _has_i(polynomial):
        return None
    found = _evaluated(polynomial)
    return None if found is None or _is_complex(found) else (found > 0) - (found < 0)


def _evaluated(polynomial: Polynomial) -> Any:
    """A value that is certainly not zero, at some point; None where none was found."""
    letters = sorted(symbols(polynomial))
    complex_ = _has_i(polynomial)
    for shift in range(len(_POINTS) if letters else 1):
        point = {letter: _POINTS[(place + shift) % len(_POINTS)] for place, letter in enumerate(letters)}
        try:
            value, size = _value(polynomial, _cmath() if complex_ else math, point)
            if size < math.inf and abs(value) > _FLOAT_SHARE * size > 0:
                return value
        except (_NoValueError, ArithmeticError, ValueError, TypeError):
            pass
        try:
            mpmath = _mpmath()
            value, size = _value(polynomial, mpmath, {letter: mpmath.mpf(x) for letter, x in point.items()})
            if mpmath.isfinite(size) and abs(value) > _DIGITS_SHARE * size:
                return value
        except (_NoValueError, ArithmeticError, ValueError, TypeError, NotImplementedError):
            continue
    return None


def _has_i(polynomial: Polynomial) -> bool:
    for atom in poly.atoms(polynomial):
        inner = (each for each in atom.arguments if isinstance(each, Expression))
        if atom.kind == "i" or any(_has_i(each.top) or _has_i(each.bottom) for each in inner):
            return True
    return False


def _value(polynomial: Polynomial, library: Any, point: dict[Atom, Any]) -> tuple[Any, Any]:
    """Its value and the sum of its terms' absolute values."""
    total, size = 0, 0
    for monomial, coefficient in polynomial.items():
        term = _number(coefficient, library)
        for atom, exponent in monomial:
            base = _atom_value(atom, library, point)
            if abs(exponent) > _MAX_EXPONENT:
                raise _NoValueError
            if isinstance(exponent, Fraction):
                if library is not _cmath() and base < 0:
                    raise _NoValueError
                exponent = _number(exponent, library)
            elif not base and exponent < 0:
                raise _NoValueError
            term = term * base**exponent
        total, size = total + term, size + abs(term)
    return total, size


def _number(value: Any, library: Any) -> Any:
    if library is not math and library is not _cmath():
        return library.mpf(value.numerator) / value.denominator
    return value if isinstance(value, int) and abs(value) < 2**53 else float(value)


def _expression_value(value: Expression, library: Any, point: dict[Atom, Any]) -> Any:
    top, _ = _value(value.top, library, point)
    if value.bottom == ONE:
        return top
    bottom, size = _value(value.bottom, library, point)
    if not abs(bottom) > 1e-12 * size:
        raise _NoValueError
    return top / bottom


def _atom_value(atom: Atom, library: Any, point: dict[Atom, Any]) -> Any:
    kind = atom.kind
    if kind == "symbol":
        return point[atom]
    if kind == "constant":
        return library.pi if atom == poly.PI else library.e
    if kind in ("prime", "surd"):
        return _number(int(atom), library)
    if kind == "i":
        return library.mpc(0, 1) if hasattr(library, "mpc") else 1j
    if kind == "root":
        return _root_value(_expression_value(atom.arguments[0], library, point), atom.arguments[1], library)
    if kind == "power":
        base, exponent = (_expression_value(each, library, point) for each in atom.arguments)
        if (library is not _cmath() and not base > 0) or abs(exponent) > _MAX_EXPONENT:
            raise _NoValueError
        return base**exponent
    if kind == "call":
        return _call_value(atom, library, point)
    raise _NoValueError


def _root_value(value: Any, degree: int, library: Any) -> Any:
    if _is_complex(value):
        return value ** (library.mpf(1) / degree if hasattr(library, "mpf") else 1 / degree)
    if value < 0 and degree % 2:
        return -_root_value(-value, degree, library)
    if value < 0:
        raise _NoValueError
    return value ** (library.mpf(1) / degree if hasattr(library, "mpf") else 1 / degree)


def _call_value(atom: Atom, library: Any, point: dict[Atom, Any]) -> Any:
    function_name: str = atom.arguments[0]
    name = _NAMES.get(function_name, function_name)
    values = [_expression_value(each, library, point) for each in atom.arguments[1:]]
    if function_name not in KNOWN:  # some function: any value will do, as long as equal arguments have the same
        seed = ",".join([name, *(f"{float(abs(each)):.9g}" for each in values)])
        return _number(1 + Fraction(int.from_bytes(seed.encode()) % 997, 499), library)
    if name == "abs":
        return abs(values[0])
    if any(abs(each) > _MAX_ARGUMENT for each in values):  # sine, say, would need as many digits more
        raise _NoValueError
    if name == "factorial":
        name, values = "gamma", [values[0] + 1]
    function = getattr(library, name, None) if name in _COMPUTED else None
    if function is None:
        raise _NoValueError
    value = function(*values)
    if not hasattr(library, "mpf"):
        return value
    if not _is_complex(values[0]) and getattr(value, "imag", 0):
        raise _NoValueError
    return value


def _is_complex(value: Any) -> bool:
    return isinstance(value, complex) or hasattr(value, "_mpc_")


_NAMES = {"ln": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}
_COMPUTED = frozenset(
    re.findall(
        r"\S+",
        "sin cos log asin acos atan gamma sinh cosh tanh",
    )
)


def _is_zero_by_squaring(polynomial: Polynomial, squarings: int) -> bool | None:
    """For P + Q r with r a square root: zero where P^2 = Q^2 r^2 and the signs of P and Q r differ."""
    roots = [atom for atom in poly.atoms(polynomial) if atom.kind == "root" and atom.arguments[1] == 2]
    if not roots:
        return None
    outer = max(roots, key=len)
    free: Polynomial = {}
    factor: Polynomial = {}
    for monomial, coefficient in polynomial.items():
        rest = tuple(pair for pair in monomial if pair[0] != outer)
        if len(rest) == len(monomial):
            free[monomial] = coefficient
        else:
            factor[rest] = coefficient
    radicand = outer.arguments[0]
    if radicand.bottom != ONE:
        return None
    try:
        square = poly.multiply(poly.multiply(factor, factor), radicand.top)
        difference = poly.add(poly.multiply(free, free), square, -1)
    except TooLargeError:
        return None
    agrees = is_zero(difference, squarings + 1)
    if not agrees:  # False: then P + Q r is not zero either
        return agrees
    signs = _sign(free), _sign(factor)
    if None in signs:
        return None
    return signs[0] == -signs[1] or None  # type: ignore[operator]


def prepare() -> None:
    """Imports what the first hard comparison would else wait for."""
    _mpmath()


def _cmath() -> Any:
    import cmath

    return cmath


_LIBRARIES: list[Any] = []


def _mpmath() -> Any:
    """A context of mpmath's with 60 digits."""
    if not _LIBRARIES:
        import mpmath

        context = mpmath.mp.clone()
        context.dps = DIGITS
        _LIBRARIES.append(context)
    return _LIBRARIES[0]
