"""Policy terms that hold the ratio in other ways than PPO's clip, so that fewer tokens fall silent.

With the ratio r of `trainer.losses.ratio`, the advantage A and the log-probability lp of a token:

| term    | value                                       | what a large ratio does                              |
|---------|---------------------------------------------|------------------------------------------------------|
| `cispo` | -stopgrad(clip(r, ratio_min, ratio_max)) A lp | its weight is clipped, the token keeps its gradient |
| `sapo`  | -4/tau sigmoid(tau (r - 1)) A               | its gradient fades smoothly                          |
| `gmpo`  | -A geometric mean of clipped r              | clipped alone, it leaves the others in the sequence  |
| `vespo` | -stopgrad(phi(w)) A lp                      | the whole sequence fades, w being its ratio          |

Where policies are equal the mean of each one's gradient is the policy gradient; where they are not, all are biased in
exchange for less variance. All raise ValueError for values outside their ranges, and MissingInputError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.losses.contract import TermOutput, means
from trainer.losses.corrections import Correction, corrected
from trainer.losses.packed import PackedBatch, Span
from trainer.losses.ratio import (
    Anchor,
    check_bounds,
    check_not_negative,
    check_positive,
    check_span,
    floored,
    log_ratio,
    outside,
    ratio_metrics,
    sequence_log_ratio,
    with_value,
)
from trainer.losses.term import BuiltInTerm

if TYPE_CHECKING:
    from torch import Tensor


def cispo(
    batch: PackedBatch,
    *,
    ratio_min: float = 0.0,
    ratio_max: float = 5.0,
    span: Span = "token",
    anchor: Anchor = "behaviour",
    correction: Correction = "none",
    correction_min: float | None = None,
    correction_max: float | None = None,
) -> TermOutput:
    """Clipped importance-sampling weights (MiniMax-M1, Chen et al. 2025, equations 4 and 5).

    The paper sets no lower bound. `ratio_max` is the ratio itself: 5 here is `epsilon_high = 5` in TRL and
    `cliprange_high = 4` in verl. Ranges: `0 <= ratio_min <= 1 <= ratio_max`.
    """
    check_bounds("ratio", ratio_min, ratio_max)
    logs = log_ratio(batch, anchor, span)
    ratio = logs.detach().exp()
    values = -ratio.clamp(ratio_min, ratio_max) * batch.require("advantages") * floored(batch.trainer_logprobs)
    output = TermOutput(values, metrics=ratio_metrics(logs, clip_fraction=outside(ratio, ratio_min, ratio_max)))
    return corrected(batch, output, correction, correction_min, correction_max, anchor)


def sapo(
    batch: PackedBatch,
    *,
    tau_pos: float = 1.0,
    tau_neg: float = 1.05,
    span: Span = "token",
    anchor: Anchor = "behaviour",
    correction: Correction = "none",
    correction_min: float | None = None,
    correction_max: float | None = None,
) -> TermOutput:
    """Soft adaptive policy optimisation (Gao et al. 2025, arXiv 2511.20347): a sigmoid gate in place of the clip.

    The gradient is `sech²(tau (r - 1) / 2) r A grad lp`. `tau_pos` serves positive advantages, `tau_neg` the others;
    the larger it is, the narrower the gate, and unlikely tokens that are pushed down ask for the narrower one. Both
    above 0. Metric `gate`: the mean of that sech², 1 where policies are equal.
    """
    check_positive(tau_pos=tau_pos, tau_neg=tau_neg)
    advantages = batch.require("advantages")
    logs = log_ratio(batch, anchor, span)
    tau = _choose(advantages > 0, tau_pos, tau_neg, logs)
    gate = (tau * (logs.exp() - 1)).sigmoid()
    metrics = {**ratio_metrics(logs), **means(gate=4 * gate * (1 - gate))}
    output = TermOutput(-4 / tau * gate * advantages, metrics=metrics)
    return corrected(batch, output, correction, correction_min, correction_max, anchor)


def gmpo(
    batch: PackedBatch,
    *,
    eps_log_low: float = 0.4,
    eps_log_high: float = 0.4,
    span: Span = "sequence",
    anchor: Anchor = "behaviour",
    correction: Correction = "none",
    correction_min: float | None = None,
    correction_max: float | None = None,
) -> TermOutput:
    """Geometric-mean policy optimisation (Zhao et al. 2025, arXiv 2507.20673).

    Each token's log ratio is clipped before the mean over the span, above `eps_log_high` for a positive advantage and
    below `-eps_log_low` for the others: bounds of the *log* ratio, so the defaults are ratios of 0.67 and 1.49. A
    clipped token has no gradient, the others of its span keep theirs. Both above 0.
    """
    check_positive(eps_log_low=eps_log_low, eps_log_high=eps_log_high)
    check_span(span)
    advantages = batch.require("advantages")
    logs = log_ratio(batch, anchor)
    kept = logs.clamp(max=eps_log_high).where(advantages >= 0, logs.clamp(min=-eps_log_low))
    mean = with_value(kept, batch.span_means(kept.detach(), span))
    output = TermOutput(-advantages * mean.exp(), metrics=ratio_metrics(logs, clip_fraction=kept != logs))
    return corrected(batch, output, correction, correction_min, correction_max, anchor)


def vespo(
    batch: PackedBatch,
    *,
    k_pos: float = 2.0,
    lambda_pos: float = 3.0,
    k_neg: float = 3.0,
    lambda_neg: float = 2.0,
    anchor: Anchor = "behaviour",
) -> TermOutput:
    """Variational sequence-level soft policy optimisation (arXiv 2602.10693).

    `phi(w) = w^k exp(lambda (1 - w))` for the ratio w of the whole sequence, a product over its tokens within exp(+-20):
    1 where policies are equal, largest at `w = k / lambda`, 0 far away on both sides. `k_pos` and `lambda_pos` serve
    advantages of 0 and above. Ranges: k at least 0, lambda above 0. There is no correction to choose: against the
    behaviour policy, the default, w holds the whole difference already. Metric `phi`: its mean over tokens.
    """
    check_not_negative(k_pos=k_pos, k_neg=k_neg)
    check_positive(lambda_pos=lambda_pos, lambda_neg=lambda_neg)
    advantages = batch.require("advantages")
    tokens = log_ratio(batch, anchor)
    logs = sequence_log_ratio(batch, tokens.detach())
    k = _choose(advantages >= 0, k_pos, k_neg, logs)
    rate = _choose(advantages >= 0, lambda_pos, lambda_neg, logs)
    phi = (k * logs + rate * (1 - logs.exp())).exp()
    values = -phi * advantages * floored(batch.trainer_logprobs)
    return TermOutput(values, metrics={**ratio_metrics(tokens), **means(phi=phi)})


def _choose(condition: Tensor, yes: float, no: float, like: Tensor) -> Tensor:
    """One of two numbers for each token, in the precision of `like`; `torch.where` of two floats is float32."""
    return like.new_full(like.shape, no).masked_fill(condition, yes)


_ROLLOUT = frozenset({"inference_logprobs", "advantages"})

TERMS: Mapping[str, BuiltInTerm] = {
    "cispo": BuiltInTerm(cispo, _ROLLOUT),
    "sapo": BuiltInTerm(sapo, _ROLLOUT, default_aggregation="sequence_mean"),
    "gmpo": BuiltInTerm(gmpo, _ROLLOUT, default_aggregation="sequence_mean"),
    "vespo": BuiltInTerm(vespo, _ROLLOUT),
}
