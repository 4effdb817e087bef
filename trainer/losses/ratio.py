"""Importance ratios: how much more likely the policy in training makes a token than the policy the ratio is taken against.

What all policy terms share. `anchor` names the policy below the fraction: the one that sampled the tokens (`behaviour`),
or the trainer's own when they were collected (`old`), as PPO has it; the difference of these two is then a matter for
`trainer.losses.corrections`. `span` says over what a ratio is averaged before it is used and clipped.

Bounds named `eps_low` and `eps_high` are relative: the ratio is kept within `[1 - eps_low, 1 + eps_high]`. Those named
`ratio_min` and `ratio_max` are the ratios themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trainer.losses.contract import MetricSum, means
from trainer.losses.packed import PackedBatch, Span

if TYPE_CHECKING:
    from torch import Tensor

Anchor = Literal["behaviour", "old"]
"""`behaviour`: `inference_logprobs`; `old`: `old_logprobs`, the trainer's own at collection."""

# exp(20) is 4.9e8. Beyond it a ratio says only that two policies have nothing in common, and exp overflows to infinity
# soon after, which turns the zero gradient of a clipped token into NaN. Outside the range the gradient is 0.
LOG_RATIO_LIMIT = 20.0

# A log-probability below it, -inf among them, counts as this one and has no gradient: -inf - -inf and 0 * inf are NaN.
LOGPROB_FLOOR = -1e4


def floored(logprobs: Tensor) -> Tensor:
    """Log-probabilities of at least `LOGPROB_FLOOR`; the gradient is 0 below it."""
    return logprobs.clamp(min=LOGPROB_FLOOR)


def log_difference(logprobs: Tensor, others: Tensor) -> Tensor:
    """`logprobs - others`, within +-20 nats; the gradient is 0 outside."""
    return (floored(logprobs) - floored(others)).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def log_ratio(batch: PackedBatch, anchor: Anchor = "behaviour", span: Span = "token") -> Tensor:
    """Log of the importance ratio of each token, within +-20 nats: `[N]`.

    Over a span longer than a token it is the mean of the span's log ratios, so the ratio is their geometric mean (Zheng
    et al. 2025, GSPO, equation 7). Its gradient goes from each token to its own log-probability alone, as in GSPO-token
    (section 4.3): a token is moved by its own advantage. Where all advantages in a span are equal, as from outcome
    rewards, that sums up to the gradient of the mean itself.

    Raises MissingInputError, and ValueError for an unknown anchor or span.
    """
    if anchor not in ("behaviour", "old"):
        raise ValueError(f"anchor must be 'behaviour' or 'old', not {anchor!r}")
    check_span(span)
    below = batch.require("inference_logprobs" if anchor == "behaviour" else "old_logprobs")
    tokens = log_difference(batch.trainer_logprobs, below)
    return tokens if span == "token" else with_value(tokens, batch.span_means(tokens.detach(), span))


def on_policy_ratio(batch: PackedBatch) -> Tensor:
    """`[N]`, of value 1: the ratio against the policy itself, `exp(lp - stopgrad(lp))`, whose gradient is that of lp."""
    logprobs = floored(batch.trainer_logprobs)
    return (logprobs - logprobs.detach()).exp()


def sequence_log_ratio(batch: PackedBatch, log_ratios: Tensor) -> Tensor:
    """Each token's sum over its sequence, within +-20 nats: the log of the ratio of whole sequences, `[N]`."""
    sums = batch.sequence_sums(log_ratios).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return sums[batch.sequence_index]


def with_value(live: Tensor, value: Tensor) -> Tensor:
    """A tensor with the gradient of `live` and the value of `value`."""
    return live + (value - live).detach()


def outside(ratio: Tensor, low: float, high: float) -> Tensor:
    """bool: where a ratio lies beyond its bounds, which themselves are within."""
    return (ratio < low) | (ratio > high)


def ratio_metrics(log_ratios: Tensor, **shares: Tensor) -> dict[str, MetricSum]:
    """The mean ratio, an estimate of KL(anchor, policy) in nats, and means of bool tensors by name."""
    ratio = log_ratios.detach().exp()
    return means(ratio=ratio, anchor_kl=ratio - 1 - log_ratios.detach(), **shares)


def check_span(span: str) -> None:
    """Raises ValueError for an unknown span."""
    if span not in ("token", "segment", "sequence"):
        raise ValueError(f"span must be 'token', 'segment' or 'sequence', not {span!r}")


def check_eps(eps_low: float, eps_high: float) -> None:
    """Raises ValueError outside `0 < eps_low < 1`, `0 < eps_high < 1`: above it a bound of the ratio itself is meant."""
    if not 0 < eps_low < 1:
        raise ValueError(f"eps_low must lie between 0 and 1, not {eps_low!r}; the ratio is kept above 1 - eps_low")
    if not 0 < eps_high < 1:
        absolute = f"; to keep the ratio below {eps_high:g} write {eps_high - 1:g}" if eps_high > 1 else ""
        raise ValueError(
            f"eps_high must lie between 0 and 1, not {eps_high!r}; the ratio is kept below 1 + eps_high{absolute}"
        )


def check_bounds(name: str, low: float, high: float) -> None:
    """Raises ValueError unless `0 <= low <= 1 <= high`: a ratio of 1, of equal policies, must be within."""
    if not 0 <= low <= 1:
        raise ValueError(f"{name}_min must lie between 0 and 1, not {low!r}; it is a ratio, and 1 means no difference")
    if not high >= 1:
        raise ValueError(f"{name}_max must be at least 1, not {high!r}; it is a ratio, and 1 means no difference")


def check_positive(**values: float) -> None:
    """Raises ValueError for the first value that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0, not {value!r}")


def check_not_negative(**values: float) -> None:
    """Raises ValueError for the first value below 0."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, not {value!r}")
