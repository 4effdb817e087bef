"""A table of the job file: frozen, unknown keys refused, numbers finite and never made out of strings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1, le=10**9)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of the job file: frozen, unknown keys refused, numbers finite and never made out of strings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


