"""The slow path: Math-Verify and sympy decide what exact arithmetic cannot (integrals, limits, systems of equations).

Nothing here limits time or memory: it runs in processes of `services.math.nursery` only, which are killed. Math-Verify's
LaTeX reader is used alone; the one for plain text hands its input to Python's `eval`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

PRECISION_DIGITS = 30
ROUNDING_DIGITS = 12
"""Decimals that floats inside sets, tuples and matrices are rounded to, where Math-Verify compares them."""
MIN_RELATIVE_TOLERANCE = 1e-14
"""Numbers that sympy can only approximate count as equal within this."""

_WARM_UP = (
    ("x + 1", r"\frac{2x + 2}{2}"),
    (r"\{1, \sqrt{2}\}", r"\{\sqrt{2}, 1\}"),
    (r"\int_0^1 x dx", r"\frac{1}{2}"),
    (r"\begin{pmatrix}1 & 2\end{pmatrix}", r"\begin{pmatrix}1 & \frac{4}{2}\end{pmatrix}"),
    ("x < 1", "1 > x"),
    (r"\sin(2x)", r"2\sin(x)\cos(x)"),
)


def parse(text: str) -> Sequence[Any]:
    """Sympy objects that the normalised text may mean; none where it means nothing to Math-Verify."""
    verifier = _math_verify()
    config = verifier.LatexExtractionConfig(boxed_match_priority=-1)
    return verifier.parse(f"${text}$", [config], fallback_mode="no_fallback", parsing_timeout=None)


def equal(gold: Sequence[Any], answer: Sequence[Any], relative_tolerance: float) -> bool:
    """Whether an answer is the gold one. Both as `parse` returns them; not symmetric: gold sets the form."""
    from sympy.core import random

    random.seed(0)  # sympy tries random points; the same pair gets the same ones
    tolerance = max(relative_tolerance, MIN_RELATIVE_TOLERANCE)
    for one in gold:
        for other in answer:
            close = _close(one, other, tolerance)
            if close or (close is None and _verified(one, other)):
                return True
    return False


def warm_up() -> None:
    """Imports everything and fills sympy's caches. Raises RuntimeError where Math-Verify does not work."""
    for gold, answer in _WARM_UP:
        if not equal(parse(gold), parse(answer), 0.0):
            raise RuntimeError(f"Math-Verify does not take {answer} for {gold}; its installation is broken")


def _close(gold: Any, answer: Any, tolerance: float) -> bool | None:
    """Whether two numbers are equal within a relative tolerance; None unless both are numbers.

    Math-Verify rounds to a number of decimals, and so takes 1/2004! for 1/2006!.
    """
    if not (getattr(gold, "is_number", False) and getattr(answer, "is_number", False)):
        return None
    try:
        left, right = gold.doit().evalf(PRECISION_DIGITS), answer.doit().evalf(PRECISION_DIGITS)
        if not (left.is_finite and right.is_finite):
            return None
        return bool(abs(left - right) <= tolerance * max(abs(left), abs(right)))
    except (TypeError, ValueError, ArithmeticError, AttributeError):  # what sympy cannot compare
        return None


def _verified(gold: Any, answer: Any) -> bool:
    return _math_verify().verify(
        gold, answer, float_rounding=ROUNDING_DIGITS, numeric_precision=PRECISION_DIGITS, timeout_seconds=None
    )


@functools.cache
def _math_verify() -> Any:
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # its warnings quote answers
    return math_verify
