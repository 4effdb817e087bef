"""The tables of the job file about losses: `[loss]`, and its terms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.losses.aggregation import AggregationKind
from trainer.losses.contract import Scope
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.names import unknown_name
from trainer.places import Arguments, Moves
from trainer.section import Section


class TermSection(Section):
    """`[[loss.terms]]`: one term of the composite, built in (`type`) or your own (`path`)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """What metrics and messages call it: lower-case letters, digits and underscores."""
    type: str | None = None
    """A built-in term."""
    path: str | None = None
    """Import path of your own function, `package.module.function`."""
    weight: Moves = 1.0
    """Its part in the sum."""
    aggregation: AggregationKind | None = None
    """What the term is divided by; each type has its own default."""
    aggregation_constant: Annotated[float, Field(gt=0)] | None = None
    """Divides `sequence_sum`, and nothing else; by default 1, and `rollout.max_new_tokens` for `dr_grpo`."""
    kwargs: Arguments = Field(default_factory=dict)
    """Numbers may be schedules or controllers."""
    needs: list[str] = Field(default_factory=list)
    """What your own function reads beside the behaviour policy's log-probabilities and the advantages."""
    scope: Scope | None = None
    """What your own function is called with: one sequence (the default), the two of a pair, or the list of a group."""
    non_negative: bool = False
    """Your word that your own function is never below 0, as some controllers ask; built-in terms know it themselves."""

    @model_validator(mode="after")
    def _one_source(self) -> TermSection:
        if self.type is None and self.path is None:
            raise ValueError("without a loss: give type (a built-in term) or path (your own function)")
        if self.type is not None and self.path is not None:
            raise ValueError("give either type (a built-in term) or path (your own function), and not both")
        if self.type is not None and self.type not in BUILT_IN_TERMS:
            raise ValueError(f"type: {unknown_name(self.type, sorted(BUILT_IN_TERMS))}")
        if self.type is not None and self.non_negative:
            raise ValueError(f"non_negative is for your own functions; {self.type!r} knows it itself")
        return self

    def reads(self) -> frozenset[str]:
        """Fields of `PackedBatch` that it reads or, being your own function, may read, as far as rewards go."""
        return frozenset({"advantages", "rewards"}) if self.type is None else BUILT_IN_TERMS[self.type].needs

    def is_non_negative(self) -> bool:
        """Whether the term is never below 0."""
        return self.non_negative if self.type is None else BUILT_IN_TERMS[self.type].non_negative


class LossSection(Section):
    """`[loss]`: what is minimised: `terms`, or one function by `path`."""

    terms: list[TermSection] = Field(default_factory=list)
    """The weighted sum."""
    path: str | None = None
    """Import path of the only term, your own function, as in prime-rl's form; its name is `loss`."""
    kwargs: Arguments = Field(default_factory=dict)
    """Arguments of the function at `path`."""
    not_finite: Literal["raise", "skip_step"] = "raise"
    """What a NaN or an infinity in loss or gradient does: fails the job, or leaves the weights as they are for a step."""
    combination: Literal["sum", "pcgrad"] = "sum"
    """How the terms' gradients become one; `pcgrad` projects conflicts out, and runs the policy twice a step."""
    segment_ends: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Texts after which a segment of a completion ends, for terms that look at segments: `[". ", "\\n"]`."""
    parameter_cosines_every: int = Field(default=0, ge=0)
    """Steps between two comparisons of the terms' gradients with respect to all parameters; 0 is never."""

    @model_validator(mode="after")
    def _terms_or_path(self) -> LossSection:
        if self.path is not None and self.terms:
            raise ValueError("give either terms or path, and not both")
        if self.path is None and not self.terms:
            raise ValueError("no terms: add [[loss.terms]] tables, or path = \"package.module.function\"")
        if self.path is None and self.kwargs:
            raise ValueError("kwargs without path: give each term its own kwargs")
        check_names([term.name for term in self.terms])
        return self

    def all_terms(self) -> list[TermSection]:
        """The terms, prime-rl's form included."""
        if self.path is not None:
            return [TermSection(name="loss", path=self.path, kwargs=self.kwargs)]
        return self.terms


def check_names(names: list[str]) -> None:
    """Raises ValueError where two terms share a name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"terms: the name {twice[0]!r} is used twice")
