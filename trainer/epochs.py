"""The order in which the rows of a data set are drawn: every epoch is a fresh permutation, and each row has its turn in it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


def permutation(size: int, key: int, epoch: int) -> Rows:
    """The order of an epoch, a pure function of its arguments. key: below 2^64."""
    return np.random.Generator(np.random.Philox(key=[key, epoch])).permutation(size)


class Epochs:
    """Which rows of a data set had their turn. Nine bytes of memory a row; a draw looks at all rows once, vectorised."""

    def __init__(self, size: int, key: int) -> None:
        self._size, self._key = size, key
        self._start(0)
        self._taken: Mask = np.zeros(size, bool)

    def take(self, count: int, wanted: Mask) -> list[int]:
        """The next `count` of the wanted rows; `wanted` (shape `(size,)`) must hold one at least.

        Where all wanted rows had their turn, a new epoch begins for them; the others, whose time may come, keep their turn.
        So a draw that crosses an epoch's end may hold a row twice. Raises ValueError where no row is wanted.
        """
        if count and not wanted.any():
            raise ValueError("no row is wanted")
        picked: list[int] = []
        while len(picked) < count:
            rows = self._left(wanted)[: count - len(picked)]
            if not len(rows):
                self.renew(wanted)
                continue
            self._taken[rows] = True
            picked += rows.tolist()
        return picked

    def renew(self, wanted: Mask) -> None:
        """Begins a new epoch: the wanted rows have their turns again."""
        self._taken[wanted] = False
        self._start(self._epoch + 1)

    def left(self, wanted: Mask) -> int:
        """How many of the wanted rows have not had their turn in this epoch."""
        return int(np.count_nonzero(wanted & ~self._taken))

    def state_dict(self) -> dict[str, Any]:
        """As JSON: a bit a row, in the order of the epoch, compressed; a few bytes where rows are drawn in their order."""
        bits = np.packbits(self._taken[self._order]).tobytes()
        return {"epoch": self._epoch, "taken": base64.b64encode(zlib.compress(bits)).decode()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there; the state must be one of the same key. Raises ValueError where it is of another number of rows."""
        self._start(int(state["epoch"]))
        try:
            bits = np.frombuffer(zlib.decompress(base64.b64decode(state["taken"])), np.uint8)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(bits) != -(-self._size // 8):
            raise ValueError(f"turns of {8 * len(bits)} rows, not {self._size}")
        self._taken[self._order] = np.unpackbits(bits, count=self._size).astype(bool)

    def _start(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = permutation(self._size, self._key, epoch)

    def _left(self, wanted: Mask) -> Rows:
        return self._order[(wanted & ~self._taken)[self._order]]
