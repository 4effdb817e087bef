"""A sequence to train on: a rollout with its log-probabilities and rewards, one half of a pair, or a demonstration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LOGPROBS = ("logprobs", "ref_logprobs", "teacher_logprobs")
"""Fields of `Sample` with a number for each completion token."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and the completion to learn from. Without `logprobs` and `advantage` it is a demonstration.

    Log-probabilities are in nats, one for each completion token. NaN or infinity marks one that got lost: the token is
    not trained on, and counted. Those of `given` tokens mean nothing.
    """

    prompt_ids: Sequence[int]
    """At least one: the first completion token is predicted from the last of them."""
    completion_ids: Sequence[int]
    """At least one; ends with the end-of-sequence token where the completion ended."""
    logprobs: Sequence[float] | None = None
    """Of the behaviour policy."""
    ref_logprobs: Sequence[float] | None = None
    """Of the reference policy."""
    advantage: float | None = None
    group: int | None = None
    """Which prompt it answers; samples of one group are compared with each other."""
    reward: float | None = None
    """The components combined. The best and the worst of a group are its preference pair."""
    domain: str = ""
    components: Mapping[str, float] = field(default_factory=dict)
    """Reward components by name."""
    component_advantages: Mapping[str, float] = field(default_factory=dict)
    """The advantage of each component alone."""
    segments: Sequence[int] | None = None
    """The segment of each completion token: 0 for the first, and then the same or one more."""
    teacher_logprobs: Sequence[float] | None = None
    """Of the teacher, where the rollout service computed them."""
    given: Sequence[bool] | None = None
    """True for tokens that the policy did not sample, of several turns: the policy sees them and is not trained on them."""
    staleness: Sequence[int] | None = None
    """For each completion token, by how many versions the weights that sampled it are behind those that learn from it."""

    def counted(self) -> NDArray[np.bool_]:
        """For each completion token, whether it is trained on: sampled by the policy, and none of its log-probabilities lost."""
        counted = np.ones(len(self.completion_ids), dtype=np.bool_)
        for values in (self.logprobs, self.ref_logprobs, self.teacher_logprobs):
            if values is not None:
                counted &= np.isfinite(np.array(values, dtype=np.float64))
        return counted if self.given is None else counted & ~np.array(self.given, dtype=np.bool_)


def check_samples(samples: Sequence[Sample]) -> None:
    """Raises ValueError for the first sample that cannot be trained on, by its place, and for samples of two kinds."""
    for place, sample in enumerate(samples):
        _check(f"sample {place}", sample)
    for name in (*LOGPROBS, "advantage", "group", "reward", "segments", "staleness"):
        if len({getattr(sample, name) is None for sample in samples}) > 1:
            raise ValueError(f"some samples have {name} and some have not; a step holds rollouts or demonstrations")


def _check(where: str, sample: Sample) -> None:
    if not sample.prompt_ids or not sample.completion_ids:
        empty = "completion_ids" if sample.prompt_ids else "prompt_ids"
        raise ValueError(f"{where}: {empty} is empty; a prompt and a completion have at least one token each")
    for name in (*LOGPROBS, "segments", "given", "staleness"):
        values = getattr(sample, name)
        if values is not None and len(values) != len(sample.completion_ids):
            raise ValueError(f"{where}: {len(values)} {name} for {len(sample.completion_ids)} completion tokens")
    for name in ("advantage", "reward"):
        value = getattr(sample, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{where}: {name} is {value!r}; it must be finite")
    steps = [b - a for a, b in zip([0, *(sample.segments or ())], sample.segments or (), strict=False)]
    if sample.segments and (sample.segments[0] != 0 or any(step not in (0, 1) for step in steps)):
        raise ValueError(f"{where}: segments must begin with 0 and grow by at most 1, not {list(sample.segments)[:8]}")
