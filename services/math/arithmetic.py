"""Sums and products of values: of quantities, matrices and tuples; what has none is foreign here."""

from __future__ import annotations

from fractions import Fraction

from services.math import expression as ex
from services.math import polynomial as poly
from services.math.errors import ForeignError, UnreadableError
from services.math.expression import Expression
from services.math.values import Matrix, Named, Operation, Quantity, Sequence, Value


def added(left: Value, right: Value, sign: int) -> Value:
    """left + sign * right; of sets, left without right. Raises ForeignError, UnreadableError, TooLargeError."""
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        if left.unit != right.unit and left.unit and right.unit:
            raise ForeignError
        shares = left.percent and right.percent
        one, other = (left.value, right.value) if shares else (_amount(left), _amount(right))
        return Quantity(ex.add(one, other, sign), left.unit or right.unit, shares)
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        if [len(row) for row in left.rows] != [len(row) for row in right.rows]:
            raise UnreadableError
        rows = (zip(*pair, strict=True) for pair in zip(left.rows, right.rows, strict=True))
        return Matrix(tuple(tuple(Quantity(ex.add(a.value, b.value, sign)) for a, b in row) for row in rows))
    if isinstance(left, Sequence) and isinstance(right, Sequence) and left.opening + right.opening == "((":
        if len(left.items) != len(right.items):
            raise UnreadableError
        pairs = zip(left.items, right.items, strict=True)
        return Sequence("(", tuple(added(a, b, sign) for a, b in pairs), left.closing)
    if sign < 0 and left == Named("R") and isinstance(right, Sequence | Operation):
        return Operation("minus", left, right)
    raise ForeignError


def multiplied(left: Value, right: Value) -> Value:
    """left * right. Raises ForeignError, UnreadableError, TooLargeError."""
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        value = ex.multiply(_amount(left), _amount(right))
        return Quantity(value, left.unit or right.unit, unreduced=left.unreduced or right.unreduced)
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        return _matrix_product(left, right)
    if isinstance(left, Matrix):
        left, right = right, left
    if isinstance(left, Quantity) and isinstance(right, Matrix):
        return Matrix(tuple(tuple(Quantity(ex.multiply(left.value, each.value)) for each in row) for row in right.rows))
    if isinstance(left, Quantity) and isinstance(right, Sequence) and right.opening == "(":
        return Sequence("(", tuple(multiplied(left, each) for each in right.items), right.closing)
    raise ForeignError


def crossed_vectors(left: Value, right: Value) -> Value | None:
    r"""The cross product of two vectors, which does not commute; None where one is none: `\vec{a} \times \vec{b}`."""
    if not (isinstance(left, Quantity) and isinstance(right, Quantity)):
        return None
    sides = left.value, right.value
    if not all(any(atom.startswith(_VECTORS) for atom in poly.atoms(each.top)) for each in sides):
        return None
    text = f"cross({left.value.text},{right.value.text})"
    return Quantity(ex.of(poly.Atom.make(text, "call", "cross", *sides)))


_VECTORS = (r"\vec", r"\overrightarrow", r"\hat")


def _amount(quantity: Quantity) -> Expression:
    return ex.multiply(ex.number(Fraction(1, 100)), quantity.value) if quantity.percent else quantity.value


def _matrix_product(left: Matrix, right: Matrix) -> Matrix:
    if len(left.rows[0]) != len(right.rows) or len(left.rows) * len(right.rows) * len(right.rows[0]) > 1000:
        raise UnreadableError
    columns = list(zip(*right.rows, strict=True))
    return Matrix(tuple(tuple(Quantity(_dot(row, column)) for column in columns) for row in left.rows))


def _dot(row: tuple[Quantity, ...], column: tuple[Quantity, ...]) -> Expression:
    total = ex.number(0)
    for one, other in zip(row, column, strict=True):
        total = ex.add(total, ex.multiply(one.value, other.value))
    return total
