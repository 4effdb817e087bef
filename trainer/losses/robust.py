"""Losses of a residual that do not let a few large ones rule: for values, rewards and other regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from trainer.losses.ratio import check_positive

if TYPE_CHECKING:
    from torch import Tensor

ResidualKind = Literal["mse", "huber", "smooth_l1", "cauchy"]


def residual_loss(residuals: Tensor, kind: ResidualKind, delta: float) -> Tensor:
    """A loss for each residual e, in float64, of the same shape, never below 0.

    | kind        | where abs(e) <= delta         | beyond                    | its gradient far out    |
    |-------------|-------------------------------|---------------------------|-------------------------|
    | `mse`       | e²                            | e²                        | 2 e: grows              |
    | `huber`     | e² / 2                        | delta (abs(e) - delta/2)  | delta sign(e)           |
    | `smooth_l1` | e² / (2 delta)                | abs(e) - delta/2          | sign(e)                 |
    | `cauchy`    | delta²/2 log(1 + (e/delta)²)  | the same                  | delta² / e: falls to 0  |

    Huber (1964) is delta times smooth L1 (Girshick 2015, whose delta is 1), so the two differ in scale only, and not at
    all where delta is 1. Cauchy's is the negative log-likelihood of a Cauchy distribution, up to a constant. `mse` is e²,
    as PyTorch's; PPO's e²/2 is `huber` with a large delta, or half the weight. delta > 0 is in the units of the residual;
    `mse` ignores it.

    Raises ValueError for an unknown kind, and for delta.
    """
    from torch.nn.functional import huber_loss, smooth_l1_loss

    check_positive(delta=delta)
    e = residuals.double()
    if kind == "mse":
        return e.square()
    if kind == "huber":
        return huber_loss(e, e.new_zeros(()).expand_as(e), reduction="none", delta=delta)
    if kind == "smooth_l1":
        return smooth_l1_loss(e, e.new_zeros(()).expand_as(e), reduction="none", beta=delta)
    if kind == "cauchy":
        return delta**2 / 2 * (e / delta).square().log1p()
    raise ValueError(f"kind must be one of {', '.join(get_args(ResidualKind))}, not {kind!r}")
