"""From the rewards of one group, or of a whole step, to numbers that say better or worse than usual.

Arithmetic is float64. Arrays have shape `[n]`: one number for each completion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Normalisation = Literal[
    "group_mean_std",
    "group_mean",
    "leave_one_out",
    "max_rl",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "none",
]

# Rewards of a group that differ by less than a millionth of their size are equal. Scores computed in float32, and sums
# such as 0.1 + 0.2 - 0.3, differ by more than 0 where nothing differs, and a division by their spread would make an
# advantage of 1 out of that noise.
RELATIVE_FLOOR = 1e-6


def normalise_group(kind: Normalisation, rewards: Floats, magnitude: float) -> Floats:
    """The rewards of one group, normalised by the group. Equal rewards, and so a group of one, give 0 unless kind is one
    of those that do not look at the group.

    `group_mean_std`: `(r - mean) / std` with the sample standard deviation (Shao et al. 2024, DeepSeekMath, section 4.1.2).
    `group_mean`: `r - mean` (Liu et al. 2025, Dr.GRPO); also the first half of `reinforce_plus_plus_baseline`.
    `leave_one_out`: r minus the mean of the others, `n / (n - 1) * (r - mean)` (Ahmadian et al. 2024, RLOO).
    `max_rl`: `(r - mean) / mean`, for rewards that are the chance of success (Tajwar et al. 2026, MaxRL, algorithm 1).
    `none` and `reinforce_plus_plus`: r.

    magnitude: the size of what the rewards were added up from, against which differences are judged.
    Raises ValueError for negative rewards under `max_rl`.
    """
    return _GROUP[kind](rewards, magnitude)


def whitens(kind: Normalisation) -> bool:
    """Whether the normalisation goes on with `whiten` over the whole step (Hu et al. 2025, REINFORCE++)."""
    return kind in ("reinforce_plus_plus", "reinforce_plus_plus_baseline")


def compares_within_group(kind: Normalisation) -> bool:
    """Whether a group of one has no advantage under the normalisation."""
    return kind not in ("none", "reinforce_plus_plus")


def whiten(advantages: Floats) -> Floats:
    """Advantages of a whole step with mean 0 and sample standard deviation 1; equal ones become 0.

    Every completion counts once, whatever its length. A mean that is only float noise is not taken off, so that an
    advantage of 0 among others that cancel stays 0.
    """
    if len(advantages) == 0:
        return advantages
    size = float(np.abs(advantages).max())
    if np.ptp(advantages) <= RELATIVE_FLOOR * size:
        return np.zeros_like(advantages)
    mean = advantages.mean()
    centred = advantages - mean if abs(mean) > RELATIVE_FLOOR * size else advantages
    return _with_spread_one(centred)


def _centred(rewards: Floats, magnitude: float) -> Floats:
    if np.ptp(rewards) <= RELATIVE_FLOOR * magnitude:
        return np.zeros_like(rewards)
    return rewards - rewards.mean()


def _standardised(rewards: Floats, magnitude: float) -> Floats:
    centred = _centred(rewards, magnitude)
    return _with_spread_one(centred) if centred.any() else centred


def _with_spread_one(centred: Floats) -> Floats:
    # Made of the size of 1 first: the squares of what is very small or very large are 0 or infinite.
    sized = centred / np.abs(centred).max()
    return sized / sized.std(ddof=1)


def _left_one_out(rewards: Floats, magnitude: float) -> Floats:
    n = len(rewards)
    return _centred(rewards, magnitude) * (n / (n - 1)) if n > 1 else np.zeros_like(rewards)


def _over_mean(rewards: Floats, magnitude: float) -> Floats:
    if rewards.min() < 0:
        raise ValueError(
            f"normalise 'max_rl' divides by the mean reward of a group, and one of them is {rewards.min():g}; rewards must"
            " be 0 or more: take 'group_mean', or components and weights that are not negative"
        )
    centred = _centred(rewards, magnitude)
    return centred / rewards.mean() if centred.any() else centred


def _itself(rewards: Floats, magnitude: float) -> Floats:
    return rewards


_GROUP: Mapping[str, Callable[[Floats, float], Floats]] = MappingProxyType(
    {
        "group_mean_std": _standardised,
        "group_mean": _centred,
        "leave_one_out": _left_one_out,
        "max_rl": _over_mean,
        "reinforce_plus_plus": _itself,
        "reinforce_plus_plus_baseline": _centred,
        "none": _itself,
    }
)
NORMALISATIONS = tuple(_GROUP)
