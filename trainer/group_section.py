"""`[advantage.groups]`: which completions are compared with each other, and what that does to the gradient."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.grouping import Criterion, Formation, GroupBy
from trainer.section import Section

_SIZES = ("min_size", "max_size")
KEYS: dict[GroupBy, tuple[str, ...]] = {
    "prompt": (),
    "random": _SIZES,
    "semantic": (*_SIZES, "similarity", "of"),
    "performance": (*_SIZES, "similarity"),
    "adaptive": (*_SIZES, "of"),
    "multi_criteria": (*_SIZES, "similarity", "of", "criteria"),
    "dialogue_context": (*_SIZES, "similarity"),
}
"""The keys that each strategy takes."""

MIXES = (
    "the baseline no longer depends on the prompt alone, so an advantage holds how easy its prompt is beside how good its"
    " completion is: more noise, which group/difficulty tells"
)
LOOKS_AT_SAMPLES = (
    "a completion's own reward or text decides what it is compared with, so the baseline depends on the sample and the"
    " gradient is biased"
)
PAIRS = (
    "the pairs of preference terms may answer two prompts: what cancels between two answers to one prompt is left over"
)


class GroupsSection(Section):
    """`[advantage.groups]`: which completions are compared with each other; see [groups.md](groups.md)."""

    by: GroupBy = "prompt"
    """The strategy. All but `prompt` mix prompts, never domains."""
    min_size: Annotated[int, Field(ge=2, le=10**6)] | None = None
    """Smaller groups are joined with the one most like them; 2 by default."""
    max_size: Annotated[int, Field(ge=3, le=10**6)] | None = None
    """Largest group, at least `2 * min_size - 1`; by default that or `rollout.samples_per_prompt`, whichever is more."""
    similarity: Annotated[float, Field(ge=0, le=1)] | None = None
    """How like its group's first a completion must be; 0.7 by default."""
    of: Literal["prompt", "response"] | None = None
    """Whose embeddings are compared; `prompt` by default."""
    criteria: dict[Criterion, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Of `multi_criteria`: what each kind of likeness weighs: `semantic`, `performance`, `dialogue_context`, `length`."""

    @model_validator(mode="after")
    def _keys_belong_to_the_strategy(self) -> GroupsSection:
        written = {"min_size": self.min_size, "max_size": self.max_size, "similarity": self.similarity, "of": self.of}
        for name in [
            *(name for name, value in written.items() if value is not None),
            *["criteria"] * bool(self.criteria),
        ]:
            if name not in KEYS[self.by]:
                takes = f"it takes {', '.join(KEYS[self.by])}" if KEYS[self.by] else "it takes none"
                raise ValueError(f"{name} is no key of by = {self.by!r}; {takes}")
        if self.by == "multi_criteria" and not self.criteria:
            raise ValueError("by = 'multi_criteria' needs criteria, such as { semantic = 1.0, performance = 0.5 }")
        if self.of is not None and self.by == "multi_criteria" and "semantic" not in self.criteria:
            raise ValueError("of needs the criterion semantic")
        least = 2 * (self.min_size or 2) - 1
        if self.max_size is not None and self.max_size < least:
            raise ValueError(
                f"max_size must be at least {least}, 2 * min_size - 1: a smaller group could not take in what is too small"
                f" alone (got {self.max_size})"
            )
        return self

    @property
    def mixes(self) -> bool:
        """Whether completions of several prompts are compared."""
        return self.by != "prompt"

    def formation(self, samples_per_prompt: int) -> Formation:
        """The same with its defaults."""
        least = self.min_size or 2
        return Formation(
            by=self.by,
            min_size=least,
            max_size=self.max_size or max(2 * least - 1, samples_per_prompt),
            similarity=0.7 if self.similarity is None else self.similarity,
            of=self.of or "prompt",
            criteria=self.criteria,
        )

    def warnings(self, pairs: bool) -> list[str]:
        """What the strategy does to the gradient, a line each. pairs: whether some term looks at pairs."""
        if not self.mixes:
            return []
        own = self.by == "performance" or self.of == "response" or {"performance", "length"} & self.criteria.keys()
        reasons = [MIXES, *([LOOKS_AT_SAMPLES] if own else []), *([PAIRS] if pairs else [])]
        return [f"advantage.groups: by = {self.by!r} mixes prompts: {reason}" for reason in reasons]
