"""What counts as the same answer. Wrong answers accepted are the worst fault, so most rows here must be refused."""

from __future__ import annotations

import pytest

from services.math.grade import BadGoldError, Policy, grade, read_gold


def _label(gold: str, answer: str, **policy: object) -> str:
    return grade(read_gold(gold), answer, Policy(**policy)).label  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("50", "5000"),
        ("50", "0.5"),
        ("0.5", "50"),
        ("2", "2x"),
        ("2", r"2\pi"),
        ("3abc", "3"),
        ("5", "5 million"),
        ("1/2", r"1\frac12"),
        ("-5", "5"),
        ("5", "5 6"),
        ("5", "56"),
        ("42", r"\frac{1}{0}"),
        ("0.3333", "0.33331"),
        ("1.0000000001", "1"),
        (r"\frac{1}{3}", "0.33"),
        ("10^{-9}", "0"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"\frac{\pi}{2004!}", r"\frac{\pi}{2006!}"),
        ("0", r"10^{-20}\pi"),
        (r"\{10^{-9}\}", r"\{10^{-8}\}"),
        (r"\pi", "3.14"),
        (r"\sqrt{2}", "1.41421"),
        (r"\infty", r"-\infty"),
        (r"\infty", r"\frac{1}{0}"),
        (r"5\text{ km}", r"5\text{ m}"),
        (r"5\sqrt{2}\text{ km}", r"5\sqrt{2}\text{ m}"),
        ("100 dollars", "100 cents"),
        (r"15\text{ cm}^2", r"15\text{ cm}"),
        ("12_8", "12_3"),
        ("x = 5", "y = 5"),
        ("7", "7, 8"),
        ("7", r"7 \text{ or } 8"),
        ("7", "5,6,7"),
        ("1234", "(1,234)"),
        ("(1,234)", "1234"),
        ("(1,2)", "(2,1)"),
        ("(1,2)", "[1,2]"),
        (r"\sqrt{ab}", r"\sqrt{a}b"),
        ("even", "odd"),
        ("listen", "silent"),
        ("B", "C"),
        (r"\text{(A)}", r"\text{(B) } 5"),
        ("42", "__import__('os').getpid()"),
    ],
)
def test_wrong_answers_are_refused(gold: str, answer: str) -> None:
    assert _label(gold, answer) in ("wrong", "unreadable")


@pytest.mark.parametrize(
    ("gold", "answer", "method"),
    [
        ("18", "18", "text"),
        ("18", "$18.00", "exact"),
        ("9,999", "9999", "exact"),
        ("11111111100", r"11,\! 111,\! 111,\! 100", "exact"),
        ("1/2", r"\dfrac{1}{2}", "exact"),
        (r"2\frac{3}{4}", "2.75", "exact"),
        ("1024", "2^{10}", "exact"),
        ("5000000", "5 million", "exact"),
        ("28\\%", "28 percent", "exact"),
        ("45", r"45^{\circ}", "exact"),
        ("25", r"25\text{ square units}", "exact"),
        ("60 miles per hour", "60 mph", "exact"),
        ("12_8", "12_{8}", "exact"),
        ("k=1", "1", "exact"),
        (r"\pi", "3.14159265358979", "math-verify"),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", "math-verify"),
        ("x^2 - 1", "(x-1)(x+1)", "math-verify"),
        (r"\{1,2\}", "2, 1", "math-verify"),
        (r"\pm 2", "2,-2", "math-verify"),
        (r"\emptyset", r"\varnothing", "text"),
        (r"\infty", "inf", "text"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}", "math-verify"),
        (r"\text{odd}", "odd", "text"),
        ("yes", r"\text{Yes}", "text"),
        ("B", "(B) Paris", "text"),
        ("Paris", r"\text{Paris}.", "text"),
    ],
)
def test_right_answers_are_accepted(gold: str, answer: str, method: str) -> None:
    result = grade(read_gold(gold), answer, Policy())
    assert (result.label, result.method) == ("correct", method)


@pytest.mark.parametrize(
    ("gold", "answer", "either", "ratio"),
    [("50", "50\\%", "correct", "wrong"), ("0.5", "50\\%", "correct", "correct"), ("50\\%", "50", "correct", "wrong")],
)
def test_percent_policy(gold: str, answer: str, either: str, ratio: str) -> None:
    assert _label(gold, answer) == either
    assert _label(gold, answer, percent="ratio") == ratio


@pytest.mark.parametrize(("gold", "answer"), [("3", "2.98"), (r"\pi", "3.12"), ("-3", "-3.02")])
def test_tolerance_is_relative_and_bounded(gold: str, answer: str) -> None:
    assert _label(gold, answer, relative_tolerance=0.01) == "correct"
    assert _label(gold, answer, relative_tolerance=0.001) == "wrong"


@pytest.mark.parametrize("gold", ["a solution\n#### 18", r"so $x = \boxed{18}$.", "The answer is 18."])
def test_a_gold_solution_is_read_as_its_last_answer(gold: str) -> None:
    assert _label(gold, "18") == "correct"
    assert _label(gold, "19") == "wrong"


@pytest.mark.parametrize(
    "gold", ["", "  ", "$$", r"\text{}", r"\frac{1}{", "9^{9^{9^9}}", "1" * 5000, "?", r"\boxed{}"]
)
def test_a_gold_answer_that_cannot_be_read_is_an_error_without_its_text(gold: str) -> None:
    with pytest.raises(BadGoldError) as error:
        read_gold(gold)
    assert len(str(error.value)) < 80
