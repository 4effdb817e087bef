"""Which prompts are drawn, by how often the policy solved them: those near a wanted pass rate first, the others to explore."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.data_sections import CurriculumSection
from trainer.epochs import Epochs, Mask
from trainer.mixing import Mixer, shares_of
from trainer.schedules import parse_schedule


class PassRates:
    """The averaged pass rates of the prompts of a source, and the choice by them. Eight bytes a prompt.

    At each draw the band is `|rate - target(step)| <= width`. A share `1 - explore` of the draws, exact to within one, goes
    to the band, and the rest to the others: prompts not measured yet, and where all of those had their turn, measured ones
    out of the band, so that a rate that has gone stale is measured anew. Where one side has too few prompts, the other gets
    its draws: no prompt comes twice in a draw while there are others.
    """

    def __init__(self, section: CurriculumSection, size: int, total_steps: int) -> None:
        self._section, self._total = section, max(1, total_steps)
        self._target = parse_schedule(section.target)
        self._rates = np.full(size, np.nan)
        self._mixer = Mixer(2)
        self._in_band = 0.0

    def learned(self, row: int, rate: float) -> None:
        """`average += smoothing * (rate - average)`, begun with the first rate. rate: 0 to 1; raises ValueError."""
        if not 0 <= rate <= 1:
            raise ValueError(f"a pass rate is 0 to 1, not {rate!r}")
        old = float(self._rates[row])
        self._rates[row] = rate if math.isnan(old) else old + self._section.smoothing * (rate - old)

    def take(self, epochs: Epochs, eligible: Mask, count: int, step: int) -> list[int]:
        """The rows of a draw; `eligible` must hold one at least."""
        unknown = eligible & np.isnan(self._rates)
        band = eligible & ~unknown
        band[band] = np.abs(self._rates[band] - self._target(step, self._total)) <= self._section.width
        others = eligible & ~band
        explore = self._section.explore
        shares = shares_of([(1 - explore) * band.any(), explore * others.any()])
        wanted = [self._mixer.pick(shares) for _ in range(count)].count(0)
        draw = _Draw(epochs, count)
        draw.take(band, wanted)
        draw.take(unknown, min(draw.missing, epochs.left(unknown)))
        draw.take(others & ~unknown, draw.missing)
        draw.take(others, draw.missing)
        draw.take(band, draw.missing)
        rows = draw.rows + epochs.take(draw.missing, eligible)  # these only where more are drawn than are eligible
        self._in_band = float(band[rows].mean())
        return rows

    def metrics(self) -> dict[str, float]:
        """Of the source: how many are measured, the sum of their rates, and the share of the last draw from the band."""
        known = self._rates[~np.isnan(self._rates)]
        return {"measured": float(len(known)), "sum": float(known.sum()), "in_band": self._in_band}

    def state_dict(self) -> dict[str, Any]:
        """As JSON: the rates of the measured prompts, by row."""
        rows = np.flatnonzero(~np.isnan(self._rates)).tolist()
        return {"rates": {str(row): float(self._rates[row]) for row in rows}, "mixer": self._mixer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._rates[:] = np.nan
        for row, rate in state["rates"].items():
            self._rates[int(row)] = float(rate)
        self._mixer.load_state_dict(state["mixer"])


class _Draw:
    """Rows of one draw, none of them twice."""

    def __init__(self, epochs: Epochs, count: int) -> None:
        self._epochs, self._count = epochs, count
        self.rows: list[int] = []

    @property
    def missing(self) -> int:
        return self._count - len(self.rows)

    def take(self, wanted: Mask, most: int) -> None:
        """At most so many of the wanted rows, those first that have not had their turn."""
        free = wanted.copy()
        free[self.rows] = False
        while most > 0 and free.any():
            if not self._epochs.left(free):
                self._epochs.renew(wanted)
            rows = self._epochs.take(min(most, self._epochs.left(free)), free)
            self.rows += rows
            free[rows] = False
            most -= len(rows)
