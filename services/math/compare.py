"""Decides whether two values are the same answer, under a policy. Structure first, then `services.math.proof`.

A decision is True, False or None (not proven either way), with a word for why it is False.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from fractions import Fraction
from typing import NamedTuple

from services.math import expression as ex
from services.math import proof, regions
from services.math.calls import DEGREE
from services.math.checks import MathChecks
from services.math.equations import equivalent, is_name, named, rounded_part, same_order, unwrapped, with_plain_argument
from services.math.nearness import is_decimal, is_far_off, is_near, is_printed
from services.math.polynomial import PI, atoms
from services.math.units import factor
from services.math.values import Matrix, Named, Operation, Quantity, Ratio, Relation, Sequence, Value

_MAX_ITEMS = 60


class Decision(NamedTuple):
    """Whether the answer is right; None where that is not known. `reason` where it is wrong."""

    same: bool | None
    reason: str = ""


_YES, _UNKNOWN = Decision(True), Decision(None)


def _no(reason: str) -> Decision:
    return Decision(False, reason)


def compare(gold: Value, answer: Value, policy: MathChecks) -> Decision:
    """Whether the answer is the gold one."""
    if gold == answer and not _has_unreduced(answer, policy):
        return _YES
    if is_far_off(answer):
        return _no("value")
    rounded = rounded_part(answer)
    if rounded is not None and is_decimal(gold) and compare(gold, rounded, policy).same:
        return _YES
    gold, answer = unwrapped(gold), unwrapped(answer)
    if _is_congruence(gold) or _is_congruence(answer):
        return _compare_congruences(gold, answer, policy)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _compare_relations(gold, answer, policy)
    if isinstance(gold, Sequence) or isinstance(answer, Sequence):
        return _compare_sequences(gold, answer, policy)
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return compare_quantities(gold, answer, policy)
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return _compare_matrices(gold, answer, policy)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return _compare_ratios(gold, answer, policy)
    if isinstance(gold, Operation) or isinstance(answer, Operation):
        return _compare_regions(gold, answer)
    if isinstance(gold, Named) and isinstance(answer, Named):
        return _YES if gold == answer else _no("value")
    return _no("kind")


def compare_quantities(gold: Quantity, answer: Quantity, policy: MathChecks) -> Decision:
    """Two numbers or formulas, with what is written around them."""
    if _has_unreduced(answer, policy):
        return _no("unreduced fraction")
    if gold.base != answer.base and gold.base != 10 and answer.base != 10:
        return _no("base")
    if policy.units != "ignore" and ((gold.percent and answer.unit) or (answer.percent and gold.unit)):
        return _no("unit")
    wanted, given = gold.value, answer.value
    if gold.unit and answer.unit and gold.unit != answer.unit and policy.units != "ignore":
        times = factor(answer.unit, gold.unit) if policy.units == "convert" else None
        if times is None:
            return _no("unit")
        given = ex.multiply(ex.number(times), given)
    if gold.unit != answer.unit and ("degree",) in (gold.unit, answer.unit):
        wanted, given = _in_radians(gold, wanted, given), _in_radians(answer, given, wanted)
    if policy.percent == "ratio":
        candidates = [(_share(wanted) if gold.percent else wanted, _share(given) if answer.percent else given)]
    else:
        candidates = [(wanted, given)]
        if gold.percent != answer.percent:
            candidates.append((_share(wanted), given) if gold.percent else (wanted, _share(given)))
    unknown = False
    for one, other in candidates:
        same = _same_value(one, other, gold.step, answer.step, policy)
        if same:
            return _YES
        unknown = unknown or same is None
    return _UNKNOWN if unknown else _no("percent" if gold.percent != answer.percent else "value")


def _in_radians(quantity: Quantity, value: ex.Expression, other: ex.Expression) -> ex.Expression:
    """Degrees as a multiple of pi where the other side is one: 45 degrees are pi/4."""
    is_angle = quantity.unit == ("degree",) and PI in atoms(other.top)
    return ex.multiply(value, DEGREE) if is_angle else value


def _share(value: ex.Expression) -> ex.Expression:
    return ex.multiply(ex.number(Fraction(1, 100)), value)


def _has_unreduced(answer: Value, policy: MathChecks) -> bool:
    return policy.fractions == "reduced" and isinstance(answer, Quantity) and answer.unreduced


def _same_value(
    gold: ex.Expression, answer: ex.Expression, gold_step: Fraction | None, step: Fraction | None, policy: MathChecks
) -> bool | None:
    same = proof.equal(gold, answer)
    if same:
        return True
    if policy.relative_tolerance or policy.decimals is not None:
        near = is_near(gold, answer, policy)
        return near or same
    if step is not None or gold_step is not None:
        exact, printed = (gold, answer) if step is not None else (answer, gold)
        return is_printed(exact, printed, step or gold_step or Fraction(0)) or same
    return same


def _compare_matrices(gold: Matrix, answer: Matrix, policy: MathChecks) -> Decision:
    if [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
        return _no("shape")
    pairs = [pair for rows in zip(gold.rows, answer.rows, strict=True) for pair in zip(*rows, strict=True)]
    return _all([compare_quantities(one, other, policy) for one, other in pairs])


def _all(decisions: Many[Decision]) -> Decision:
    for each in decisions:
        if each.same is False:
            return each
    return _UNKNOWN if any(each.same is None for each in decisions) else _YES


def _compare_ratios(gold: Value, answer: Value, policy: MathChecks) -> Decision:
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        if len(gold.parts) != len(answer.parts):
            return _no("count")
        if gold.is_time and answer.is_time:
            return _all([compare_quantities(a, b, policy) for a, b in zip(gold.parts, answer.parts, strict=True)])
        first, other = gold.parts[0].value, answer.parts[0].value
        products = [
            (ex.multiply(one.value, other), ex.multiply(two.value, first))
            for one, two in zip(gold.parts, answer.parts, strict=True)
        ]
        return _all([Decision(proof.equal(*pair), "value") for pair in products])
    ratio, single = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    if not (isinstance(ratio, Ratio) and isinstance(single, Quantity)) or len(ratio.parts) != 2 or ratio.is_time:
        return _no("kind")
    if ratio.parts[1].value.rational == 0:
        return _no("value")
    return Decision(proof.equal(ex.divide(ratio.parts[0].value, ratio.parts[1].value), single.value), "value")


def _compare_regions(gold: Value, answer: Value) -> Decision:
    if isinstance(gold, Quantity) or isinstance(answer, Quantity):
        return _no("kind")
    try:
        one, other = regions.solutions(gold), regions.solutions(answer)
        if one.letter and other.letter and one.letter != other.letter:
            return _no("name")
        return _YES if regions.same(one.region, other.region) else _no("set")
    except regions.OtherKindError:
        return _no("kind")
    except regions.NoRegionError:
        return _UNKNOWN


# Congruences


def _is_congruence(value: Value) -> bool:
    return isinstance(value, Operation) and value.sign == "mod"


def _compare_congruences(gold: Value, answer: Value, policy: MathChecks) -> Decision:
    """`x = 1 (mod 3)` is `x = 4 (mod 3)`; without a modulus only a number is one's residue."""
    moduli = [each.right for each in (gold, answer) if isinstance(each, Operation) and each.sign == "mod"]
    one, other = (each.left if isinstance(each, Operation) and each.sign == "mod" else each for each in (gold, answer))
    if len(moduli) == 1:
        both = isinstance(one, Quantity) and isinstance(other, Quantity)
        return compare(one, other, policy) if both else _no("kind")
    found = compare(moduli[0], moduli[1], policy)
    if found.same is not True:
        return found
    found = compare(one, other, policy)
    residues = [unwrapped(each) for each in (one, other)]
    names = [each.parts[0] for each in residues if isinstance(each, Relation)]
    if found.same is not True and len(names) != 1 and names[:1] == names[1:]:
        amounts = [each.parts[-1] if isinstance(each, Relation) else each for each in residues]
        known = [each.value.rational for each in (*amounts, moduli[0]) if isinstance(each, Quantity)]
        if len(known) == 3 and all(isinstance(each, int) for each in known) and known[2]:
            return Decision((known[0] - known[1]) % known[2] == 0, "value")  # type: ignore[operator]
    return found


# Sequences


def _compare_sequences(gold: Value, answer: Value, policy: MathChecks) -> Decision:
    if isinstance(gold, Sequence) and isinstance(answer, Sequence):
        one, other = named(gold), named(answer)
        if one.names and other.names:
            return _compare_named(one.names, one.items, other.names, other.items, policy)
        if one.names or other.names:
            unnamed = other.sequence if one.names else one.sequence
            if unnamed.opening not in ("", "("):
                return _no("brackets")
            return _compare_in_order(one.items, other.items, policy)
        gold, answer = one.sequence, other.sequence
        if gold.is_set and answer.is_set:
            return _compare_sets(gold, answer, policy)
        if gold.is_set == answer.is_set:
            return _compare_tuples(gold, answer, policy)
        return _compare_regions(gold, answer) if _is_region(gold) or _is_region(answer) else _no("brackets")
    if isinstance(gold, Operation) or isinstance(answer, Operation) or _is_region(gold) or _is_region(answer):
        return _compare_regions(gold, answer)
    if isinstance(gold, Sequence):
        is_single = gold.opening == "{" and len(gold.items) == 1
        return compare(gold.items[0], answer, policy) if is_single else _no("incomplete")
    if isinstance(answer, Sequence):
        if policy.several == "last" and not answer.opening:
            return compare(gold, answer.items[-1], policy)
        if answer.opening == "{" and len(answer.items) == 1:
            return compare(gold, answer.items[0], policy)
    return _no("several answers")


def _is_region(value: Value) -> bool:
    """Whether it can only be a set of real numbers."""
    if isinstance(value, Operation | Named):
        return not (isinstance(value, Named) and value.name.endswith(("oo", "...")))
    if isinstance(value, Sequence) and value.is_set:
        return any(isinstance(each, Relation) and each.signs != ("=",) for each in value.items)
    return isinstance(value, Sequence) and len(value.items) == 2 and value.opening + value.closing not in ("()", "[]")


def _compare_tuples(gold: Sequence, answer: Sequence, policy: MathChecks) -> Decision:
    if (gold.opening, gold.closing) != (answer.opening, answer.closing):
        return _no("brackets")
    if len(gold.items) != len(answer.items):
        return _no("count")
    found = _compare_in_order(gold.items, answer.items, policy)
    if found.same is False and same_order(gold, answer):
        return _no("order")
    return found


def _compare_in_order(gold: Many[Value], answer: Many[Value], policy: MathChecks) -> Decision:
    if len(gold) != len(answer):
        return _no("count")
    return _all([compare(one, other, policy) for one, other in zip(gold, answer, strict=True)])


def _compare_named(
    gold_names: Many[Value], gold: Many[Value], names: Many[Value], answer: Many[Value], policy: MathChecks
) -> Decision:
    if len(gold) != len(answer):
        return _no("count")
    decisions = []
    for name, value in zip(gold_names, gold, strict=True):
        if name not in names:
            return _no("name")
        decisions.append(compare(value, answer[list(names).index(name)], policy))
    return _all(decisions)


def _compare_sets(gold: Sequence, answer: Sequence, policy: MathChecks) -> Decision:
    """Each item of one is one of the other's; how often it is named does not count."""
    if _is_region(gold) or _is_region(answer):
        found = _compare_regions(gold, answer)
        if found.same is not None:
            return found
        return _YES if _compare_items(gold, answer, policy).same else _UNKNOWN
    return _compare_items(gold, answer, policy)


def _compare_items(gold: Sequence, answer: Sequence, policy: MathChecks) -> Decision:
    if max(len(gold.items), len(answer.items)) > _MAX_ITEMS:
        return _compare_in_order(gold.items, answer.items, policy)
    one, other = _distinct(gold, policy), _distinct(answer, policy)
    if len(one) != len(other):
        return _no("count")
    rest, unknown = list(other), False
    for each in one:
        for place, candidate in enumerate(rest):
            same = _is_set(each) == _is_set(candidate) and compare(each, candidate, policy).same
            unknown = unknown or same is None
            if same:
                del rest[place]
                break
        else:
            return _UNKNOWN if unknown else _no("value")
    return _YES


def _is_set(item: Value) -> bool:
    return isinstance(item, Sequence) and item.opening == "{"


def _distinct(sequence: Sequence, policy: MathChecks) -> list[Value]:
    kept: list[Value] = []
    for each in sequence.items:
        if not any(compare(each, other, policy).same for other in kept):
            kept.append(each)
    return kept


# Relations


def _compare_relations(gold: Value, answer: Value, policy: MathChecks) -> Decision:
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        if gold.signs == answer.signs == ("=",):
            return _compare_equations(gold, answer, policy)
        if "=" in gold.signs + answer.signs and gold.signs != answer.signs:
            return _no("kind")
        found = _compare_regions(gold, answer)
        return found if found.same is not None else equivalent_decision(gold, answer)
    relation, other = (gold, answer) if isinstance(gold, Relation) else (answer, gold)
    if relation.signs != ("=",):  # type: ignore[union-attr]
        return _compare_regions(gold, answer)
    left, right = relation.parts  # type: ignore[union-attr]
    if isinstance(other, Operation) or not is_name(left, right):
        return _no("kind")
    if isinstance(other, Sequence) and other.is_set and relation is answer:
        return compare(gold, right, policy)
    return compare(gold, right, policy) if relation is answer else compare(right, answer, policy)


def _compare_equations(gold: Relation, answer: Relation, policy: MathChecks) -> Decision:
    (left, right), (other_left, other_right) = gold.parts, answer.parts
    if is_name(left, right) and is_name(other_left, other_right):
        if left == other_left:
            return compare(right, other_right, policy)
        plain, other_plain = with_plain_argument(gold), with_plain_argument(answer)
        if plain.parts[0] == other_plain.parts[0]:
            return compare(plain.parts[1], other_plain.parts[1], policy)
    found = equivalent(gold, answer)
    if found:
        return _YES
    names_differ = is_name(left, right) and is_name(other_left, other_right) and left != other_left
    return Decision(found, "name" if names_differ else "value")


def equivalent_decision(gold: Relation, answer: Relation) -> Decision:
    found = equivalent(gold, answer)
    return Decision(found, "" if found else "value")
