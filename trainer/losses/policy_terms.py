"""Policy-gradient terms: they raise the probability of tokens with positive advantage and lower the others.

The ratio is taken against the behaviour policy (`inference_logprobs`), token by token. Bounds named `eps_low` and
`eps_high` are relative: the ratio is kept within `[1 - eps_low, 1 + eps_high]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.term import BuiltInTerm

if TYPE_CHECKING:
    from torch import Tensor

# exp(20) is 4.9e8. Beyond it a ratio says only that two policies have nothing in common, and exp overflows to infinity
# soon after, which turns the zero gradient of a clipped token into NaN. Outside the range the gradient is 0.
LOG_RATIO_LIMIT = 20.0


def grpo(batch: PackedBatch, *, eps_low: float = 0.2, eps_high: float = 0.2) -> TermOutput:
    """Group-relative policy optimisation: the clipped surrogate over group-normalised advantages.

    `-min(r A, clip(r, 1 - eps_low, 1 + eps_high) A)` (Shao et al. 2024, DeepSeekMath, equation 3, whose KL penalty is
    the term `kl` here). `eps_high` above `eps_low` is DAPO's clip-higher (Yu et al. 2025, section 3.1). Where the ratio
    is clipped against the advantage's sign the gradient is 0.

    Raises ValueError for bounds outside `0 < eps_low < 1`, `eps_high > 0`, and MissingInputError.
    """
    return _clipped(batch, eps_low, eps_high, dual_clip=None)


def ppo_clip(
    batch: PackedBatch, *, eps_low: float = 0.2, eps_high: float = 0.2, dual_clip: float | None = None
) -> TermOutput:
    """PPO's clipped surrogate (Schulman et al. 2017, equation 7), as a loss.

    With `dual_clip = c` tokens of negative advantage lose at most `-c A` (Ye et al. 2020, "Mastering Complex Control in
    MOBA Games", equation 5), so that one token with a huge ratio cannot take over the step; c > 1, usually 3.

    Raises ValueError for values outside their ranges, and MissingInputError.
    """
    if dual_clip is not None and not dual_clip > 1:
        raise ValueError(f"dual_clip must be greater than 1, or absent, not {dual_clip!r}")
    return _clipped(batch, eps_low, eps_high, dual_clip)


def log_ratio(batch: PackedBatch) -> Tensor:
    """Log of the importance ratio of each token against the behaviour policy, within +-20 nats: `[N]`."""
    difference = batch.trainer_logprobs - batch.require("inference_logprobs")
    return difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _clipped(batch: PackedBatch, eps_low: float, eps_high: float, dual_clip: float | None) -> TermOutput:
    if not 0 < eps_low < 1:
        raise ValueError(f"eps_low must lie between 0 and 1, not {eps_low!r}; the ratio is kept above 1 - eps_low")
    if not eps_high > 0:
        raise ValueError(f"eps_high must be greater than 0, not {eps_high!r}; the ratio is kept below 1 + eps_high")
    advantages = batch.require("advantages")
    log_ratios = log_ratio(batch)
    ratio = log_ratios.exp()
    unclipped = ratio * advantages
    clipped = ratio.clamp(1 - eps_low, 1 + eps_high) * advantages
    objective = unclipped.minimum(clipped)
    if dual_clip is not None:
        objective = objective.where(advantages >= 0, objective.maximum(dual_clip * advantages))
    metrics = means(
        ratio=ratio,
        clip_fraction=(objective != unclipped).to(ratio.dtype),
        behaviour_kl=ratio - 1 - log_ratios,
    )
    return TermOutput(-objective, metrics=metrics)


_ROLLOUT = frozenset({"inference_logprobs", "advantages"})

TERMS: Mapping[str, BuiltInTerm] = {"grpo": BuiltInTerm(grpo, _ROLLOUT), "ppo_clip": BuiltInTerm(ppo_clip, _ROLLOUT)}
