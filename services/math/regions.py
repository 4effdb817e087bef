"""Sets of real numbers: intervals with constant ends, their unions, and the inequalities that stand for them.

Ends are compared exactly: equal where that is proven, ordered where their values differ by more than rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from services.math import expression as ex
from services.math import polynomial as poly
from services.math import proof
from services.math.expression import Expression
from services.math.polynomial import ONE, Atom, Polynomial
from services.math.values import Named, Operation, Quantity, Relation, Sequence, Value


class NoRegionError(Exception):
    """The value is a set of real numbers that is not read here, if it is one."""


class OtherKindError(Exception):
    """The value is certainly no set of real numbers: `(11, 7)` is a pair."""


@dataclass(frozen=True, slots=True)
class End:
    """A boundary: infinite with `side` -1 or 1; else at `value`, where `side` 0 is the point itself, -1 just below it."""

    value: Expression | None
    side: int

    def __lt__(self, other: End) -> bool:
        if self.value is None or other.value is None:
            mine, theirs = self.side * (self.value is None), other.side * (other.value is None)
            return mine < theirs
        found = proof.sign(ex.add(self.value, other.value, -1))
        if found is None:
            if proof.equal(self.value, other.value) is not True:
                raise NoRegionError
            found = 0
        return found < 0 or (found == 0 and self.side < other.side)

    def __le__(self, other: End) -> bool:
        return not other < self


Interval = tuple[End, End]
"""Two boundaries between points: a closed interval begins just below its first number."""
Region = tuple[Interval, ...]
"""Disjoint, in order, none empty, none touching another."""

_LOWEST, _HIGHEST = End(None, -1), End(None, 1)
REALS: Region = ((_LOWEST, _HIGHEST),)


@dataclass(frozen=True, slots=True)
class Solutions:
    """A region, and the letter that lies in it where one was named."""

    region: Region
    letter: str = ""


def solutions(value: Value) -> Solutions:
    """The set that the value is or describes. Raises NoRegionError, OtherKindError."""
    if isinstance(value, Named):
        if value.name in ("{}", "R"):
            return Solutions(() if value.name == "{}" else REALS)
    elif isinstance(value, Operation):
        return _combined(value)
    elif isinstance(value, Relation):
        return _solved(value)
    elif isinstance(value, Sequence):
        return _of_sequence(value)
    raise NoRegionError


def same(left: Region, right: Region) -> bool:
    """Whether two regions are the same set. Raises NoRegionError."""
    if len(left) != len(right):
        return False
    return all(_equal(a, b) for one, other in zip(left, right, strict=True) for a, b in zip(one, other, strict=True))


def _equal(one: End, other: End) -> bool:
    return not one < other and not other < one


def _point(value: Expression) -> Interval:
    return End(value, -1), End(value, 1)


def _of_sequence(value: Sequence) -> Solutions:
    if value.is_set:
        if any(isinstance(each, Relation) for each in value.items):
            return _joined(value)
        region: Region = ()
        for each in value.items:
            if each == Named("{}"):
                raise OtherKindError
            region = union(region, (_point(_constant(each)),) if isinstance(each, Quantity) else solutions(each).region)
        return Solutions(region)
    if len(value.items) != 2 or value.opening not in "([" or value.closing not in ")]":
        raise NoRegionError
    low = _end(value.items[0], -1 if value.opening == "[" else 1)
    high = _end(value.items[1], 1 if value.closing == "]" else -1)
    if not low < high:
        raise OtherKindError
    return Solutions(((low, high),))


def _end(value: Value, side: int) -> End:
    if isinstance(value, Named) and value.name in ("+oo", "-oo"):
        return _HIGHEST if value.name == "+oo" else _LOWEST
    return End(_constant(value), side)


def _constant(value: Value) -> Expression:
    if not isinstance(value, Quantity) or proof.symbols(value.value.top) or proof.symbols(value.value.bottom):
        raise NoRegionError
    return value.value


def _combined(value: Operation) -> Solutions:
    left, right = solutions(value.left), solutions(value.right)
    if left.letter and right.letter and left.letter != right.letter:
        raise NoRegionError
    if value.sign == "cup":
        region = union(left.region, right.region)
    elif value.sign == "cap":
        region = intersection(left.region, right.region)
    else:
        region = intersection(left.region, complement(right.region))
    return Solutions(region, left.letter or right.letter)


def _joined(value: Sequence) -> Solutions:
    """Inequalities side by side: "or" joins them, a comma cuts them where anything is left then."""
    found = [solutions(each) for each in value.items]
    letters = {each.letter for each in found}
    if len(letters) != 1:
        raise NoRegionError
    total, shared = found[0].region, found[0].region
    for each in found[1:]:
        total, shared = union(total, each.region), intersection(shared, each.region)
    holes = all(len(each.region) == 2 for each in found)  # x != 1, x != 2
    return Solutions(shared if holes or (shared and not value.joined_by_or) else total, letters.pop())


def union(left: Region, right: Region) -> Region:
    """What lies in either. Raises NoRegionError."""
    found: list[Interval] = []
    rest = [*left, *right]
    while rest:
        first = rest[0]
        for each in rest[1:]:
            if each[0] < first[0]:
                first = each
        rest.remove(first)
        if found and first[0] <= found[-1][1]:
            low, high = found[-1]
            found[-1] = (low, first[1] if high < first[1] else high)
        else:
            found.append(first)
    return tuple(found)


def complement(region: Region) -> Region:
    """The real numbers that are not in it."""
    ends = [_LOWEST, *(end for interval in region for end in interval), _HIGHEST]
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return tuple((low, high) for low, high in pairs if low < high)


def intersection(left: Region, right: Region) -> Region:
    """What lies in both. Raises NoRegionError."""
    return complement(union(complement(left), complement(right)))


def _solved(relation: Relation) -> Solutions:
    """The numbers that the letter of a relation may be; chains hold where each of their links does."""
    letter, region = "", REALS
    for left, sign, right in zip(relation.parts, relation.signs, relation.parts[1:], strict=False):
        found = _solved_link(left, sign, right)
        if letter and found.letter != letter:
            raise NoRegionError
        letter, region = found.letter, intersection(region, found.region)
    return Solutions(region, letter)


def _solved_link(left: Value, sign: str, right: Value) -> Solutions:
    if not isinstance(left, Quantity):
        raise NoRegionError
    if sign == "in":
        letters = proof.symbols(left.value.top)
        if len(letters) != 1 or left.value != ex.symbol(next(iter(letters))):
            raise NoRegionError
        return Solutions(solutions(right).region, next(iter(letters)))
    if not isinstance(right, Quantity):
        raise NoRegionError
    difference = ex.add(left.value, right.value, -1)
    letters = proof.symbols(difference.top)
    if len(letters) != 1 or difference.bottom != ONE:
        raise NoRegionError
    letter = next(iter(letters))
    inner, slope, rest = _linear(difference.top, letter)
    direction = proof.sign(slope)
    if not direction:
        raise NoRegionError
    border = ex.divide(ex.negate(rest), slope)
    if direction < 0:
        sign = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)
    region = _half_line(border, sign)
    if inner.kind == "symbol":
        return Solutions(region, letter)
    # |x| in the region: x in it from zero on, or minus x
    positive = intersection(region, ((End(ex.number(0), -1), _HIGHEST),))
    return Solutions(union(positive, _mirrored(positive)), letter)


def _mirrored(region: Region) -> Region:
    def mirror(end: End) -> End:
        return End(None if end.value is None else ex.negate(end.value), -end.side)

    return tuple((mirror(high), mirror(low)) for low, high in reversed(region))


def _half_line(border: Expression, sign: str) -> Region:
    if sign in ("<", "<="):
        return ((_LOWEST, End(border, 1 if sign == "<=" else -1)),)
    if sign in (">", ">="):
        return ((End(border, -1 if sign == ">=" else 1), _HIGHEST),)
    return (_point(border),) if sign == "=" else complement((_point(border),))


def _linear(polynomial: Polynomial, letter: Atom) -> tuple[Atom, Expression, Expression]:
    """Letter (or its absolute value), slope and rest. Raises NoRegionError where it is not linear."""
    slope: Polynomial = {}
    rest: Polynomial = {}
    inner: Atom | None = None
    for monomial, coefficient in polynomial.items():
        with_letter = [pair for pair in monomial if letter in proof.symbols(poly.of_atom(pair[0]))]
        others = tuple(pair for pair in monomial if pair not in with_letter)
        if not with_letter:
            rest[monomial] = coefficient
            continue
        atom, exponent = with_letter[0]
        is_absolute = atom.kind == "call" and atom.arguments == ("abs", ex.symbol(letter))
        known = atom == letter or is_absolute
        if len(with_letter) > 1 or exponent != Fraction(1) or not known or (inner is not None and atom != inner):
            raise NoRegionError
        inner = atom
        slope[others] = coefficient
    if inner is None:
        raise NoRegionError
    return inner, Expression(slope), Expression(rest)
