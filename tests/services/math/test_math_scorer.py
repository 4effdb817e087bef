"""The scorer as the server calls it: verdicts, errors, hostile answers, and agreement with labelled data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.math.scorer import MathChecks, MathScorer
from services.verdicts import ErrorReason, Item, ItemError, Outcome, Verdict, check_outcome

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("ASSAY_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="module")
def scorer() -> MathScorer:
    return MathScorer()


def _score(scorer: MathScorer, response: str, checks: Mapping[str, object]) -> Outcome:
    (outcome,) = scorer.score([Item("1", "How many?", response, checks)])
    return check_outcome(outcome, {component.name: component for component in scorer.components})


def _rows(name: str) -> list[dict]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in {DATA}; set ASSAY_DATA to where it lies")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_verdict_says_what_was_extracted_and_how_it_was_decided(scorer: MathScorer) -> None:
    assert _score(scorer, "3 * 6 = 18\nA: 18 eggs", {"gold": 18}) == Verdict(
        {"math/correctness": 1.0, "math/format": 1.0},
        "correct",
        {"answer": "18 eggs", "marker": "phrase", "method": "exact"},
    )


@pytest.mark.parametrize(
    ("response", "correctness", "format_", "label"),
    [
        (r"\boxed{18}", 1, 1, "correct"),
        ("so it is 18", 1, 0, "correct"),
        ("the answer is 17", 0, 1, "wrong"),
        ("I do not know.", 0, 0, "no_answer"),
        (r"\boxed{}", 0, 0, "no_answer"),
        ("", 0, 0, "no_answer"),
        (r"\boxed{9^{9^{9^{9}}}}", 0, 1, "too_large"),
        (r"\boxed{" + "7" * 100_000 + "}", 0, 1, "too_large"),
        (r"\boxed{\geq}", 0, 1, "unreadable"),
    ],
)
def test_labels(scorer: MathScorer, response: str, correctness: float, format_: float, label: str) -> None:
    verdict = _score(scorer, response, {"gold": "18"})
    assert isinstance(verdict, Verdict)
    assert (verdict.components, verdict.label) == ({"math/correctness": correctness, "math/format": format_}, label)
    assert len(verdict.evidence.get("answer", "")) <= 200


def test_a_bad_gold_is_an_item_error_whatever_the_answer(scorer: MathScorer) -> None:
    for response in ("", r"\boxed{1}", r"\boxed{9^{9^{9^{9}}}}"):
        error = _score(scorer, response, {"gold": r"\frac{1}{"})
        assert isinstance(error, ItemError)
        assert error.reason is ErrorReason.INVALID_ITEM
        assert error.message.startswith("checks.gold ")
        assert "frac" not in error.message


@pytest.mark.parametrize(
    "checks",
    [
        {},
        {"gold": None},
        {"gold": True},
        {"gold": float("nan")},
        {"gold": [18]},
        {"gold": "18", "percent": "both"},
        {"gold": "18", "relative_tolerance": -0.1},
        {"gold": "18", "tolerance": 0.1},
    ],
)
def test_checks_that_do_not_fit_are_refused(checks: dict) -> None:
    with pytest.raises(ValidationError):
        MathChecks.model_validate(checks)


def test_the_same_items_get_the_same_verdicts_alone_and_together(scorer: MathScorer) -> None:
    items = [Item(str(n), "", rf"\boxed{{\sqrt{{{n}}}}}", {"gold": r"\sqrt{2}"}) for n in range(1, 6)]
    together = scorer.score(items)
    assert together == scorer.score(items) == [scorer.score([item])[0] for item in items]
    assert [outcome.label for outcome in together if isinstance(outcome, Verdict)].count("correct") == 1


def test_agrees_with_every_label_of_real_solutions(scorer: MathScorer) -> None:
    rows = _rows("gsm8k_solutions.jsonl")
    outcomes = scorer.score([Item(str(i), "", row["response"], {"gold": row["gold"]}) for i, row in enumerate(rows)])
    wrong = [
        i
        for i, (row, outcome) in enumerate(zip(rows, outcomes, strict=True))
        if not isinstance(outcome, Verdict) or outcome.components["math/correctness"] != row["expected"]
    ]
    assert wrong == []
    assert len(rows) == 2000


def test_accepts_no_wrong_answer_of_other_graders_tests(scorer: MathScorer) -> None:
    """One row is left out: it says that "The answer is 42" must not count, and here it is an explicit marker."""
    rows = [row for row in _rows("math_cases.jsonl") if not row["kind"].startswith(("policy", "disputed"))]
    right, accepted = 0, []
    for row in rows:
        outcome = _score(scorer, row["answer"], {"gold": row["gold"]})
        correct = isinstance(outcome, Verdict) and outcome.components["math/correctness"] == 1.0
        right += isinstance(outcome, Verdict) and correct == row["expected"]
        if correct and not row["expected"] and row["answer"] != "The answer is 42":
            accepted.append((row["gold"], row["answer"]))
    assert accepted == []
    assert right >= 0.97 * len(rows)


HOSTILE = """
import json, os, sys
from services.math.scorer import MathScorer
from services.verdicts import Item

scorer = MathScorer()
scorer.score([Item("1", "", "$x$", {"gold": "x + 1"}), Item("2", "", "$[1, 2]$", {"gold": "(1, 2)"})])
events = []
def hook(name, arguments):
    if name in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"):
        events.append(name)
    if name == "compile" and "assay_marker" in str(arguments[0]):
        events.append(name)
sys.addaudithook(hook)
labels = []
for text in json.load(sys.stdin):
    for response in ("\\\\boxed{%s}" % text, "The answer is %s" % text, "$%s$" % text, text):
        (outcome,) = scorer.score([Item("1", "", response, {"gold": "42"})])
        labels.append(outcome.label)
print(json.dumps({"labels": labels, "events": events, "environment": "assay_marker" in os.environ}))
"""


def test_nothing_in_an_answer_is_executed() -> None:
    texts = [
        "__import__('os').environ.setdefault('assay_marker','1')",
        '[exec(\'import os; os.environ["assay_marker"]="1"\'),\\pi][1]',
        "(lambda: __import__('os').system('true # assay_marker'))()",
        "\\text{eval('assay_marker')}",
        "1 + exit(0) + assay_marker",
        "2*(assay_marker.__class__)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["events"] == []
    assert result["environment"] is False
    assert "correct" not in result["labels"]
    assert len(result["labels"]) == 4 * len(texts)
