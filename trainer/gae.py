"""Generalised advantage estimation: from a value head's estimates and rewards to an advantage for each token.

Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", equation 16. All
sequences at once: a reverse scan over positions, whose steps are as many as the longest sequence has tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimates:
    """Of each token: `[N]`, in the precision of the values, float32 or better, without gradient."""

    advantages: Tensor
    returns: Tensor
    """`advantages + values`: what a value head should have said."""


@torch.no_grad()
def gae(
    values: Tensor, sequence_index: Tensor, rewards: Tensor, *, discount: float = 1.0, trace: float = 0.95
) -> Estimates:
    """Advantages and returns of packed tokens whose reward comes after the last token of each sequence.

    `A_t = delta_t + discount trace A_(t+1)` with `delta_t = r_t + discount V_(t+1) - V_t`; after the last token V and A
    are 0. `values` is `[N]`, `sequence_index` int64 `[N]` and ascending, `rewards` `[B]`. `discount` (gamma) and `trace`
    (lambda) lie between 0 and 1: with trace 1 a return is the discounted reward, whatever the values; with trace 0 it is
    one step ahead. Computed in float64. A sequence that was cut off is treated as if it had ended there.

    Raises ValueError for shapes that do not match, an index that does not ascend, values or rewards that are not finite,
    and arguments outside their ranges.
    """
    _check(values, sequence_index, rewards, discount, trace)
    lengths = sequence_index.bincount(minlength=len(rewards))
    longest = int(lengths.max()) if len(rewards) else 0
    position = torch.arange(len(values), device=values.device) - (lengths.cumsum(0) - lengths)[sequence_index]
    table = values.new_zeros(len(rewards), longest + 1, dtype=torch.float64)
    table[sequence_index, position] = values.double()
    deltas = discount * table[:, 1:] - table[:, :-1]
    ended = lengths > 0
    deltas[ended, lengths[ended] - 1] += rewards[ended].double()
    # Behind the end of a sequence the deltas are 0, so the scan arrives at its last token with an advantage of 0.
    advantages = torch.zeros_like(table)
    for place in range(longest - 1, -1, -1):
        advantages[:, place] = deltas[:, place] + discount * trace * advantages[:, place + 1]
    flat = advantages[sequence_index, position]
    precision = values.dtype if values.dtype == torch.float64 else torch.float32
    return Estimates(flat.to(precision), (flat + values.double()).to(precision))


def _check(values: Tensor, sequence_index: Tensor, rewards: Tensor, discount: float, trace: float) -> None:
    if values.dim() != 1 or rewards.dim() != 1 or values.shape != sequence_index.shape:
        raise ValueError(
            f"values are {tuple(values.shape)}, sequence_index {tuple(sequence_index.shape)} and rewards"
            f" {tuple(rewards.shape)}; they must be [N], [N] and [B]"
        )
    if len(values) and (
        bool((sequence_index.diff() < 0).any())
        or not 0 <= int(sequence_index[0]) <= int(sequence_index[-1]) < len(rewards)
    ):
        raise ValueError(f"sequence_index must ascend within 0 to {len(rewards) - 1}, the places of the rewards")
    if not (bool(values.isfinite().all()) and bool(rewards.isfinite().all())):
        raise ValueError("values and rewards must be finite; leave out sequences whose reward is missing")
    for name, number in (("discount", discount), ("trace", trace)):
        if not (math.isfinite(number) and 0 <= number <= 1):
            raise ValueError(f"{name} must lie between 0 and 1, not {number!r}")
