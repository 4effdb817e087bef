r"""Reads functions and what they are of, and sums and products: `\sin^2 2x`, `\log_2 8`, `\sum_{k=1}^{10} k`."""

from __future__ import annotations

from fractions import Fraction

from services.math import expression as ex
from services.math import polynomial as poly
from services.math.brackets import BracketReader
from services.math.errors import ForeignError, UnreadableError
from services.math.expression import Expression
from services.math.polynomial import TooLargeError
from services.math.values import Quantity, Sequence, Value

MAX_SUMMANDS = 200
"""Of a sum or product with known bounds, which is written out."""
MAX_BOUND = 100_000
GREEK = frozenset(
    rf"\{name}"
    for name in [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "ell",
        "hbar",
        "zzz",
    ]
)
_OF_ANGLES = ("sin", "cos", "tan", "cot", "sec", "csc")
DEGREE = Expression({((poly.PI, 1),): Fraction(1, 180)})


class CallReader(BracketReader):
    """Methods return values and raise TooLargeError, UnreadableError, ForeignError."""

    def call(self, name: str) -> Value:
        if not name:
            raise ForeignError
        base = None
        if self.ahead.text == "_":
            self.take()
            base = self.quantity().value
        exponent = None
        if self.ahead.text in ("^", "**"):
            self.take()
            exponent = self.quantity().value
        if name == "sqrt":
            return Quantity(ex.root(self.quantity().value, 2))
        angles = name in _OF_ANGLES
        arguments = self.arguments(angles) if self.ahead.text == "(" else [self._function_argument()]
        value = self._function_value(name, base, arguments)
        if exponent is not None and exponent.rational == -1:
            raise ForeignError  # the inverse function
        return Quantity(value if exponent is None else ex.power(value, exponent))

    def _function_value(self, name: str, base: Expression | None, arguments: list[Expression]) -> Expression:
        if name in ("log", "lg", "ln"):
            if len(arguments) != 1:
                raise UnreadableError
            logarithm = ex.call("ln", arguments[0])
            if base is None and name == "log" and not self._has_decimal_logarithm(arguments[0]):
                return ex.call("log", arguments[0])
            if base is None:
                base = ex.of(poly.E) if name == "ln" else ex.number(10)
            return ex.divide(logarithm, ex.call("ln", base))
        if base is not None:
            raise ForeignError
        return ex.call(name, *arguments)

    @staticmethod
    def _has_decimal_logarithm(argument: Expression) -> bool:
        """log 1000 is 3; whether log 2 is natural is anybody's guess, and then only log 2 equals it."""
        known = argument.rational
        return known is not None and known > 0 and poly.spelled(known).strip("0/") == "1"

    def _function_argument(self) -> Expression:
        """What a function without brackets is of: one factor, or a number and a letter as in `\\sin 2x`."""
        value = self.power()
        if not isinstance(value, Quantity):
            raise ForeignError
        total = self._in_radians(value)
        while self.ahead.kind == "letter" or self.ahead.text in GREEK or self.ahead.text == r"\pi":
            more = self.power()
            if not isinstance(more, Quantity):
                raise ForeignError
            total = ex.multiply(total, more.value)
        if self.ahead.text in (r"\circ", "°"):
            self.take()
            return ex.multiply(total, DEGREE)
        return total

    @staticmethod
    def _in_radians(angle: Quantity) -> Expression:
        return ex.multiply(angle.value, DEGREE) if angle.unit == ("degree",) else angle.value

    def series(self, command: str) -> Value:
        """A sum or a product; written out where its bounds are known and near each other."""
        if self.ahead.text != "_" or self.peek(1).text != "{" or self.peek(3).text != "=":
            raise ForeignError
        variable = self.peek(2).text
        self.place += 4
        first = self.sum_()
        self.expect("}")
        self.expect("^")
        last = self.quantity().value
        low = first.value.rational if isinstance(first, Quantity) else None
        high = last.rational
        outer = self.bound.get(variable)
        if isinstance(low, int) and isinstance(high, int):
            if high - low > MAX_BOUND:
                raise TooLargeError
            if high - low < MAX_SUMMANDS:
                return self._written_out(command, variable, low, high)
        self.bound[variable] = ex.symbol("#bound")
        inner = self._factors()
        self._restore(variable, outer)
        if not isinstance(first, Quantity):
            raise ForeignError
        return Quantity(ex.opaque(command, first.value, last, inner))

    def _written_out(self, command: str, variable: str, low: int, high: int) -> Value:
        body, outer = self.place, self.bound.get(variable)
        total = ex.number(0 if command == r"\sum" else 1)
        self.deeper()
        for each in range(low, max(high, low) + 1):
            self.place = body
            self.bound[variable] = ex.number(each)
            value = self._factors()
            if each <= high:
                total = ex.add(total, value) if command == r"\sum" else ex.multiply(total, value)
            self._work += 1
            if self._work > 4 * MAX_SUMMANDS:
                raise TooLargeError
        self._restore(variable, outer)
        self.shallower()
        return Quantity(total)

    def _restore(self, variable: str, outer: Expression | None) -> None:
        if outer is None:
            del self.bound[variable]
        else:
            self.bound[variable] = outer

    def _factors(self) -> Expression:
        """The product that a sum is over."""
        value = self._product()
        if not isinstance(value, Quantity):
            raise ForeignError
        return value.value

    def _product(self) -> Value:
        raise NotImplementedError

    def quantity(self) -> Quantity:
        value = self.argument()
        if not isinstance(value, Quantity):
            raise ForeignError
        return value

    def arguments(self, angles: bool = False) -> list[Expression]:
        """What stands in the brackets ahead. angles: whether degrees are a part of pi."""
        self.expect("(")
        inner = self.list_(")")
        self.expect(")")
        items = inner.items if isinstance(inner, Sequence) and not inner.opening else (inner,)
        if not all(isinstance(each, Quantity) for each in items):
            raise ForeignError
        found = [each for each in items if isinstance(each, Quantity)]
        return [self._in_radians(each) if angles else each.value for each in found]
