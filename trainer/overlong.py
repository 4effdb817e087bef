"""Completions that came to the longest length there is: what becomes of them, and what length costs before that.

A completion that was cut off is often wrong only because it was cut off: it teaches that what it was on the way to was bad.
Yu et al. 2025, "DAPO" (arXiv 2503.14476), section 3.4, is where masking and the penalty are from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.rollout.engine import Completion, FinishReason

Truncated = Literal["keep", "mask", "drop", "penalise"]

LENGTH_PENALTY = "rollout/length_penalty"
"""A component that no scorer can have: no scorer may be called `rollout`."""


@dataclass(frozen=True, slots=True)
class Overlong:
    """What is done with completions that are too long."""

    rule: Truncated = "keep"
    longest: int = 1
    """L_max: `max_new_tokens` of the job."""
    cache: int = 1
    """L_cache: the last tokens before it, in which the penalty grows; 1 to `longest`."""
    weight: float = 1.0
    """Of the penalty in the reward."""

    def dropped(self, completion: Completion) -> bool:
        """Whether it is left out of the step, its group's baseline included."""
        return self.rule == "drop" and completion.finish_reason is FinishReason.LENGTH

    def masked(self, completion: Completion) -> bool:
        """Whether its reward is compared with, and nothing is trained on it."""
        return self.rule == "mask" and completion.finish_reason is FinishReason.LENGTH

    def components(self, completion: Completion) -> dict[str, float]:
        """The penalty as a component of the reward; none under other rules."""
        if self.rule != "penalise":
            return {}
        return {LENGTH_PENALTY: soft_punishment(len(completion.token_ids), self.longest, self.cache)}

    def weights(self) -> dict[str, float]:
        """Of these components."""
        return {LENGTH_PENALTY: self.weight} if self.rule == "penalise" else {}


KEEP = Overlong()


def soft_punishment(length: int, longest: int, cache: int) -> float:
    """DAPO's soft overlong punishment (equation 13): 0 up to `longest - cache` tokens, then a line down to -1 at `longest`."""
    return min(0.0, max(-1.0, (longest - cache - length) / cache))
