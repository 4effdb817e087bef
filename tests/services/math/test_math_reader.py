"""Reading: right where it answers, silent where it cannot know, and never large."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.math import proof
from services.math.errors import ForeignError, UnreadableError
from services.math.expression import UndefinedError
from services.math.notation import normalise
from services.math.polynomial import TooLargeError
from services.math.reader import read
from services.math.values import Quantity, Sequence

NOT_READ = (UnreadableError, ForeignError, UndefinedError, TooLargeError)


def number(text: str) -> Fraction | int | None:
    value = read(text)
    assert isinstance(value, Quantity)
    return value.value.rational


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
        (r"\sum_{i=1}^{3}\sum_{j=1}^{i} j", 10),
        (r"\sum_{k=5}^{4} k", 0),
        (r"\lfloor -2.5 \rfloor", -3),
        ("||-3| - 5|", 2),
        (r"\sin 30^\circ", Fraction(1, 2)),
        (r"\sin^2 x + \cos^2 x", 1),
        (r"(\sqrt{2})^2", 2),
        ("i^2", -1),
        (r"\log_2 8", 3),
    ],
)
def test_numbers(text: str, value: Fraction | int) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    "text", ["x", "2x", r"2\pi", r"\sqrt{2}", "x^{2024}", "(1+x)^{100}", "e^{x^2}", "(x+y+z)^{10}"]
)
def test_formulas_are_no_numbers_and_not_refused(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "brackets", "count"),
    [("1,2,3", "", 3), ("(1,234)", "()", 2), (r"\{1,234\}", "{}", 2), ("[0,1)", "[)", 2), (r"1 \pm 2", "", 2)],
)
def test_sequences(text: str, brackets: str, count: int) -> None:
    value = read(text)
    assert isinstance(value, Sequence)
    assert (value.opening + value.closing, len(value.items)) == (brackets, count)


@pytest.mark.parametrize(
    "text",
    ["", "2 3", "1/0", "0^0", "(5", "5)", "{5", "⁴", "5 not", "1 2 3", "+", "5 +", r"\frac{1}", "5 because of 3", ",5"],
)
def test_what_means_nothing(text: str) -> None:
    with pytest.raises((UnreadableError, UndefinedError)):
        read(text)


@pytest.mark.parametrize(
    "text", [r"\int_0^1 x dx", "x!!", r"\lim_{x \to 0} x", r"(x+1)^T", r"\begin{vmatrix}1\end{vmatrix}"]
)
def test_what_others_may_read(text: str) -> None:
    with pytest.raises(ForeignError):
        read(text)


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
        r"\binom{10^{9}}{5 \cdot 10^{8}}",
        r"\sum_{k=1}^{10^9} k",
        r"\prod_{k=1}^{10^9} k",
        r"\sum_{i=1}^{99}\sum_{j=1}^{99}\sum_{k=1}^{99} 1",
        "1e999999999",
        "7" * 100_000,
        "(" * 1000 + "1" + ")" * 1000,
        r"\frac{1}{" * 500 + "1" + "}" * 500,
        r"\sqrt{" * 300 + "2" + "}" * 300,
        "x^{10000000}",
        "9^{10^9}",
        "9^{999*999*999*x^0}",
        "2^{100000000} + x",
        r"\{1, 2^{100000000}\}",
        "e^{e^{e^{e^{10}}}}",
        "1," * 1900,
        r"\sqrt[2000]{2}",
        r"\sqrt{" + "7" * 3000 + "}",
    ],
    ids=lambda text: text[:16],
)
def test_what_would_blow_up_is_refused(text: str) -> None:
    with pytest.raises(TooLargeError):
        read(text)


_numbers = st.fractions(min_value=-1000, max_value=1000, max_denominator=100)
Written = tuple[str, Fraction | None]


def _combine(parts: tuple[Written, str, Written]) -> Written:
    (left, a), sign, (right, b) = parts
    text = f"({left}) {sign} ({right})"
    if a is None or b is None or (sign == "/" and b == 0):
        return text, None
    return text, {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[sign]


_expressions = st.recursive(
    _numbers.map(lambda value: (rf"\frac{{{value.numerator}}}{{{value.denominator}}}", value)),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(_combine),
    max_leaves=12,
)


@given(_expressions)
def test_agrees_with_rational_arithmetic(expression: Written) -> None:
    text, value = expression
    if value is None:
        with pytest.raises(UndefinedError):
            read(text)
    else:
        assert number(text) == value


_atoms = st.sampled_from(
    ["x", "y", r"\sqrt{2}", r"\sqrt{3}", r"\pi", "e", "i", "2", "3", r"\sqrt{1+\sqrt{2}}", r"\sin x"]
)
_formulas = st.recursive(
    _atoms,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda p: f"({p[0]}{p[1]}{p[2]})"),
    max_leaves=6,
)


def _value(text: str) -> Quantity:
    value = read(text)
    assert isinstance(value, Quantity)
    return value


@given(_formulas, _formulas, _formulas)
def test_laws_of_rings_are_proven(a: str, b: str, c: str) -> None:
    for left, right in (
        (f"({a})*(({b})+({c}))", f"({a})*({c})+({b})*({a})"),
        (f"(({a})+({b}))^2", f"({a})^2+2*({a})*({b})+({b})^2"),
        (f"({a})-(({b})-({c}))", f"({c})+({a})-({b})"),
    ):
        assert proof.equal(_value(left).value, _value(right).value) is True


@given(_formulas, st.integers(1, 9), st.integers(1, 40))
def test_what_differs_by_a_little_is_never_equal(formula: str, digit: int, zeros: int) -> None:
    other = _value(f"{formula} + {digit}*10^{{-{zeros}}}").value
    assert proof.equal(_value(formula).value, other) is False


_PARTS = [
    *"0123456789.,+-*/^!_(){}[]|x \\%:=<",
    r"\frac",
    r"\sqrt",
    r"\binom",
    r"\pm",
    r"\cup",
    r"\text{a}",
    r"\begin",
    r"\sin",
]


@given(st.lists(st.sampled_from(_PARTS), max_size=60).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    for one in (text, normalise(text)):
        try:
            read(one)
        except NOT_READ:
            continue


@given(st.text(max_size=80))
@example("\\\r0")
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
