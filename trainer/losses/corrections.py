"""Corrections for tokens that another policy sampled than the one a term's ratio is taken against.

The engine that samples and the trainer give one text different log-probabilities, by other kernels, another precision, or
weights that are a step older. A term with `anchor = "old"` takes its ratio against the trainer at collection; what is left
is the weight `w = exp(old_logprobs - inference_logprobs)` of the trainer at collection over the sampler:

| correction       | weight of a token                       | kept where                         | default bounds |
|------------------|-----------------------------------------|------------------------------------|----------------|
| `token_tis`      | w, moved into the bounds                | everywhere                         | 0 to 2         |
| `sequence_tis`   | product of w, moved into the bounds     | everywhere                         | 0 to 2         |
| `icepop`         | w                                       | w within the bounds                | 0.5 to 5       |
| `sequence_mask`  | product of w                            | product of w within the bounds     | 0 to 3         |
| `geometric_mask` | w                                       | geometric mean of w within         | 0.99 to 1.01   |

Products and means go over a sequence. The `tis` are truncated importance sampling (Ionides 2008; Yao et al. 2025, "Your
Efficient RL Framework Secretly Brings You Off-Policy RL Training"), `icepop` is IcePop (Ling Team 2025), and the masks
are masked importance sampling (Liu et al. 2025, "When Speed Kills Stability"); `geometric_mask` is NeMo RL's
`seq-mask-tis`. Only the product over a whole sequence makes the mean exact, and only while no bound is met; bounds and
token weights trade that for less variance. A dropped token still counts in the normaliser of its term.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from trainer.losses.contract import TermOutput, means
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import Anchor, check_bounds, log_difference, outside, sequence_log_ratio

Correction = Literal["none", "token_tis", "sequence_tis", "icepop", "sequence_mask", "geometric_mask"]

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "token_tis": (0.0, 2.0),
    "sequence_tis": (0.0, 2.0),
    "icepop": (0.5, 5.0),
    "sequence_mask": (0.0, 3.0),
    "geometric_mask": (0.99, 1.01),
}


def corrected(
    batch: PackedBatch,
    output: TermOutput,
    correction: Correction,
    correction_min: float | None,
    correction_max: float | None,
    anchor: Anchor = "old",
) -> TermOutput:
    """The output with its token values weighted as the module's table says; the weights have no gradient.

    Bounds that are None are the table's. Metrics: `correction_weight`, the mean weight, 0 where dropped, and
    `correction_outside`, the share of tokens whose weight met a bound or was dropped.

    Raises ValueError for an unknown correction, for bounds outside `0 <= min <= 1 <= max`, for bounds without a
    correction, and for a correction of a ratio against the behaviour policy, which needs none; MissingInputError.
    """
    if correction == "none":
        if correction_min is not None or correction_max is not None:
            raise ValueError("correction_min and correction_max need a correction, such as correction = 'token_tis'")
        return output
    if correction not in _BOUNDS:
        raise ValueError(f"correction must be one of 'none', {', '.join(map(repr, _BOUNDS))}, not {correction!r}")
    if anchor == "behaviour":
        raise ValueError(
            f"correction {correction!r} needs anchor = 'old': the ratio against the behaviour policy already weighs the"
            " tokens by how they were sampled, and would do so twice"
        )
    low = _BOUNDS[correction][0] if correction_min is None else correction_min
    high = _BOUNDS[correction][1] if correction_max is None else correction_max
    check_bounds("correction", low, high)
    logs = log_difference(batch.require("old_logprobs"), batch.require("inference_logprobs")).detach()
    weight = (sequence_log_ratio(batch, logs) if correction in ("sequence_tis", "sequence_mask") else logs).exp()
    judged = batch.span_means(logs, "sequence").exp() if correction == "geometric_mask" else weight
    beyond = outside(judged, low, high)
    weight = weight.clamp(low, high) if correction.endswith("tis") else weight.masked_fill(beyond, 0.0)
    metrics = means(correction_weight=weight, correction_outside=beyond)
    return TermOutput(output.values * weight, metrics={**output.metrics, **metrics})
