"""How good groups are as baselines: what they explain of the rewards, and what they leave of the prompts' difficulty."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.normalisation import RELATIVE_FLOOR

Floats = NDArray[np.float64]


def group_metrics(
    rewards: Floats, groups: Sequence[Hashable], prompts: Sequence[Hashable], kinds: Sequence[Hashable]
) -> dict[str, float]:
    """`quality`, `mixed` and `difficulty` of completions with rewards, one of each a completion.

    `quality`: `1 - (SSW / (n - k)) / (SST / (n - d))`, with the squares SSW of the rewards about the means of their k groups
    and SST about those of their d kinds (domains, and components that count): the share of the rewards' variance that the
    groups' baselines take away, beyond what groups of these sizes would by chance (the adjusted coefficient of
    determination). 1 at most, about 0 for random groups, below it for worse; 0 where there is no variance, or every group
    is alone.

    `mixed`: the share of completions whose group holds more than one prompt.

    `difficulty`: with `a`, a reward minus its group's mean, the squares of the prompts' means of `a` over those of `a`: the
    share of the advantages that is the prompt's and not the completion's. 0 where each prompt's completions are a group.
    """
    if len(rewards) == 0:
        return {"quality": 0.0, "mixed": 0.0, "difficulty": 0.0}
    of_group, of_prompt, of_kind = (_numbered(names) for names in (groups, prompts, kinds))
    centred = _centred(rewards, of_group)
    within, whole = _squares(centred), _squares(_centred(rewards, of_kind))
    n, k, d = len(rewards), int(of_group.max()) + 1, int(of_kind.max()) + 1
    held: dict[int, set[int]] = {}
    for group, prompt in zip(of_group.tolist(), of_prompt.tolist(), strict=True):
        held.setdefault(group, set()).add(prompt)
    return {
        "quality": 1 - (within / (n - k)) / (whole / (n - d)) if whole > 0 and n > k else 0.0,
        "mixed": float(np.mean([len(held[group]) > 1 for group in of_group.tolist()])),
        "difficulty": _squares(_means(centred, of_prompt)) / within if within > 0 else 0.0,
    }


def _numbered(names: Sequence[Hashable]) -> NDArray[np.int64]:
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.int64)


def _means(values: Floats, index: NDArray[np.int64]) -> Floats:
    """For each, the mean of those of its number."""
    return (np.bincount(index, values) / np.bincount(index))[index]


def _centred(values: Floats, index: NDArray[np.int64]) -> Floats:
    """Minus the mean of those of its number; 0 where only rounding is left."""
    rest = values - _means(values, index)
    return np.where(np.abs(rest) <= RELATIVE_FLOOR * np.abs(values).max(), 0.0, rest)


def _squares(values: Floats) -> float:
    return float((values**2).sum())
