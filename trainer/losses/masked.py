"""Policy terms that drop tokens on which the policies have parted, in place of clipping their ratio.

A dropped token has no policy gradient in either direction and still counts in the normaliser. The ratio r, and what is
compared, is always against the behaviour policy: what is judged is how far the sampled text has gone stale.

prime-rl changed its default twice, so its name is not one formula. `prime_rl_ratio` is the first (bounds on ratios);
`prime_rl` is the second (a change of probability in the direction of the advantage, and a penalty on the log ratio), and
with `mask = "symmetric"`, `delta_low` and `delta_high` of 0.3 the third, which prime-rl calls IPO: no kin of the preference
loss of that name.

Where policies are equal the mean of each one's gradient is the policy gradient; where they are not, what is dropped is
missing from it. All raise ValueError for values outside their ranges, and MissingInputError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from trainer.losses.contract import TermOutput
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import (
    check_bounds,
    check_not_negative,
    check_positive,
    floored,
    log_ratio,
    on_policy_ratio,
    outside,
    ratio_metrics,
    sequence_log_ratio,
)
from trainer.losses.term import BuiltInTerm

if TYPE_CHECKING:
    from torch import Tensor


def dppo(
    batch: PackedBatch,
    *,
    divergence: Literal["tv", "kl"] = "tv",
    delta_low: float | None = None,
    delta_high: float | None = None,
    ratio_max: float | None = None,
) -> TermOutput:
    """Divergence proximal policy optimisation (Qi et al. 2026, "Rethinking the Trust Region in LLM RL", binary forms).

    `-r A`, dropped where the policy has moved too far and the advantage would move it further: above the behaviour
    policy's probability by more than `delta_high` with A > 0, below it by more than `delta_low` with A < 0. With the
    probabilities p of the policy and q of the behaviour policy for the sampled token against all others, the distance is
    |p - q| (`tv`) or `q log(q/p) + (1-q) log((1-q)/(1-p))` in nats (`kl`).

    `delta_*` above 0; None is 0.2 for `tv` and 0.05 for `kl`. `ratio_max`, at least 1, truncates the weight of a token
    that is kept, and leaves it its gradient: `-stopgrad(min(r, ratio_max)) A grad lp`.
    """
    if divergence not in ("tv", "kl"):
        raise ValueError(f"divergence must be 'tv' or 'kl', not {divergence!r}")
    default = 0.2 if divergence == "tv" else 0.05
    low, high = (default if delta is None else delta for delta in (delta_low, delta_high))
    check_positive(delta_low=low, delta_high=high)
    if ratio_max is not None:
        check_bounds("ratio", 0.0, ratio_max)
    advantages = batch.require("advantages")
    logs = log_ratio(batch)
    rise = _rise(batch)
    distance = rise.abs() if divergence == "tv" else _binary_kl(batch)
    dropped = _moves_away(rise, advantages) & (distance > high).where(advantages > 0, distance > low)
    ratio = logs.exp() if ratio_max is None else logs.detach().exp().clamp(max=ratio_max) * on_policy_ratio(batch)
    values = (-ratio * advantages).masked_fill(dropped, 0.0)
    return TermOutput(values, metrics=ratio_metrics(logs, masked_fraction=dropped))


def prime_rl(
    batch: PackedBatch,
    *,
    mask: Literal["signed", "symmetric"] = "signed",
    delta_low: float = 0.2,
    delta_high: float = 0.2,
    kl_tau: float = 1e-3,
) -> TermOutput:
    """prime-rl's default since March 2026: `-r A` under a mask, plus `kl_tau log(r)²` for every token.

    The mask drops tokens whose probability rose by more than `delta_high` or fell by more than `delta_low`: where the
    advantage asks for more of the same (`signed`, DPPO's), or always (`symmetric`). The second part is the squared log
    ratio of Kimi K2.5 (arXiv 2602.02276) and pulls dropped tokens back. `delta_*` above 0, `kl_tau` at least 0.
    """
    if mask not in ("signed", "symmetric"):
        raise ValueError(f"mask must be 'signed' or 'symmetric', not {mask!r}")
    check_positive(delta_low=delta_low, delta_high=delta_high)
    check_not_negative(kl_tau=kl_tau)
    advantages = batch.require("advantages")
    logs = log_ratio(batch)
    rise = _rise(batch)
    dropped = (rise > delta_high) | (rise < -delta_low)
    if mask == "signed":
        dropped = dropped & _moves_away(rise, advantages)
    values = (-logs.exp() * advantages).masked_fill(dropped, 0.0) + kl_tau * logs.square()
    return TermOutput(values, metrics=ratio_metrics(logs, masked_fraction=dropped))


def prime_rl_ratio(
    batch: PackedBatch,
    *,
    weight: Literal["token", "sequence"] = "token",
    ratio_min: float = 0.125,
    ratio_max: float = 8.0,
    geometric_min: float = 0.1,
    geometric_max: float = 10.0,
    sequence_min: float = 0.0,
    sequence_max: float = 100.0,
    weight_max: float = 10.0,
    kl_tau: float = 0.0,
) -> TermOutput:
    """prime-rl's default until March 2026: `-stopgrad(w (A - kl_tau log r)) lp` under three masks of ratios.

    w is the token's ratio, or the sequence's, at most `weight_max`. Dropped are a token whose ratio leaves `ratio_*`, a
    sequence whose geometric mean leaves `geometric_*`, and a sequence with a single token outside `sequence_*`. With
    `weight = "sequence"` prime-rl divides by tokens of each sequence: `aggregation = "sequence_mean"`, up to its count
    of sequences. Ranges: `0 <= min <= 1 <= max`, `weight_max` at least 1, `kl_tau` at least 0.
    """
    if weight not in ("token", "sequence"):
        raise ValueError(f"weight must be 'token' or 'sequence', not {weight!r}")
    check_bounds("ratio", ratio_min, ratio_max)
    check_bounds("geometric", geometric_min, geometric_max)
    check_bounds("sequence", sequence_min, sequence_max)
    check_bounds("weight", 0.0, weight_max)
    check_not_negative(kl_tau=kl_tau)
    logs = log_ratio(batch).detach()
    ratio = logs.exp()
    strays = batch.sequence_sums(outside(ratio, sequence_min, sequence_max).to(ratio.dtype))
    geometric = batch.span_means(logs, "sequence").exp()
    dropped = outside(ratio, ratio_min, ratio_max) | outside(geometric, geometric_min, geometric_max)
    dropped = dropped | (strays > 0)[batch.sequence_index]
    scale = sequence_log_ratio(batch, logs).exp().clamp(max=weight_max) if weight == "sequence" else ratio
    coefficient = (scale * (batch.require("advantages") - kl_tau * logs)).masked_fill(dropped, 0.0)
    values = -coefficient * floored(batch.trainer_logprobs)
    return TermOutput(values, metrics=ratio_metrics(logs, masked_fraction=dropped))


def _rise(batch: PackedBatch) -> Tensor:
    """By how much the policy has raised each token's probability over the behaviour policy's; no gradient."""
    return batch.trainer_logprobs.detach().exp() - batch.require("inference_logprobs").exp()


def _moves_away(rise: Tensor, advantages: Tensor) -> Tensor:
    return ((rise > 0) & (advantages > 0)) | ((rise < 0) & (advantages < 0))


def _binary_kl(batch: PackedBatch) -> Tensor:
    """KL in nats from the behaviour policy to the policy, of the sampled token against all others; no gradient."""
    import torch

    after, before = floored(batch.trainer_logprobs.detach()), floored(batch.require("inference_logprobs"))
    # A probability of 1 leaves log(0) for all others; one step of the precision below it is as near as can be told.
    nearest = 1 - torch.finfo(after.dtype).eps
    p, q = after.exp().clamp(max=nearest), before.exp().clamp(max=nearest)
    return q * (before - after) + (1 - q) * (torch.log1p(-q) - torch.log1p(-p))


_ROLLOUT = frozenset({"inference_logprobs", "advantages"})

TERMS: Mapping[str, BuiltInTerm] = {
    "dppo": BuiltInTerm(dppo, _ROLLOUT),
    "prime_rl": BuiltInTerm(prime_rl, _ROLLOUT),
    "prime_rl_ratio": BuiltInTerm(prime_rl_ratio, _ROLLOUT),
}
