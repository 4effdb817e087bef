"""Prompts that a program makes: sums that grow harder for ever.

Name it in a job file: `iterator = "examples.data.sums:sums"`. A generator is enough; a run that goes on takes as many
rows as it had taken. `Sums` keeps its place instead, so that nothing is taken twice.
"""

import random
from collections.abc import Iterator
from typing import Any


def sums(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows for the domain `math`; the numbers grow by one digit every 1,000 rows."""
    place = 0
    while True:
        yield row(seed, place)
        place += 1


class Sums:
    """The same rows, with a place that goes into the checkpoint."""

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.place = seed, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            self.place += 1
            yield row(self.seed, self.place - 1)

    def state_dict(self) -> dict[str, Any]:
        """Anything that JSON can hold."""
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Called before the first row is asked for."""
        self.place = state["place"]


def row(seed: int, place: int) -> dict[str, Any]:
    """The sum at a place, a pure function of both."""
    draw = random.Random(f"{seed} {place}")
    digits = 1 + place // 1000
    a, b = draw.randrange(10**digits), draw.randrange(10**digits)
    return {"prompt": f"{a} + {b} =", "checks": {"gold": str(a + b)}, "difficulty": digits}
