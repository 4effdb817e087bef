"""How the components of a completion become one reward, or one advantage. Arrays have shape `[n]`: one group's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainer.normalisation import RELATIVE_FLOOR, Floats, Normalisation, normalise_group

CombinationKind = Literal["weighted_sum", "normalise_first", "gated", "lexicographic"]
KINDS: tuple[CombinationKind, ...] = ("weighted_sum", "normalise_first", "gated", "lexicographic")


@dataclass(frozen=True, slots=True)
class Combination:
    """How components are combined.

    `weighted_sum`: the reward is the weighted sum, which is then normalised.
    `normalise_first`: each component is normalised alone, the advantage is the weighted sum of these, so that no component
    drowns another by its scale (Liu et al. 2026, GDPO, section 3). The reward that is told is the weighted sum.
    `gated`: the weighted sum of the others times the product of the `gates`, such as format. A gate that fails gives 0,
    whatever the sum is: with a sum below 0 it would be a gain, so do not weigh others negatively.
    `lexicographic`: completions stand in the order of the first component of `order`; the next ones break its ties only.
    The sign of a weight says which end is better; its size, for the first component that differs, how much.
    """

    kind: CombinationKind = "weighted_sum"
    gates: tuple[str, ...] = ()
    """Components that multiply, for `gated`. Their weights play no part. One that does not apply to a group is open."""
    order: tuple[str, ...] = ()
    """Components from the most important on, for `lexicographic`."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.kind not in KINDS:
            raise ValueError(f"combine must be one of {', '.join(KINDS)}, not {self.kind!r}")
        for name, kind in (("gates", "gated"), ("order", "lexicographic")):
            given = getattr(self, name)
            if (self.kind == kind) != bool(given):
                raise ValueError(
                    f"combine = {kind!r} needs {name}" if not given else f"{name} is for combine = {kind!r}, not {self.kind!r}"
                )
            if len(set(given)) != len(given):
                raise ValueError(f"{name} names a component twice: {', '.join(given)}")

    def rewards(self, n: int, components: Mapping[str, Floats], weights: Mapping[str, float]) -> tuple[Floats, float]:
        """The rewards of a group of n, and the size of what they were added up from; 0 where nothing counts.

        components: of all completions of the group, each of shape `[n]`. weights: of those that count.
        """
        parts = {name: weight * components[name] for name, weight in weights.items() if name in components}
        if self.kind == "lexicographic":
            return _in_order(n, [parts[name] for name in self.order if name in parts]), 0.0
        summands = {name: part for name, part in parts.items() if name not in self.gates}
        gate = np.ones(n)
        for name in self.gates:
            gate = gate * components.get(name, 1.0)
        sizes = sum((np.abs(part) for part in summands.values()), np.zeros(n))
        return gate * sum(summands.values(), np.zeros(n)), float((np.abs(gate) * sizes).max())

    def advantages(
        self, n: int, components: Mapping[str, Floats], weights: Mapping[str, float], normalise: Normalisation
    ) -> Floats:
        """The advantages of a group, as `rewards` takes it. Raises ValueError as `normalise_group` does."""
        if self.kind != "normalise_first":
            return normalise_group(normalise, *self.rewards(n, components, weights))
        parts = [
            weight * normalise_group(normalise, components[name], float(np.abs(components[name]).max()))
            for name, weight in weights.items()
            if name in components
        ]
        total = sum(parts, np.zeros(n))
        size = sum((np.abs(part) for part in parts), np.zeros(n)).max()
        # Components that cancel leave float noise.
        return total if np.abs(total).max() > RELATIVE_FLOOR * size else np.zeros(n)


def _in_order(n: int, parts: list[Floats]) -> Floats:
    """Rewards that are ordered by the first part, its ties by the second, and so on.

    The first part that differs keeps its values. Each next one is ranked, and all its ranks fit into half of the smallest
    gap that there is, so that no order is turned.
    """
    total = np.zeros(n)
    for place, part in enumerate(map(_without_noise, parts)):
        gaps = np.diff(np.unique(total))
        if len(gaps) == 0:
            total = part if place == 0 else total + part - part.min()
            continue
        levels, ranks = np.unique(part, return_inverse=True)
        if len(levels) > 1:
            total = total + ranks / (len(levels) - 1) * (gaps.min() / 2)
    return total


def _without_noise(values: Floats) -> Floats:
    """Values that differ by float noise only made equal to the smallest of them."""
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order], prepend=values[order[:1]])
    firsts = np.maximum.accumulate(np.where(steps > RELATIVE_FLOOR * np.abs(values).max(), np.arange(len(values)), 0))
    clean = np.empty_like(values)
    clean[order] = values[order][firsts]
    return clean
