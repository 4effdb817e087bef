"""The policies, the gold answers that are refused, and words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.math.checks import MathChecks
from services.math.grade import BadGoldError, Grade, grade, read_gold


def _grade(gold: str, answer: str, **policy: object) -> Grade | None:
    return grade(read_gold(gold), answer, MathChecks(gold=gold, **policy))  # type: ignore[arg-type]


def _is_correct(gold: str, answer: str, **policy: object) -> bool:
    found = _grade(gold, answer, **policy)
    assert found is not None
    return found.label == "correct"


@pytest.mark.parametrize(
    ("gold", "answer", "either", "ratio"),
    [
        ("50", "50\\%", True, False),
        ("0.5", "50\\%", True, True),
        ("50\\%", "50", True, False),
        ("50\\%", "0.5", True, True),
        ("50\\%", "50\\%", True, True),
        ("50\\%", "5000", False, False),
    ],
)
def test_percent(gold: str, answer: str, either: bool, ratio: bool) -> None:
    assert _is_correct(gold, answer) == either
    assert _is_correct(gold, answer, percent="ratio") == ratio


@pytest.mark.parametrize(
    ("answer", "convert", "same", "ignore"),
    [
        ("60 minutes", True, False, False),
        ("1 hour", True, True, True),
        ("1", True, True, True),
        ("1 km", False, False, True),
        ("61 minutes", False, False, False),
    ],
)
def test_units(answer: str, convert: bool, same: bool, ignore: bool) -> None:
    for units, expected in (("convert", convert), ("same", same), ("ignore", ignore)):
        assert _is_correct("1 hour", answer, units=units) == expected


@pytest.mark.parametrize(
    ("answer", "reduced"),
    [
        ("1/2", True),
        ("2/4", False),
        (r"\frac{2}{4}", False),
        ("0.5", True),
        (r"\frac{-2}{-4}", False),
        (r"\frac12", True),
    ],
)
def test_fractions_in_lowest_terms(answer: str, reduced: bool) -> None:
    assert _is_correct(r"\frac{1}{2}", answer)
    assert _is_correct(r"\frac{1}{2}", answer, fractions="reduced") == reduced


def test_an_unreduced_answer_is_wrong_even_where_it_is_the_golds_text() -> None:
    assert not _is_correct("2/4", "2/4", fractions="reduced")
    assert not _is_correct("3", r"\frac{3}{1}", fractions="reduced")


@pytest.mark.parametrize(
    ("gold", "answer"), [("3", "2.98"), (r"\pi", "3.12"), ("-3", "-3.02"), (r"\{3, 5\}", "2.98, 5")]
)
def test_tolerance_is_relative_and_bounded(gold: str, answer: str) -> None:
    assert _is_correct(gold, answer, relative_tolerance=0.01)
    assert not _is_correct(gold, answer, relative_tolerance=0.001)
    assert not _is_correct(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer", "decimals", "expected"),
    [
        (r"\frac{1}{3}", "0.33", 2, True),
        (r"\frac{1}{3}", "0.34", 2, False),
        (r"\frac{1}{3}", "0.33", 3, False),
        (r"\pi", "3.14", 2, True),
        (r"\begin{pmatrix}\frac{1}{3}\\2\end{pmatrix}", r"\begin{pmatrix}0.33\\2\end{pmatrix}", 2, True),
        ("x+1", "x+1.001", 2, False),
    ],
)
def test_rounding_to_decimals(gold: str, answer: str, decimals: int, expected: bool) -> None:
    assert _is_correct(gold, answer, decimals=decimals) == expected
    assert not _is_correct(gold, answer)


def test_decimals_of_a_computer_count_as_the_number_that_they_are_printed_for() -> None:
    assert _is_correct(r"\frac{1}{3}", "0.333333333333333")
    assert not _is_correct(r"\frac{1}{3}", "0.33333333333333")
    assert not _is_correct("3", "3.00000000000001")
    assert not _is_correct("0.333333333333334", r"\frac{1}{4}")


def test_names_of_letters() -> None:
    assert not _is_correct("f(x)", "f(y)")
    assert _is_correct("f(x)", "f(y)", names="any")
    assert _is_correct("a^2+b", "x^2+y", names="any")
    assert not _is_correct("a^2+b", "x^2+x", names="any")


def test_several_answers() -> None:
    assert not _is_correct("7", "6, 7")
    assert _is_correct("7", "6, 7", several="last")
    assert not _is_correct("7", "7, 6", several="last")


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        (r"5\text{ km}", r"5\text{ kg}", "unit"),
        ("12_8", "12_3", "base"),
        ("(1,2)", "(2,1)", "order"),
        ("(1,2)", "[1,2]", "brackets"),
        ("(1,2)", "(1,2,3)", "count"),
        ("7", "7, 8", "several answers"),
        ("1, 2", "1", "incomplete"),
        ("x=5", "y=5", "name"),
        (r"50\%", "51", "percent"),
        ("18", "19", "value"),
        ("odd", "even", "words"),
        ("18", "9^{9^{9^{9}}}", "size"),
        ("18", "18 because", "unreadable"),
        ("18", r"\frac{18}{0}", "undefined"),
    ],
)
def test_a_wrong_answer_has_a_reason(gold: str, answer: str, reason: str) -> None:
    found = _grade(gold, answer)
    assert found is not None
    assert found.label != "correct"
    assert found.reason == reason


@pytest.mark.parametrize("gold", ["a solution\n#### 18", r"so $x = \boxed{18}$.", "The answer is 18.", r"\boxed{18"])
def test_a_gold_solution_is_read_as_its_last_answer(gold: str) -> None:
    assert _is_correct(gold, "18")
    assert not _is_correct(gold, "19")


@pytest.mark.parametrize(
    "gold",
    [
        "",
        "  ",
        "$$",
        r"\text{}",
        r"\frac{1}{",
        "9^{9^{9^9}}",
        "1" * 5000,
        "?",
        r"\boxed{}",
        r"\frac{1}{0}",
        "5 6",
        "(5",
    ],
)
def test_a_gold_answer_that_cannot_be_read_is_an_error_without_its_text(gold: str) -> None:
    with pytest.raises(BadGoldError) as error:
        read_gold(gold)
    assert len(str(error.value)) < 80


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
        {"gold": "18", "decimals": 16},
        {"gold": "18", "units": "any"},
        {"gold": "18", "markers": []},
        {"gold": "18", "markers": ["box"]},
        {"gold": "18", "tolerance": 0.1},
    ],
)
def test_checks_that_do_not_fit_are_refused(checks: dict) -> None:
    with pytest.raises(ValidationError):
        MathChecks.model_validate(checks)


_LINES = (Path(__file__).parent / "answers.txt").read_text().splitlines()
_TEXTS = [text for line in _LINES if line[:1] in "=!" for text in line[2:].split(" ;; ")]
_PIECES = st.lists(st.sampled_from([*_TEXTS, *"+-*/^_=,(){}|!%&"]), min_size=1, max_size=4).map("".join)


@given(st.one_of(st.sampled_from(_TEXTS), _PIECES), _PIECES)
def test_any_pair_is_graded_or_refused(gold: str, answer: str) -> None:
    try:
        read = read_gold(gold)
    except BadGoldError:
        return
    found = grade(read, answer, MathChecks(gold=gold))
    assert found is None or found.label in ("correct", "wrong", "unreadable", "too_large", "no_answer")
