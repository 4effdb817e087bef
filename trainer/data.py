"""What a prompt is, and what is said of data that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LONGEST_ID = 128


class DataError(ValueError):
    """A data set that cannot be used; the message names the file, the line or row, and the field."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to roll out. `checks` goes to the scorers of its domain, as it stands in the data."""

    id: str
    domain: str
    text: str
    checks: dict[str, Any]
    difficulty: float | None = None
    """In any unit, as the data have it; None where they say nothing."""


def kind_of(value: object) -> str:
    """What a value is, for a message: never what it holds, which is the user's."""
    return type(value).__name__ + (" (empty)" if isinstance(value, (str, list)) and not value else "")
