"""Numbers that are near each other: tolerances, decimals that a computer printed, approximations."""

from __future__ import annotations

from fractions import Fraction

from services.math import expression as ex
from services.math import proof
from services.math.checks import MathChecks
from services.math.values import Quantity, Relation, Value


def is_near(gold: ex.Expression, answer: ex.Expression, policy: MathChecks) -> bool:
    """Whether two real constants differ by no more than the policy's tolerances."""
    if any(proof.symbols(side) for value in (gold, answer) for side in value):
        return False
    difference = ex.add(gold, answer, -1)
    if policy.relative_tolerance:
        share = ex.multiply(ex.number(Fraction(policy.relative_tolerance)), gold)
        if _at_most(difference, share):
            return True
    return policy.decimals is not None and _at_most(difference, ex.number(Fraction(1, 2 * 10**policy.decimals)))


def _at_most(difference: ex.Expression, bound: ex.Expression) -> bool:
    """Whether |difference| <= |bound|, for real constants."""
    low, high = ex.add(bound, difference, -1), ex.add(bound, difference)
    signs = proof.sign(low), proof.sign(high)
    if proof.sign(bound) == -1:
        signs = tuple(None if each is None else -each for each in signs)
    return all(each is not None and each >= 0 for each in signs)


def is_printed(exact: ex.Expression, printed: ex.Expression, step: Fraction) -> bool:
    """Whether a decimal is what a computer prints for a number that has no end of decimals itself."""
    known = exact.rational
    if known is not None and _ends(Fraction(known)):
        return False
    return _at_most(ex.add(exact, printed, -1), ex.number(step))


def is_far_off(value: Value) -> bool:
    """Whether the two numbers of `a ~ b` differ by more than a tenth, so that they are two answers."""
    if not isinstance(value, Relation) or value.signs[-1] != "~":
        return False
    exact, rounded = value.parts[-2:]
    if not (isinstance(exact, Quantity) and isinstance(rounded, Quantity)):
        return False
    if exact.unit != rounded.unit or exact.percent != rounded.percent or proof.sign(exact.value) is None:
        return False
    return not is_near(exact.value, rounded.value, _ROUGHLY)


_ROUGHLY = MathChecks(gold="0", relative_tolerance=0.1)


def is_decimal(value: Value) -> bool:
    """Whether it is a number whose decimals end."""
    known = value.value.rational if isinstance(value, Quantity) else None
    return known is not None and _ends(Fraction(known))


def _ends(value: Fraction) -> bool:
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1
