"""How far the policy that sampled the tokens is from the one in training: measured at every step, over every token.

The sampler's engine and the trainer compute one text with different kernels and precisions, and with weights that may be
versions apart. What is compared is what the step's own forward pass has given before the weights move, so it costs no pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.composite import Composite
from trainer.group import RankGroup
from trainer.losses.packed import PackedBatch, Span
from trainer.losses.ratio import LOG_RATIO_LIMIT, floored, outside

Floats = NDArray[np.float64]

QUANTILES = {"p01": 0.01, "p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Within which ratios a term leaves its gradient alone, and over what it averages them first."""

    low: float = 0.8
    high: float = 1.2
    span: Span = "token"


def clip_bounds(composite: Composite, step: int, total_steps: int) -> Bounds:
    """Those of the first term that has `eps_low` and `eps_high`, at this step; where none has, 0.8 to 1.2 for tokens."""
    for term in composite.terms:
        known = inspect.signature(term.function).parameters if term.user_function is None else {}
        if "eps_low" in known and "eps_high" in known:
            options = {name: known[name].default for name in ("eps_low", "eps_high", "span") if name in known}
            options |= term.kwargs_at(step, total_steps)
            return Bounds(1 - options["eps_low"], 1 + options["eps_high"], options.get("span", "token"))
    return Bounds()


class Mismatch:
    """Collects the micro-batches of a step on this rank; then tells of all ranks, exactly: of tokens, not of means."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._tokens: list[Tensor] = []
        self._staleness: list[Tensor] = []
        self._sequences: list[Tensor] = []
        self._clipped = 0

    @torch.no_grad()
    def add(self, batch: PackedBatch, staleness: Tensor | None) -> None:
        """Adds a micro-batch that the policy has scored; demonstrations, which nobody sampled, add nothing."""
        if batch.inference_logprobs is None:
            return
        valid = batch.valid()
        # float32 numbers near each other differ by a float64 number exactly
        logs = floored(valid.trainer_logprobs.double()) - floored(valid.require("inference_logprobs").double())
        counts = valid.token_counts()
        self._tokens.append(logs)
        self._sequences.append((valid.sequence_sums(logs) / counts.clamp(min=1))[counts > 0])
        if staleness is not None:
            self._staleness.append(staleness[batch.loss_mask])
        spanned = valid.span_means(logs, self._bounds.span).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
        self._clipped += int(outside(spanned, self._bounds.low, self._bounds.high).sum())

    def metrics(self, group: RankGroup) -> dict[str, float]:
        """`mismatch/...`, equal on all ranks; none where nothing was sampled. A collective."""
        tokens = _gathered(group, self._tokens)
        sequences = _gathered(group, self._sequences)
        staleness = _gathered(group, self._staleness)
        clipped = sum(group.gather(self._clipped))
        return {f"mismatch/{name}": value for name, value in measure(tokens, sequences, staleness, clipped).items()}


def measure(log_ratios: Floats, sequence_means: Floats, staleness: Floats, clipped: int) -> dict[str, float]:
    """The numbers of a step by name, from all its tokens.

    log_ratios: log-probability by the trainer minus that by the sampler, in nats, of each token that counts.
    sequence_means: the mean of them for each sequence. staleness: versions, one for each token, or none at all.
    clipped: how many tokens lie outside the bounds.

    With r the ratio of a token, `kl` is the mean of `-log r` (k1) and `kl_k3` that of `r - 1 - log r` (k3; Schulman 2020,
    "Approximating KL Divergence"): both estimate KL(sampler, trainer), k1 without bias, k3 never below 0. Log ratios beyond
    20 nats count as 20 where they are exponentiated. Those that are NaN are counted in `lost` and nowhere else.
    """
    sound = ~np.isnan(log_ratios)
    logs = log_ratios[sound]
    if len(logs) == 0:
        return {"lost": float(len(log_ratios))} if len(log_ratios) else {}
    within = logs.clip(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    means = sequence_means[~np.isnan(sequence_means)].clip(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    found = {
        "kl": float(-logs.mean()),
        "kl_k3": float((np.expm1(within) - within).mean()),
        "difference_max": float(np.abs(logs).max()),
        "clipped": clipped / len(log_ratios),
        "lost": float(len(log_ratios) - len(logs)),
        "ratio_max": float(np.exp(within.max())),
    }
    quantiles = np.quantile(np.exp(within), list(QUANTILES.values()))
    found |= {f"ratio_{name}": float(value) for name, value in zip(QUANTILES, quantiles, strict=True)}
    if len(means):
        found |= {"sequence_ratio_min": float(np.exp(means.min())), "sequence_ratio_max": float(np.exp(means.max()))}
    if len(staleness) == len(log_ratios):
        for versions in np.unique(staleness[sound]):
            found[f"kl/staleness_{int(versions)}"] = float(-logs[staleness[sound] == versions].mean())
    return found


def _gathered(group: RankGroup, parts: Sequence[Tensor]) -> Floats:
    """What all ranks have, in the order of ranks."""
    own = torch.cat(list(parts)).double().cpu().numpy() if parts else np.zeros(0)
    return np.concatenate([np.frombuffer(data, dtype=np.float64) for data in group.gather_bytes(own.tobytes())])
