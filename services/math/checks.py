"""What a mathematical item is checked against, and the choices that graders differ in, with their defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

Marker = Literal["boxed", "hashes", "phrase", "whole", "span", "number"]


class MathChecks(BaseModel):
    """The gold answer, and the policy that the answer is compared by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gold: StrictStr | StrictInt | Annotated[StrictFloat, AllowInfNan(False)] = Field(
        description="the right answer: a number, LaTeX or words; or a solution that ends in \\boxed{} or #### answer"
    )
    percent: Literal["either", "ratio"] = Field(
        default="either",
        description="what a percent sign on one side only means: either a unit or a factor 1/100; or the factor, always",
    )
    units: Literal["convert", "same", "ignore"] = Field(
        default="convert",
        description="two different units: equal where the amounts are (60 minutes, 1 hour); never equal; not looked at",
    )
    fractions: Literal["any", "reduced"] = Field(
        default="any", description="whether 4/8 counts for 1/2: always, or only fractions in lowest terms do"
    )
    decimal_comma: Literal["prose", "always", "never"] = Field(
        default="prose",
        description="whether 2,74 is a decimal: in answers that were found without a marker only; always; never",
    )
    relative_tolerance: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="how far a number may be off, as a share of the gold number"
    )
    decimals: int | None = Field(
        default=None, ge=0, le=15, description="numbers that agree when rounded to so many decimals count as equal"
    )
    names: Literal["same", "any"] = Field(
        default="same", description="whether letters must be the same, or may be renamed: f(y) for f(x)"
    )
    several: Literal["wrong", "last"] = Field(
        default="wrong",
        description="an answer of several values where the gold has one: a hedge, and wrong; or its last value counts",
    )
    markers: tuple[Marker, ...] | None = Field(
        default=None,
        min_length=1,
        description="the places an answer may be found in; elsewhere it is no answer. Default: all of them",
    )
    check_symbolic: StrictBool = Field(
        default=True,
        description="whether Math-Verify is asked where exact arithmetic cannot decide; else that is wrong",
    )
