"""From named reward components to one advantage for each completion.

A completion's reward is the weighted sum of its components. A component that is missing is no number, so the completion
is kept out of its group's mean and spread and is not trained on; it is never counted as 0. All arithmetic is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Normalisation = Literal["group_mean_std", "group_mean", "none"]
MissingPolicy = Literal["drop_sample", "drop_group", "fail"]

# Rewards of a group that differ by less than a millionth of their size are equal. Scores computed in float32, and sums
# such as 0.1 + 0.2 - 0.3, differ by more than 0 where nothing differs, and a division by their spread would make an
# advantage of 1 out of that noise.
RELATIVE_FLOOR = 1e-6


class MissingRewardError(ValueError):
    """A component is missing and the job's policy is to fail."""


@dataclass(frozen=True)
class ScoredCompletion:
    """A completion's components. A name that no completion of the group has does not apply to it, and counts nothing."""

    group: Hashable
    """Which prompt it answers."""
    components: Mapping[str, float]
    """Finite values."""
    missing: frozenset[str] = frozenset()
    """Components that could not be had. What others of the group have and this one has not is missing too."""


@dataclass(frozen=True)
class Advantages:
    """Arrays have shape `[n]`, in the order of the completions."""

    advantages: NDArray[np.float64]
    """0 where `kept` is False."""
    rewards: NDArray[np.float64]
    """Weighted sums; NaN where a component is missing."""
    kept: NDArray[np.bool_]
    """False for completions that are not to be trained on."""
    groups: int
    """How many groups there are."""
    zero_signal_groups: int
    """Groups with something kept whose advantages are all 0: they teach nothing."""
    dropped_completions: int
    dropped_groups: int
    """Groups of which nothing was kept."""


def compute_advantages(
    completions: Sequence[ScoredCompletion],
    weights: Mapping[str, float],
    normalise: Normalisation = "group_mean_std",
    missing: MissingPolicy = "drop_sample",
) -> Advantages:
    """Advantages of completions whose components count `weights`, normalised within each group.

    `weights` holds the values at this step; a component of weight 0 may be missing without harm. Normalisations:
    `group_mean_std`, `(r - mean) / std` with the sample standard deviation (Shao et al. 2024, DeepSeekMath, section
    4.1.2); `group_mean`, without the division (Liu et al. 2025, Dr.GRPO); `none`, the reward itself. A group of one has
    advantage 0 under the first two.

    Raises MissingRewardError under the policy `fail`, and ValueError where a weight names no component of any
    completion, or where an option or a value is not what it must be.
    """
    _check(completions, normalise, missing)
    counted = {name: float(weight) for name, weight in weights.items() if weight != 0}
    members: dict[Hashable, list[int]] = {}
    for position, completion in enumerate(completions):
        members.setdefault(completion.group, []).append(position)
    absent = _absent(completions, members.values(), counted)
    if missing == "fail":
        _refuse(absent)
    rewards, magnitudes = _rewards(completions, absent, counted)
    kept = ~np.isnan(rewards)
    advantages = np.zeros(len(completions))
    zero_signal = dropped_groups = 0
    for positions in members.values():
        group = np.array(positions)
        if missing == "drop_group" and not kept[group].all():
            kept[group] = False
        group = group[kept[group]]
        if len(group) == 0:
            dropped_groups += 1
            continue
        advantages[group] = _NORMALISATIONS[normalise](rewards[group], float(magnitudes[group].max()))
        zero_signal += not advantages[group].any()
    return Advantages(
        advantages=advantages,
        rewards=rewards,
        kept=kept,
        groups=len(members),
        zero_signal_groups=zero_signal,
        dropped_completions=int((~kept).sum()),
        dropped_groups=dropped_groups,
    )


def _absent(
    completions: Sequence[ScoredCompletion], groups: Iterable[list[int]], weights: Mapping[str, float]
) -> list[set[str]]:
    """For each completion, the counted components that apply to its group and that it has not."""
    absent: list[set[str]] = [set() for _ in completions]
    present: set[str] = set()
    for group in groups:
        names = {n for p in group for n in (*completions[p].components, *completions[p].missing)}
        present |= names
        for position in group:
            has = completions[position].components.keys() - completions[position].missing
            absent[position] = names.intersection(weights) - has
    if completions and weights and present.isdisjoint(weights):
        raise ValueError(
            f"no completion has any of the components that count ({', '.join(weights)}); they have"
            f" {', '.join(sorted(present)) or 'none'}"
        )
    return absent


def _rewards(
    completions: Sequence[ScoredCompletion], absent: Sequence[set[str]], weights: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted sums, NaN where something counted is absent, and the sums of the summands' sizes."""
    rewards = np.full(len(completions), np.nan)
    magnitudes = np.zeros(len(completions))
    for position, completion in enumerate(completions):
        if not absent[position]:
            parts = [weight * completion.components.get(name, 0.0) for name, weight in weights.items()]
            rewards[position] = sum(parts)
            magnitudes[position] = sum(abs(part) for part in parts)
    return rewards, magnitudes


def _centred(rewards: NDArray[np.float64], magnitude: float) -> NDArray[np.float64]:
    if np.ptp(rewards) <= RELATIVE_FLOOR * magnitude:
        return np.zeros_like(rewards)
    return rewards - rewards.mean()


def _standardised(rewards: NDArray[np.float64], magnitude: float) -> NDArray[np.float64]:
    centred = _centred(rewards, magnitude)
    return centred / rewards.std(ddof=1) if centred.any() else centred


_NORMALISATIONS: Mapping[str, Callable[[NDArray[np.float64], float], NDArray[np.float64]]] = MappingProxyType(
    {"group_mean_std": _standardised, "group_mean": _centred, "none": lambda rewards, magnitude: rewards}
)


def _check(completions: Sequence[ScoredCompletion], normalise: str, missing: str) -> None:
    if normalise not in _NORMALISATIONS:
        raise ValueError(f"normalise must be one of {', '.join(_NORMALISATIONS)}, not {normalise!r}")
    if missing not in ("drop_sample", "drop_group", "fail"):
        raise ValueError(f"missing must be one of drop_sample, drop_group, fail, not {missing!r}")
    for position, completion in enumerate(completions):
        for name, value in completion.components.items():
            if not np.isfinite(value):
                raise ValueError(f"completion {position}: component {name!r} is {value!r}; a score is a finite number")


def _refuse(absent: Sequence[set[str]]) -> None:
    for position, names in enumerate(absent):
        if names:
            raise MissingRewardError(f"completion {position} has no {min(names)!r}, and the policy for that is 'fail'")
