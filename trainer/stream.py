"""The prompts of a run, in the order in which they are drawn: what the loop asks of a data set, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trainer.data import Prompt


@dataclass(frozen=True, slots=True)
class Drawn:
    """A prompt that was drawn."""

    serial: int
    """Its place in the run's order, from 0; never given twice, so it names the group everywhere."""
    prompt: Prompt


class PromptStream(Protocol):
    """Draws prompts for ever. Deterministic: equal settings, seeds, calls and pass rates draw equal prompts."""

    def draw(self, count: int, step: int, max_difficulty: float | None = None) -> list[Drawn]:
        """The next `count` prompts, for optimizer step `step`, none of them harder than `max_difficulty`. Raises DataError."""
        ...

    def learned(self, prompt: Prompt, pass_rate: float) -> None:
        """Tells how often the policy solved it, 0 to 1, the last time that it was trained on."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Of what was drawn last: `data/...`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that moves, as JSON: what was drawn is not drawn again by a stream that gets it back."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there. Raises DataError where the state is not one of these data."""
        ...
