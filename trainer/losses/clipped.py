"""Policy terms with PPO's clipped surrogate. They are one function with different spans, bounds and normalisers.

`-min(r A, clip(r, 1 - eps_low, 1 + eps_high) A)`, with the ratio r of `trainer.losses.ratio`. Where the ratio has left
its bounds in the direction that the advantage asks for, the gradient is 0. What sets the terms apart is their default:

| term       | ratio over | bounds        | divided by                                                        |
|------------|------------|---------------|-------------------------------------------------------------------|
| `ppo_clip` | token      | 0.2, 0.2      | tokens                                                            |
| `grpo`     | token      | 0.2, 0.2      | tokens                                                            |
| `dr_grpo`  | token      | 0.2, 0.2      | sequences and the longest completion that the job allows          |
| `dapo`     | token      | 0.2, 0.28     | tokens                                                            |
| `gspo`     | sequence   | 3e-4, 4e-4    | tokens of each sequence, then sequences                           |
| `luspo`    | sequence   | 3e-4, 4e-4    | sequences alone                                                   |

All take `span`, `anchor` and a `correction` (see `trainer.losses.corrections`), and so serve as the token, the segment and
the sequence level of a hierarchy. All raise ValueError for values outside `0 < eps_low < 1`, `0 < eps_high < 1`,
and MissingInputError. With equal policies the mean of the gradient is the policy gradient; clipping gives that up.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from trainer.losses.contract import TermOutput
from trainer.losses.corrections import Correction, corrected
from trainer.losses.packed import PackedBatch, Span
from trainer.losses.ratio import Anchor, check_eps, log_ratio, ratio_metrics
from trainer.losses.term import BuiltInTerm


def ppo_clip(
    batch: PackedBatch,
    *,
    eps_low: float = 0.2,
    eps_high: float = 0.2,
    dual_clip: float | None = None,
    span: Span = "token",
    anchor: Anchor = "behaviour",
    correction: Correction = "none",
    correction_min: float | None = None,
    correction_max: float | None = None,
) -> TermOutput:
    """PPO's clipped surrogate (Schulman et al. 2017, equation 7), as a loss.

    With `dual_clip = c` a token of negative advantage loses at most `-c A` (Ye et al. 2020, "Mastering Complex Control
    in MOBA Games", equation 5), so that one token with a huge ratio cannot take over the step; c > 1, usually 3.
    """
    check_eps(eps_low, eps_high)
    if dual_clip is not None and not dual_clip > 1:
        raise ValueError(f"dual_clip must be greater than 1, or absent, not {dual_clip!r}")
    advantages = batch.require("advantages")
    logs = log_ratio(batch, anchor, span)
    ratio = logs.exp()
    low, high = 1 - eps_low, 1 + eps_high
    clipped = ((ratio > high) & (advantages > 0)) | ((ratio < low) & (advantages < 0))
    # The minimum by a mask: the gradient of torch.minimum branches at each token, and takes longer than all the rest.
    objective = (ratio * ~clipped + ratio.detach().clamp(low, high) * clipped) * advantages
    if dual_clip is not None:
        clipped = clipped | ((ratio > dual_clip) & (advantages < 0))
        objective = objective.where(advantages >= 0, objective.maximum(dual_clip * advantages))
    output = TermOutput(-objective, metrics=ratio_metrics(logs, clip_fraction=clipped))
    return corrected(batch, output, correction, correction_min, correction_max, anchor)


grpo = partial(ppo_clip)
"""Group-relative policy optimisation (Shao et al. 2024, DeepSeekMath, equation 3).

What is relative to the group are the advantages, `[advantage]` in a job; the paper's KL penalty is the term `kl` here. The
paper divides by tokens of each sequence, then sequences: `aggregation = "sequence_mean"`.
"""

dr_grpo = partial(ppo_clip)
"""GRPO done right (Liu et al. 2025, "Understanding R1-Zero-Like Training", section 3).

A sum over tokens, divided by the number of sequences and the aggregation's `constant`, which the paper sets to the longest
completion allowed. Its advantages are not divided by the group's spread: `[advantage]` in a job.
"""

dapo = partial(ppo_clip, eps_high=0.28)
"""DAPO's clip-higher and token mean (Yu et al. 2025, sections 3.1 and 3.3).

The wider upper bound leaves unlikely tokens room to grow. The paper's dynamic sampling and its penalty for length are no
part of a loss: in a job they are `[rollout] resample` and `[rollout] truncated`.
"""

gspo = partial(ppo_clip, eps_low=3e-4, eps_high=4e-4, span="sequence")
"""Group sequence policy optimisation (Zheng et al. 2025, equations 5 and 7; bounds of section 5.1).

A sequence is clipped as a whole, by the geometric mean of its tokens' ratios. That mean stays far closer to 1 than the
ratio of a token: bounds made for tokens would never be met.
"""

luspo = partial(gspo)
"""Length-unbiased sequence policy optimisation (arXiv 2602.05261): GSPO, each sequence times its length.

With its default, `sequence_sum` with constant 1, it is the mean over sequences of `L min(s A, clip(s) A)` with the length
L. It grows with L, so weigh it, or give the constant, when you exchange it for another term.
"""

_ROLLOUT = frozenset({"inference_logprobs", "advantages"})

TERMS: Mapping[str, BuiltInTerm] = {
    "ppo_clip": BuiltInTerm(ppo_clip, _ROLLOUT),
    "grpo": BuiltInTerm(grpo, _ROLLOUT),
    "dr_grpo": BuiltInTerm(dr_grpo, _ROLLOUT, default_aggregation="sequence_sum", per_longest=True),
    "dapo": BuiltInTerm(dapo, _ROLLOUT),
    "gspo": BuiltInTerm(gspo, _ROLLOUT, default_aggregation="sequence_mean"),
    "luspo": BuiltInTerm(luspo, _ROLLOUT, default_aggregation="sequence_sum"),
}
