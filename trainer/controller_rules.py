"""How each kind of controller moves its value, as pure functions of what it has seen.

A rule gets the controller's parameters, its value, what it remembers, and one finite observation. It answers with the new
value and the new memory. Whatever it answers is brought back between the controller's `min` and `max` afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Memory = dict[str, float]
Rule = Callable[[Mapping[str, Any], float, Memory, float], tuple[float, Memory]]

# exp of more than this is no float. No pair of bounds is further apart, so a longer way ends at a bound all the same.
LONGEST_STEP = 700.0


def threshold(parameters: Mapping[str, Any], value: float, memory: Memory, seen: float) -> tuple[float, Memory]:
    """Times `factor_above` where the metric is above `high`, times `factor_below` where it is below `low`."""
    if parameters["high"] is not None and seen > parameters["high"]:
        return value * parameters["factor_above"], memory
    if parameters["low"] is not None and seen < parameters["low"]:
        return value * parameters["factor_below"], memory
    return value, memory


def target_kl(parameters: Mapping[str, Any], value: float, memory: Memory, seen: float) -> tuple[float, Memory]:
    """`value * (1 + gain * clip(seen / target - 1, -error_limit, error_limit))`.

    The proportional controller of Ziegler et al. 2019 (Fine-Tuning Language Models from Human Preferences, section 2.2),
    whose gain is 0.1 and whose limit is 0.2.
    """
    limit = parameters["error_limit"]
    error = min(limit, max(-limit, seen / parameters["target"] - 1.0))
    return value * (1.0 + parameters["gain"] * error), memory


def target_entropy(parameters: Mapping[str, Any], value: float, memory: Memory, seen: float) -> tuple[float, Memory]:
    """`value * exp(rate * (target - seen))`: the weight of an entropy bonus grows while the entropy is too low.

    Gradient descent on the logarithm of the temperature, as in Haarnoja et al. 2018 (Soft Actor-Critic Algorithms and
    Applications, section 5), with the temperature left out of the step's size, as is usual.
    """
    way = parameters["rate"] * (parameters["target"] - seen)
    return value * math.exp(min(LONGEST_STEP, max(-LONGEST_STEP, way))), memory


def reward_gap(parameters: Mapping[str, Any], value: float, memory: Memory, seen: float) -> tuple[float, Memory]:
    """`start * (1 + sensitivity * (gap - usual gap))`, the usual gap being a moving average of the gaps before.

    Wu et al. 2024 (beta-DPO, the batch-level calibration of section 4). There the batch's own gap sets its beta; here the
    beta follows one step later. The first gap is the first usual gap.
    """
    usual = memory.get("usual", seen)
    moved = parameters["start"] * (1.0 + parameters["sensitivity"] * (seen - usual))
    return moved, {"usual": parameters["momentum"] * usual + (1.0 - parameters["momentum"]) * seen}


def running_scale(parameters: Mapping[str, Any], value: float, memory: Memory, seen: float) -> tuple[float, Memory]:
    """`start / running mean of |seen|`: terms under it come to weigh what their `start` says, whatever their size.

    An exponential moving average without the bias of its first steps (Kingma and Ba 2015, Adam, section 3).
    """
    momentum = parameters["momentum"]
    total = momentum * memory.get("total", 0.0) + (1.0 - momentum) * abs(seen)
    share = momentum * memory.get("share", 0.0) + (1.0 - momentum)
    mean = total / share
    return (parameters["start"] / mean if mean > 0 else math.inf), {"total": total, "share": share}


def uncertainty(parameters: Mapping[str, Any], value: float, memory: Memory, seen: float) -> tuple[float, Memory]:
    """Homoscedastic uncertainty: `exp(-s) / 2` with a learned log-variance s, the weight that minimises with the loss.

    One step of gradient descent on `exp(-s) * l / 2 + s / 2` (Kendall et al. 2018, Multi-Task Learning Using Uncertainty,
    equation 7), whose derivative is `(1 - exp(-s) * l) / 2`. It rests where the weighted value is 1/2. s is not kept: it
    is `-log(2 * value)`.
    """
    way = 0.5 * parameters["rate"] * (1.0 - 2.0 * value * seen)
    return value * math.exp(min(LONGEST_STEP, max(-LONGEST_STEP, way))), memory


def gradnorm(
    parameters: Sequence[Mapping[str, Any]], values: Sequence[float], norms: Sequence[float], ratios: Sequence[float]
) -> list[float]:
    """The weights of all terms under GradNorm after one step (Chen et al. 2018, algorithm 1).

    values: the weights now. norms: of each term's gradient, before its weight. ratios: each term's value over its first.
    Each weight takes a step of gradient descent on `|w g - mean(w g) * r ** alpha|`, r being the ratio over the mean
    ratio; then all are scaled so that they add up to what their starts add up to. Bounds come last, and may break that sum.
    """
    weighted = [value * norm for value, norm in zip(values, norms, strict=True)]
    mean, usual = sum(weighted) / len(weighted), sum(ratios) / len(ratios)
    moved = []
    for value, norm, have, ratio, own in zip(values, norms, weighted, ratios, parameters, strict=True):
        pace = (ratio / usual) ** own["alpha"] if usual > 0 else 1.0
        error = have - mean * pace
        step = own["rate"] * math.copysign(norm, error) if error else 0.0
        # Within bounds before they are added up too: the sum is divided by, and must be above 0 and finite.
        moved.append(min(own["max"], max(own["min"], value - step)))
    scale = sum(own["start"] for own in parameters) / sum(moved)
    return [value * scale for value in moved]
