"""What counts as a number in a job file, a data set, or what a user's schedule returns."""

from __future__ import annotations

import math
import numbers
from typing import TypeGuard


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite real number, NumPy's included, and no bool. An int can be larger than any float: such is none."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
