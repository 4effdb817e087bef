"""What comes with an item that a judge is to score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_RUBRICS = 16
MAX_FIELDS = 32


class JudgeChecks(BaseModel):
    """What the judge is asked, and what it is shown beside prompt and response."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rubrics: list[str] | None = Field(
        default=None,
        max_length=MAX_RUBRICS,
        description="names of rubrics, each of which asks the judge once; the service's own choice where left out,"
        " none with [], which needs a rival",
    )
    reference: str | None = Field(default=None, description="a right answer, for the rubrics that show one")
    persona: str | None = Field(default=None, description="who the author is said to be, for the rubric persona")
    history: list[str] = Field(
        default=[],
        max_length=256,
        description="earlier turns, oldest first, for the rubrics of your own that show them",
    )
    rival: str | None = Field(
        default=None, description="another response to the prompt: judge/preference says which of the two is better"
    )
    fields: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], str],
        Field(default={}, max_length=MAX_FIELDS, description="texts for further fields of rubrics of your own"),
    ]

    def texts(self, prompt: str, response: str) -> dict[str, str]:
        """All that can be shown, by the name of its field."""
        own: Mapping[str, Any] = {"reference": self.reference, "persona": self.persona, "rival": self.rival}
        shown = {**self.fields, "prompt": prompt, "response": response}
        shown |= {name: text for name, text in own.items() if text is not None}
        if self.history:
            shown["history"] = "\n\n".join(self.history)
        return shown
