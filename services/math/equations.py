"""Equations and assignments: what a name is, which lists are named, and when two equations say the same."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from services.math import expression as ex
from services.math import polynomial as poly
from services.math import proof
from services.math.expression import Expression
from services.math.functions import KNOWN
from services.math.polynomial import Atom, Monomial, Polynomial
from services.math.values import Quantity, Ratio, Relation, Sequence, Value

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def unwrapped(value: Value) -> Value:
    """A chain of equations is its first letter, or its first side, and its last; `5 = x` is `x = 5`.

    Of `3 + 4 = 7` the last side counts.
    """
    if isinstance(value, Relation) and "~" in value.signs:
        value = _exact_part(value)
    if isinstance(value, Relation) and set(value.signs) == {"="}:
        left, right = value.parts[0], value.parts[-1]
        for each in value.parts[:-1]:
            if isinstance(each, Quantity) and _is_letter(each.value):
                left = each
                break
        if _is_constant(left) and _is_constant(right):
            return right
        if _is_constant(left) and isinstance(right, Quantity) and _is_letter(right.value):
            left, right = right, left
        return Relation((left, right), ("=",))
    return value


def _exact_part(value: Relation) -> Value:
    """`x = 10/3` of `x = 10/3 ~ 3.33`; where only a name stands before the sign, the number behind it is the value."""
    place = value.signs.index("~")
    if place == 0 and is_name(value.parts[0], value.parts[1]):
        return Relation(value.parts[:2], ("=",))
    return Relation(value.parts[: place + 1], value.signs[:place]) if place else value.parts[0]


def rounded_part(value: Value) -> Value | None:
    """The number that the value is about, where it says one: 3.33 of `10/3 ~ 3.33`."""
    return value.parts[-1] if isinstance(value, Relation) and value.signs[-1] == "~" else None


def _is_constant(value: Value) -> bool:
    return isinstance(value, Quantity) and not proof.symbols(value.value.top) and not proof.symbols(value.value.bottom)


def _is_letter(value: Expression) -> bool:
    return value.bottom == poly.ONE and len(value.top) == 1 and _single(value) is not None


def _single(value: Expression) -> Atom | None:
    """The atom that the expression is."""
    if len(value.top) != 1 or value.bottom != poly.ONE:
        return None
    ((monomial, coefficient),) = value.top.items()
    if coefficient != 1 or len(monomial) != 1 or monomial[0][1] != 1:
        return None
    return monomial[0][0] if monomial[0][0].kind in ("symbol", "call", "constant", "i") else None


def is_name(left: Value, right: Value) -> bool:
    """Whether the left side of an equation only names the right one: `x`, `f(2)`, `|AB|`, `NO/BO`, `(p, q)`, `S:T`."""
    if isinstance(left, Ratio):
        return all(is_name(each, right) for each in left.parts)
    if isinstance(left, Sequence):
        return not left.is_set and all(isinstance(e, Quantity) and _is_letter(e.value) for e in left.items)
    if not isinstance(left, Quantity):
        return False
    value = left.value
    if len(value.top) != 1 or value.bottom != poly.ONE:
        return False
    ((monomial, coefficient),) = value.top.items()
    if coefficient != 1 or not monomial:
        return False
    simple = all(e in (1, -1) and a.kind in ("symbol", "call", "constant", "i") for a, e in monomial)
    own = {atom for atom, _ in monomial}
    theirs = (
        proof.symbols(right.value.top) | proof.symbols(right.value.bottom) if isinstance(right, Quantity) else set()
    )
    return simple and not own & theirs and (len(monomial) == 1 or all(a.kind == "symbol" for a in own))


def with_plain_argument(relation: Relation) -> Relation:
    """`f(t) = 2t` as `f(#) = 2#`, so that the argument's name does not count."""
    left, right = relation.parts
    atom = _single(left.value) if isinstance(left, Quantity) else None
    if atom is None or atom.kind != "call" or len(atom.arguments) != 2 or not isinstance(right, Quantity):
        return relation
    argument = _single(atom.arguments[1])
    if argument is None or argument.kind != "symbol" or _is_nested(right.value, argument):
        return relation
    plain = ex.symbol("#")
    name = atom.arguments[0]
    renamed = ex.of(Atom.make(f"{name}({plain.text})", "call", name, plain))
    value = Expression(_renamed(right.value.top, argument), _renamed(right.value.bottom, argument))
    return Relation((Quantity(renamed), Quantity(value, right.unit, right.percent)), ("=",))


def _is_nested(value: Expression, letter: Atom) -> bool:
    inner = {atom for side in value for atom in poly.atoms(side) if atom.kind != "symbol"}
    return any(letter in proof.symbols(poly.of_atom(atom)) for atom in inner)


def _renamed(polynomial: Polynomial, letter: Atom) -> Polynomial:
    plain = Atom.make("#", "symbol")
    return {
        tuple(sorted((plain if atom == letter else atom, e) for atom, e in monomial)): coefficient
        for monomial, coefficient in polynomial.items()
    }


class NamedItems(NamedTuple):
    """A sequence of assignments: names and values. Without names where there is only one, or none."""

    names: tuple[Value, ...]
    items: tuple[Value, ...]
    sequence: Sequence


def named(sequence: Sequence) -> NamedItems:
    """What a list assigns: `x = 1, y = 2`; `x = 1, x = 2` and `x = 1, 2` are the plain list; `p=5,q=2;p=7,q=2` two pairs."""
    items = tuple(unwrapped(each) for each in sequence.items)
    sequence = Sequence(sequence.opening, items, sequence.closing, sequence.joined_by_or)
    pairs = [_assigned(each) for each in items]
    if not sequence.is_set or pairs[0] is None:
        return NamedItems((), items, sequence)
    if all(pair is None for pair in pairs[1:]) and not any(isinstance(each, Relation) for each in items[1:]):
        return NamedItems((), items, _list((pairs[0][1], *items[1:]), sequence))
    if any(pair is None for pair in pairs):
        return NamedItems((), items, sequence)
    names = [pair[0] for pair in pairs if pair]
    values = tuple(pair[1] for pair in pairs if pair)
    different = [name for place, name in enumerate(names) if name not in names[:place]]
    if len(different) == 1:
        return NamedItems((), values, _list(values, sequence))
    if len(different) == len(names):
        return NamedItems(tuple(names), values, sequence)
    width = len(different)
    if names == different * (len(names) // width):
        rows = tuple(Sequence("(", values[at : at + width], ")") for at in range(0, len(values), width))
        return NamedItems((), rows, _list(rows, sequence))
    return NamedItems((), items, sequence)


def _list(items: tuple[Value, ...], like: Sequence) -> Sequence:
    return Sequence(like.opening, items, like.closing, like.joined_by_or)


def _assigned(value: Value) -> tuple[Value, Value] | None:
    if isinstance(value, Relation) and value.signs == ("=",) and is_name(*value.parts):
        return value.parts[0], value.parts[1]
    return None


def same_order(gold: Sequence, answer: Sequence) -> bool:
    """Whether the two hold the same items, in whatever order."""
    rest = list(answer.items)
    for each in gold.items:
        if each not in rest:
            return False
        rest.remove(each)
    return not rest


def equivalent(gold: Relation, answer: Relation) -> bool | None:
    """Whether two relations of two sides are one the multiple of the other; None where that is not proven."""
    if len(gold.signs) != 1 or len(answer.signs) != 1:
        return None
    sides = [*gold.parts, *answer.parts]
    if not all(isinstance(each, Quantity) for each in sides):
        return None
    one = ex.add(gold.parts[0].value, gold.parts[1].value, -1)  # type: ignore[union-attr]
    other = ex.add(answer.parts[0].value, answer.parts[1].value, -1)  # type: ignore[union-attr]
    sign, other_sign = gold.signs[0], answer.signs[0]
    if sign not in ("=", "!="):
        if one.bottom != poly.ONE or other.bottom != poly.ONE:
            return None
        if sign in (">", ">="):
            sign, one = _FLIPPED[sign], ex.negate(one)
        if other_sign in (">", ">="):
            other_sign, other = _FLIPPED[other_sign], ex.negate(other)
    if sign != other_sign:
        return False
    return _proportional(one.top, other.top, sign not in ("=", "!="))


def _proportional(one: Polynomial, other: Polynomial, positive: bool) -> bool | None:
    """Whether one is a constant nonzero multiple of the other; with `positive`, a positive one."""
    left, right = _by_letters(one), _by_letters(other)
    if not left or not right:
        return None if left or right else True
    if left.keys() != right.keys():
        atoms = {atom for monomial in (*left, *right) for atom, _ in monomial}
        return False if all(map(_is_unknown, atoms)) else None
    first = min(left)
    for monomial in left:
        products = poly.multiply(left[monomial], right[first]), poly.multiply(right[monomial], left[first])
        same = proof.is_zero(poly.add(*products, -1))
        if not same:
            return same
    if not positive:
        return True
    signs = proof.sign(Expression(left[first])), proof.sign(Expression(right[first]))
    return None if None in signs else signs[0] == signs[1]


def _is_unknown(atom: Atom) -> bool:
    """Whether it is a letter, or a function that nothing is known of: no relation holds between those."""
    return atom.kind == "symbol" or (atom.kind == "call" and atom.arguments[0] not in KNOWN)


def _by_letters(polynomial: Polynomial) -> dict[Monomial, Polynomial]:
    """Constant coefficients by the part of the monomial that has letters."""
    found: dict[Monomial, Polynomial] = {}
    for monomial, coefficient in polynomial.items():
        letters = tuple(pair for pair in monomial if proof.symbols(poly.of_atom(pair[0])))
        rest = tuple(pair for pair in monomial if pair not in letters)
        found[letters] = poly.add(found.get(letters, {}), {rest: Fraction(coefficient)})
    return {letters: coefficient for letters, coefficient in found.items() if coefficient}
