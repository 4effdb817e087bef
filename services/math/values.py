"""What an answer is once it is read: quantities, and sequences, matrices, relations and sets of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from services.math.expression import Expression


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression and what was written around it."""

    value: Expression
    unit: tuple[str, ...] = ()
    """The words of the unit where all of them name measures; otherwise nothing."""
    percent: bool = False
    base: int = 10
    step: Fraction | None = None
    """Of a decimal with so many digits that it was printed by a computer: one unit of its last digit."""
    unreduced: bool = False
    """Whether it was written with a fraction of two whole numbers that can be reduced."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """Values in brackets: `(1, 2)`, `[0, 1)`, `\\{1, 2\\}`; without brackets a list, whose order does not count."""

    opening: str
    items: tuple[Value, ...]
    closing: str
    joined_by_or: bool = False

    @property
    def is_set(self) -> bool:
        return self.opening in ("", "{")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of expressions, all of one length."""

    rows: tuple[tuple[Quantity, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """`parts[0] signs[0] parts[1] ...`; a sign is one of = ~ < > <= >= != in; ~ is "about"."""

    parts: tuple[Value, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """A union, an intersection or a difference of sets."""

    sign: str
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Named:
    """The empty set (`{}`), a set of numbers (`R`, `Z`, `N`, `Q`, `C`), plus or minus infinity, or what goes on (`...`)."""

    name: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """`7:32`, of two parts or more."""

    parts: tuple[Quantity, ...]
    text: str

    @property
    def is_time(self) -> bool:
        """Whether it may be a time of day, which is no other's multiple: `3:45`."""
        return _TIME.fullmatch(self.text) is not None


_TIME = re.compile(r"(?:[01]?\d|2[0-4]):[0-5]\d(?:forenoon|afternoon)?")


Value = Quantity | Sequence | Matrix | Relation | Operation | Named | Ratio
