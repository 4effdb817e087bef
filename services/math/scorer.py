"""The scorer of mathematics: extraction and grading behind the contract of `services.verdicts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from services.math.extract import extract_answer
from services.math.grade import BadGoldError, Policy, grade, read_gold
from services.verdicts import Component, ErrorReason, Item, ItemError, Outcome, Verdict

EVIDENCE_CHARACTERS = 200


class MathChecks(BaseModel):
    """What a response is checked against: the gold answer, and choices that graders differ in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gold: StrictStr | StrictInt | Annotated[StrictFloat, AllowInfNan(False)] = Field(
        description="the right answer: a number, LaTeX or words; or a solution that ends in \\boxed{} or #### answer"
    )
    percent: Literal["either", "ratio"] = Field(
        default="either",
        description="what a percent sign on one side only means: either a unit or a factor 1/100; or the factor, always",
    )
    relative_tolerance: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="how far a number may be off, as a share of the gold number"
    )


class MathScorer:
    """Scores the final answer of a response. The reasoning before it is not judged.

    Labels: correct, wrong, no_answer (nothing that could be an answer), too_large (refused before evaluation: towers of
    powers, huge factorials, very long answers), unreadable (an answer that is neither number nor expression). All but
    the first score 0. An answer on which Math-Verify does not come to an end has no verdict: the server kills the
    worker and reports DEADLINE, as it cannot tell whose fault it is.
    """

    name = "math"
    version = "1"
    components = (
        Component("math/correctness", "1 where the final answer equals the gold answer, else 0"),
        Component(
            "math/format",
            "1 where the answer was stated by \\boxed{}, ####, 'A:' or 'answer is'; 0 where it had to be guessed or is"
            " missing. Independent of whether it is right.",
        ),
    )
    checks = MathChecks
    batch_size = 1
    timeout_seconds = 5.0

    def __init__(self) -> None:
        """Imports and warms up everything that grading needs; takes a second or two."""
        warm_up = Item("warm-up", "", r"\boxed{x + \frac{1}{2}}", {"gold": r"\frac{2x + 1}{2}"})
        if self._score(warm_up) != Verdict(
            {"math/correctness": 1.0, "math/format": 1.0},
            "correct",
            {"answer": r"x + \frac{1}{2}", "marker": "boxed", "method": "math-verify"},
        ):
            raise RuntimeError("Math-Verify does not take x + 1/2 for (2x + 1)/2; its installation is broken")

    def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One outcome for each item; INVALID_ITEM where the gold answer cannot be read."""
        return [self._score(item) for item in items]

    def _score(self, item: Item) -> Outcome:
        checks = MathChecks.model_validate(item.checks)
        try:
            gold = read_gold(str(checks.gold))
        except BadGoldError as error:
            return ItemError(ErrorReason.INVALID_ITEM, f"checks.gold {error}")
        answer = extract_answer(item.response)
        if answer is None:
            return Verdict({"math/correctness": 0.0, "math/format": 0.0}, "no_answer", {"method": "none"})
        result = grade(gold, answer.text, Policy(checks.percent, checks.relative_tolerance))
        components = {"math/correctness": float(result.label == "correct"), "math/format": float(answer.explicit)}
        evidence = {"answer": answer.text[:EVIDENCE_CHARACTERS], "marker": answer.marker, "method": result.method}
        return Verdict(components, result.label, evidence)
