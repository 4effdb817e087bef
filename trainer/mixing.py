"""Whose turn it is among several sources, in proportions that hold at every moment and not only on average.

The rule is Tijdeman's ("The chairman assignment problem", Discrete Mathematics 32, 1980): under constant shares, after any
number of draws every source has had its share of them to within less than one draw. Nothing is random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WHOLE = 1 << 40
"""Shares are whole numbers that add up to this, so that what a source is due is exact however long the run."""


def shares_of(weights: Sequence[float]) -> list[int]:
    """Weights (0 or more, finite, not all 0) as shares of `WHOLE`; exact to 2^-40 each, and their sum is exact."""
    most = max(weights)
    scaled = [weight / most for weight in weights]  # so that the sum of huge weights is no infinity
    total = sum(scaled)
    shares = [round(weight / total * WHOLE) for weight in scaled]
    shares[weights.index(most)] += WHOLE - sum(shares)
    return shares


class Mixer:
    """Chooses among `count` sources. Its state is what each is due: draws, in units of 1 / `WHOLE`."""

    def __init__(self, count: int) -> None:
        self._due = [0] * count

    def pick(self, shares: Sequence[int]) -> int:
        """The source of the next draw, never one whose share is 0. shares: of `shares_of`.

        Of the sources that are due 1 / (2k - 2) of a draw or more, k being their number, the one goes first that would be
        the first to be due 1 - 1 / (2k - 2) if the shares stayed as they are.
        """
        for source, share in enumerate(shares):
            self._due[source] += share
        running = [source for source, share in enumerate(shares) if share]
        slack = WHOLE // max(2, 2 * len(shares) - 2)
        ready = [source for source in running if self._due[source] >= slack]
        if ready:
            picked = min(ready, key=lambda source: max(0, -((self._due[source] - WHOLE + slack) // shares[source])))
        else:  # only where a source that is due something has a share of 0 by now
            picked = max(running, key=lambda source: self._due[source])
        self._due[picked] -= WHOLE
        return picked

    def state_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"due": list(self._due)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there. Raises ValueError for a state of another number of sources."""
        due = [int(each) for each in state["due"]]
        if len(due) != len(self._due):
            raise ValueError(f"a mixture of {len(due)} sources, not {len(self._due)}")
        self._due = due
