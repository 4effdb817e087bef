"""The scorer as the server calls it: verdicts, errors, hostile answers, and agreement with labelled data."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.scorers_math import HOSTILE, checks_of
from services.math.scorer import MathScorer
from services.verdicts import ErrorReason, Item, ItemError, Outcome, Verdict, check_outcome

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("ASSAY_DATA") or ROOT.parent / "shared" / "data")
ANSWERS = (Path(__file__).parent / "answers.txt").read_text()


@pytest.fixture(scope="module")
def scorer() -> MathScorer:
    return MathScorer()


def _score_all(scorer: MathScorer, items: Sequence[Item]) -> list[Outcome]:
    components = {component.name: component for component in scorer.components}
    return [check_outcome(outcome, components) for outcome in asyncio.run(scorer.score(items))]


def _score(scorer: MathScorer, response: str, checks: Mapping[str, object]) -> Outcome:
    (outcome,) = _score_all(scorer, [Item("1", "How many?", response, checks)])
    return outcome


def _rows(name: str) -> list[dict]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in {DATA}; set ASSAY_DATA to where it lies")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _is_correct(outcome: Outcome) -> bool:
    return isinstance(outcome, Verdict) and outcome.components["math/correctness"] == 1.0


def test_a_verdict_says_what_was_extracted_and_how_it_was_decided(scorer: MathScorer) -> None:
    assert _score(scorer, "3 * 6 = 18\nA: 18 eggs", {"gold": 18}) == Verdict(
        {"math/correctness": 1.0, "math/syntax": 1.0, "math/format": 1.0},
        "correct",
        {"answer": "18 eggs", "marker": "phrase", "method": "exact"},
    )


@pytest.mark.parametrize(
    ("response", "correctness", "syntax", "format_", "label"),
    [
        (r"\boxed{18}", 1, 1, 1, "correct"),
        ("so it is 18", 1, 0, 0, "correct"),
        ("18", 1, 1, 0, "correct"),
        ("the answer is 17", 0, 1, 1, "wrong"),
        (r"\boxed{17}. No: \boxed{18}", 1, 0, 1, "correct"),
        (r"\boxed{18}. The final answer is $18$.", 1, 1, 1, "correct"),
        (r"so {x = \boxed{18}", 1, 0, 1, "correct"),
        (r"$x = \boxed{18}", 1, 0, 1, "correct"),
        ("I do not know.", 0, 0, 0, "no_answer"),
        (r"\boxed{}", 0, 0, 0, "no_answer"),
        ("", 0, 0, 0, "no_answer"),
        (r"\boxed{9^{9^{9^{9}}}}", 0, 0, 1, "too_large"),
        (r"\boxed{" + "7" * 100_000 + "}", 0, 0, 1, "too_large"),
        (r"\boxed{\geq}", 0, 0, 1, "unreadable"),
        (r"\boxed{\int_0^{\infty} e^{-x^{2}} \sin(x^{7}) dx}", 0, 1, 1, "timeout"),
    ],
)
def test_labels(
    scorer: MathScorer, response: str, correctness: float, syntax: float, format_: float, label: str
) -> None:
    verdict = _score(scorer, response, {"gold": "18"})
    assert isinstance(verdict, Verdict)
    assert verdict.label == label
    assert list(verdict.components.values()) == [correctness, syntax, format_]
    assert verdict.repeatable == (label != "timeout")
    assert len(verdict.evidence.get("answer", "")) <= 200


SECTIONS = ANSWERS.split("\n## ")[1:]


@pytest.mark.parametrize(
    "section", SECTIONS, ids=[section.partition("\n")[0].replace(" ", "-") for section in SECTIONS]
)
def test_the_same_answer_and_near_misses(scorer: MathScorer, section: str) -> None:
    lines = section.splitlines()[1:]
    pairs = [line[2:].split(" ;; ") for line in lines]
    outcomes = _score_all(
        scorer, [Item(str(n), "", rf"\boxed{{{answer}}}", {"gold": gold}) for n, (gold, answer) in enumerate(pairs)]
    )
    braced = [_is_braced(answer) for _, answer in pairs]
    wrong = [
        (line, outcome)
        for line, outcome, fits in zip(lines, outcomes, braced, strict=True)
        if fits and (not isinstance(outcome, Verdict) or _is_correct(outcome) != (line[0] == "="))
    ]
    assert wrong == []
    assert len(lines) > 7


def _is_braced(answer: str) -> bool:
    """Whether it can stand in a box."""
    plain = answer.replace("\\{", "").replace("\\}", "")
    return plain.count("{") == plain.count("}")


def test_a_bad_gold_is_an_item_error_whatever_the_answer(scorer: MathScorer) -> None:
    for gold in (r"\frac{1}{", r"\int_0^{\infty} e^{-x^{2}} \sin(x^{7", r"\lim_{x \to}"):
        for response in ("", r"\boxed{1}", r"\boxed{9^{9^{9^{9}}}}", r"\boxed{\int_0^1 x dx}"):
            error = _score(scorer, response, {"gold": gold})
            assert isinstance(error, ItemError)
            assert error.reason is ErrorReason.INVALID_ITEM
            assert error.message.startswith("checks.gold ")
            assert "frac" not in error.message


def test_the_place_of_an_answer_can_be_asked_for(scorer: MathScorer) -> None:
    only_hashes = {"gold": "42", "markers": ["hashes"]}
    assert not _is_correct(_score(scorer, "The answer is 42", only_hashes))
    assert not _is_correct(_score(scorer, r"\boxed{42}", only_hashes))
    assert _is_correct(_score(scorer, "#### 42", only_hashes))


def test_a_decimal_comma_is_a_choice(scorer: MathScorer) -> None:
    for choice, boxed, prose in (("prose", False, True), ("always", True, True), ("never", False, False)):
        checks = {"gold": "2.74", "decimal_comma": choice}
        assert _is_correct(_score(scorer, r"\boxed{2,74}", checks)) == boxed
        assert _is_correct(_score(scorer, "it costs 2,74 $ there", checks)) == prose


def test_math_verify_is_not_asked_where_it_must_not_be(scorer: MathScorer) -> None:
    verdict = _score(scorer, r"\boxed{\int_0^1 x dx}", {"gold": "1/2", "check_symbolic": False})
    assert isinstance(verdict, Verdict)
    assert (verdict.label, verdict.evidence["method"]) == ("wrong", "exact")
    assert _is_correct(_score(scorer, r"\boxed{\int_0^1 x dx}", {"gold": "1/2"}))


def test_the_same_items_get_the_same_verdicts_alone_and_together(scorer: MathScorer) -> None:
    pairs = [line[2:].split(" ;; ") for line in ANSWERS.splitlines() if line[:1] in "=!"]
    items = [Item(str(n), "", rf"\boxed{{{answer}}}", {"gold": gold}) for n, (gold, answer) in enumerate(pairs)]
    together = _score_all(scorer, items)
    again = _score_all(scorer, items[::-1])[::-1]
    assert [repr(outcome) for outcome in together] == [repr(outcome) for outcome in again]
    alone = [_score(scorer, item.response, item.checks) for item in items[::7]]
    assert alone == together[::7]


def test_agrees_with_every_label_of_real_solutions(scorer: MathScorer) -> None:
    rows = _rows("gsm8k_solutions.jsonl")
    outcomes = _score_all(
        scorer, [Item(str(i), "", row["response"], {"gold": row["gold"]}) for i, row in enumerate(rows)]
    )
    wrong = [
        i
        for i, (row, outcome) in enumerate(zip(rows, outcomes, strict=True))
        if not isinstance(outcome, Verdict) or _is_correct(outcome) != row["expected"]
    ]
    assert wrong == []
    assert len(rows) == 2000


def test_agrees_with_other_graders_tests_and_accepts_no_wrong_answer(scorer: MathScorer) -> None:
    rows = [row for row in _rows("math_cases.jsonl") if not row["kind"].startswith(("policy", "disputed"))]
    missed = []
    for row in rows:
        outcome = _score(scorer, row["answer"], checks_of(row))
        if not isinstance(outcome, Verdict) or _is_correct(outcome) != row["expected"]:
            assert row["expected"], (row["gold"], row["answer"])
            missed.append((row["gold"], row["answer"]))
    assert len(missed) <= 0.015 * len(rows), missed


def test_hostile_answers_are_scores_and_not_right(scorer: MathScorer) -> None:
    for text in HOSTILE:
        verdict = _score(scorer, rf"\boxed{{{text}}}", {"gold": "42"})
        assert isinstance(verdict, Verdict), text[:60]
        assert verdict.label != "correct", text[:60]


EXECUTED = """
import asyncio, json, os, sys
from services.math.scorer import MathScorer
from services.verdicts import Item

scorer = MathScorer()
events = []
def hook(name, arguments):
    if name in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"):
        events.append(name)
    if name == "compile" and "assay_marker" in str(arguments[0]):
        events.append(name)
sys.addaudithook(hook)
items = []
for text in json.load(sys.stdin):
    for response in ("\\\\boxed{%s}" % text, "The answer is %s" % text, "$%s$" % text, text):
        items += [Item("1", "", response, {"gold": gold}) for gold in ("42", "\\\\int_0^1 x dx")]
labels = [outcome.label for outcome in asyncio.run(scorer.score(items))]
print(json.dumps({"labels": labels, "events": events, "environment": "assay_marker" in os.environ}))
"""


def test_nothing_in_an_answer_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "assay_marker"
    texts = [
        "__import__('os').environ.setdefault('assay_marker','1')",
        '[exec(\'import os; os.environ["assay_marker"]="1"\'),\\pi][1]',
        "(lambda: __import__('os').system('true # assay_marker'))()",
        f"__import__('pathlib').Path('{marker}').touch()",
        f"\\int_0^1 open('{marker}','w') dx",
        "\\text{eval('assay_marker')}",
        "1 + exit(0) + assay_marker",
        "2*(assay_marker.__class__)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", EXECUTED],
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
    assert not marker.exists()
    assert "correct" not in result["labels"]
    assert len(result["labels"]) == 8 * len(texts)
