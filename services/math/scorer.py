"""The scorer of mathematics: extraction and grading behind the contract of `services.verdicts`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.math import proof
from services.math.checks import MathChecks
from services.math.extract import Answer, extract_answer, final_text
from services.math.grade import BadGoldError, Gold, Grade, grade, read_gold
from services.math.notation import normalise
from services.math.referee import Finding, Referee
from services.math.syntax import is_balanced
from services.verdicts import Component, ErrorReason, Item, ItemError, Outcome, Verdict

EVIDENCE_CHARACTERS = 200
MAX_GOLDS = 10_000

_BAD_GOLD: Mapping[Finding, str] = {
    "bad gold": "cannot be read as a number, an expression or words",
    "gold timeout": "takes too long to read",
    "gold memory": "takes too much memory to read",
}
_GRADES: Mapping[Finding, Grade] = {
    "same": Grade("correct", "math-verify"),
    "different": Grade("wrong", "math-verify", "value"),
    "unreadable": Grade("unreadable", "math-verify", "unreadable"),
    "timeout": Grade("timeout", "math-verify", "time"),
    "memory": Grade("too_large", "math-verify", "memory"),
}
_NO_ANSWER = Grade("no_answer", "none", "no answer")
_LOST = ItemError(
    ErrorReason.WORKER_DIED, "the process that compares symbolically ended twice, through no fault of the item"
)


class MathScorer:
    """A `services.verdicts.AsyncScorer`: scores the final answer of a response. The reasoning before it is not judged.

    Labels: correct, wrong, no_answer (nothing that could be an answer), too_large (refused before evaluation: towers of
    powers, huge factorials, very long answers), unreadable (an answer that is neither number nor expression), timeout
    (Math-Verify used up its CPU time on it; never remembered). All but the first score 0.
    """

    name = "math"
    version = "3"
    cacheable = True
    components = (
        Component("math/correctness", "1 where the final answer equals the gold answer, else 0"),
        Component(
            "math/syntax",
            "1 where the delimiters of what follows the thought are balanced, one answer is announced (the same one"
            " again is no other) and it can be read; else 0. Independent of whether it is right.",
        ),
        Component(
            "math/format",
            "1 where the answer was stated by \\boxed{}, ####, 'A:' or 'answer is'; 0 where it had to be guessed or is"
            " missing. Independent of whether it is right.",
        ),
    )
    checks = MathChecks
    batch_size = 32
    concurrency = 256
    timeout_seconds = 10.0

    def __init__(self) -> None:
        """Starts the process that Math-Verify runs in; takes two seconds."""
        proof.prepare()
        self._referee = Referee()
        self._golds: dict[str, Finding] = {}
        """What was found of golds that only Math-Verify reads."""

    @property
    def nursery_pid(self) -> int:
        """The process whose children run Math-Verify, for who measures them."""
        return self._referee.nursery.process.pid

    async def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One outcome for each item; INVALID_ITEM where the gold answer cannot be read."""
        outcomes: list[Outcome] = []
        asked: list[tuple[int, asyncio.Task[Outcome]]] = []
        for place, item in enumerate(items):
            read = _read(item.checks, item.response)
            if isinstance(read, _Question):
                asked.append((place, asyncio.create_task(self._ask(read))))
                read = _LOST
            outcomes.append(read)
        try:
            for place, task in asked:
                outcomes[place] = await task
        finally:
            for _, task in asked:
                task.cancel()
        return outcomes

    async def _ask(self, question: _Question) -> Outcome:
        checks, gold = question.checks, question.gold
        if not checks.check_symbolic:
            if gold.is_foreign:
                return ItemError(
                    ErrorReason.INVALID_ITEM, "checks.gold needs Math-Verify, which check_symbolic forbids"
                )
            return question.decided or _verdict(
                question.answer, Grade("wrong", "exact", "not proven"), question.response
            )
        if question.decided is not None:
            finding = self._golds.get(gold.text) or await self._referee.compare(gold.text, "0", 0.0)
        else:
            finding = await self._referee.compare(gold.text, question.text, checks.relative_tolerance)
        if finding == "lost":
            return _LOST
        if gold.is_foreign and len(self._golds) < MAX_GOLDS:
            self._golds[gold.text] = finding
        if finding in _BAD_GOLD:
            return ItemError(ErrorReason.INVALID_ITEM, f"checks.gold {_BAD_GOLD[finding]}")
        return question.decided or _verdict(question.answer, _GRADES[finding], question.response)


@dataclass(frozen=True, slots=True)
class _Question:
    """An item for Math-Verify: to compare, or, where the verdict is `decided`, to say whether the gold means anything."""

    checks: MathChecks
    gold: Gold
    answer: Answer | None
    response: str
    text: str = ""
    decided: Verdict | None = None


def _read(raw: Mapping[str, Any], response: str) -> Outcome | _Question:
    checks = MathChecks.model_validate(raw)
    comma = checks.decimal_comma == "always"
    try:
        gold = read_gold(str(checks.gold), comma)
    except BadGoldError as error:
        return ItemError(ErrorReason.INVALID_ITEM, f"checks.gold {error}")
    answer = extract_answer(response, checks.markers, checks.decimal_comma != "never")
    found = None if answer is None else grade(gold, answer.text, checks, comma)
    if answer is not None and found is None:
        return _Question(checks, gold, answer, response, normalise(answer.text, comma))
    verdict = _verdict(answer, found or _NO_ANSWER, response)
    if gold.is_foreign and verdict.label != "correct":
        return _Question(checks, gold, answer, response, decided=verdict)
    return verdict


def _verdict(answer: Answer | None, found: Grade, response: str) -> Verdict:
    if answer is None:
        components = {"math/correctness": 0.0, "math/syntax": 0.0, "math/format": 0.0}
        return Verdict(components, found.label, {"method": "none", "reason": found.reason})
    readable = found.label in ("correct", "wrong", "timeout")
    one = answer.statements == 1 or answer.marker == "whole"
    components = {
        "math/correctness": 1.0 if found.label == "correct" else 0.0,
        "math/syntax": 1.0 if readable and one and is_balanced(final_text(response)) else 0.0,
        "math/format": 1.0 if answer.explicit else 0.0,
    }
    evidence = {"answer": answer.text[:EVIDENCE_CHARACTERS], "marker": answer.marker, "method": found.method}
    if found.reason:
        evidence["reason"] = found.reason
    return Verdict(components, found.label, evidence, repeatable=found.label != "timeout")
