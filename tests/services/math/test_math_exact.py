"""Exact evaluation: right where it answers, silent where it cannot know, and never large."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.math.arithmetic import TooLargeError
from services.math.exact import evaluate
from services.math.notation import normalise


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("1,234,567", 1234567),
        ("-0.25", Fraction(-1, 4)),
        (".5", Fraction(1, 2)),
        ("1e-3", Fraction(1, 1000)),
        (r"6.02\times 10^{23}", 602 * 10**21),
        (r"\frac{63}{400}", Fraction(63, 400)),
        (r"\frac12", Fraction(1, 2)),
        (r"\frac3{72}", Fraction(1, 24)),
        (r"2\frac{3}{4}", Fraction(11, 4)),
        (r"-2\frac34", Fraction(-11, 4)),
        ("3 1/2", Fraction(7, 2)),
        ("2^10", 1024),
        ("2**10", 1024),
        ("-2^2", -4),
        ("2^{-3}", Fraction(1, 8)),
        ("2^3^2", 512),
        ("5!", 120),
        (r"\binom{10}{3}", 120),
        (r"\sqrt{\frac{16}{9}}", Fraction(4, 3)),
        ("(1 + 2) * 3 - 4 / 8", Fraction(17, 2)),
        ("(2)(3)", 6),
        ("10^{-9}", Fraction(1, 10**9)),
    ],
)
def test_numbers(text: str, value: Fraction | int) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2x",
        r"2\pi",
        r"\sqrt{2}",
        "2 3",
        "(1,234)",
        "1,2,3",
        "12,34",
        "[5]",
        "1/0",
        "0^0",
        "5!!",
        "(5",
        "5)",
        "⁴",
        "1<2",
    ],
)
def test_what_is_no_known_number(text: str) -> None:
    assert evaluate(text) is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^{9}}}",
        "9^9^9^9",
        "9**9**9**9",
        "99999999!",
        "((5!)!)!",
        "5!!!!!!",
        r"\Gamma(10^{9})",
        r"\binom{10^{9}}{5 \cdot 10^{8}}",
        r"\sum_{k=1}^{10^9} k",
        r"\prod_{k=1}^{10^9} k",
        "1e999999999",
        "7" * 100_000,
        "(" * 1000 + "1" + ")" * 1000,
        r"\frac{1}{" * 500 + "1" + "}" * 500,
        r"\sqrt{" * 300 + "2" + "}" * 300,
        "x^{1000000}",
        "9^{10^9 + x}",
        "9^{999*999*999*x}",
        "(x+y+z)^{500}",
        "((x+y+z)^{50})^{50}",
        "x + 2^{100000000}",
        r"\{1, 2^{100000000}\}",
        "e^{e^{e^{e^{10}}}}",
        "1," * 1900,
    ],
    ids=lambda text: text[:16],
)
def test_what_would_blow_up_is_refused(text: str) -> None:
    with pytest.raises(TooLargeError):
        evaluate(text)


@pytest.mark.parametrize("text", ["x^{2024}", "(1+x)^{100}", r"\sum_{k=1}^{100} k", "e^{x^2}", "(x+y+z)^{10}"])
def test_ordinary_formulas_are_not_refused(text: str) -> None:
    assert evaluate(text) is None


_numbers = st.fractions(min_value=-1000, max_value=1000, max_denominator=100)


def _written(value: Fraction) -> str:
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _combine(
    parts: tuple[tuple[str, Fraction | None], str, tuple[str, Fraction | None]],
) -> tuple[str, Fraction | None]:
    (left, a), sign, (right, b) = parts
    text = f"({left}) {sign} ({right})"
    if a is None or b is None or (sign == "/" and b == 0):
        return text, None
    return text, {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[sign]


_expressions = st.recursive(
    _numbers.map(lambda value: (_written(value), value)),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(_combine),
    max_leaves=12,
)


@given(_expressions)
def test_agrees_with_rational_arithmetic(expression: tuple[str, Fraction | None]) -> None:
    text, value = expression
    assert evaluate(text) == value


_PARTS = [*"0123456789.,+-*/^!_(){}[]|x \\", r"\frac", r"\sqrt", r"\binom"]


@given(st.lists(st.sampled_from(_PARTS), max_size=60).map("".join))
def test_any_text_is_a_number_or_unknown_or_refused(text: str) -> None:
    for one in (text, normalise(text)):
        try:
            value = evaluate(one)
        except TooLargeError:
            continue
        assert value is None or isinstance(value, Fraction)


@given(st.text(max_size=80))
@example("\\\r0")
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
