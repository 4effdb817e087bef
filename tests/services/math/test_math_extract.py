"""Where a final answer is looked for, and what wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.math.extract import extract_answer


@pytest.mark.parametrize(
    ("response", "text", "marker"),
    [
        (r"Thus $x = \boxed{18}$.", "18", "boxed"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", "boxed"),
        (r"\boxed{\{1, \sqrt{2}\}}", r"\{1, \sqrt{2}\}", "boxed"),
        (r"answer: \fbox{7}", "7", "boxed"),
        (r"first \boxed{5}, no: \boxed{6}", "6", "boxed"),
        (r"\boxed{5} or \boxed{6} or \boxed{7}", "5, 6, 7", "boxed"),
        (r"$\boxed{(98, 2)} \quad \text{and} \quad \boxed{(99, 503)}$", "(98, 2), (99, 503)", "boxed"),
        (r"I think \boxed{5}. Wait, \boxed{6}? No: \boxed{7}", "7", "boxed"),
        ("3 * 6 = 18\n#### 18", "18", "hashes"),
        ("#### 17\nno\n#### 18", "18", "hashes"),
        ("so 3 * 6 = <<3*6=18>>18\nA: 18", "18", "phrase"),
        ("So the answer is 18.", "18", "phrase"),
        ("The answer is 3.5 hours. She rests.", "3.5 hours", "phrase"),
        ("**Final Answer:** 18", "18", "phrase"),
        ("Answer: 41 was a wrong guess.\nAnswer: 42", "42", "phrase"),
        ("The answer is:\n\\[ \\frac{1}{2} \\]", r"\frac{1}{2}", "phrase"),
        ("The answer is Paris.", "Paris", "phrase"),
        ("Final Answer: The volume of $ABC$ is 120. I hope it is correct.", "120", "phrase"),
        (r"\boxed{18}. I am sure the answer is right", "18", "boxed"),
        (r"\boxed{17}. Hm, so the answer is 18.", "18", "phrase"),
        (r"-\frac{10}{9}", r"-\frac{10}{9}", "whole"),
        ("1 2 3 4 5 6 7", "1 2 3 4 5 6 7", "whole"),
        ("2,74", "2.74", "whole"),
        ("Therefore $x \\geq 5$ is the solution.", r"x \geq 5", "span"),
        ("We get $x = 3$, which makes 12 in all.", "12", "number"),
        ("She earns $5 a day and $7 at night, so $84 a week", "$84", "number"),
        ("it rises by 100%.", "100%", "number"),
        ("that is 1,000.99m² of land", "1,000.99", "number"),
        (r"<think>\boxed{5}</think> It is \boxed{6}", "6", "boxed"),
        (r"\boxed{42}<|im_end|>", "42", "boxed"),
        # a number in the prose that is a part of something
        ("It is 10^6", "10^6", "number"),
        ("total 5×10^3", "5×10^3", "number"),
        ("It is sqrt(5).", "sqrt(5)", "number"),
        ("It is 5√2", "5√2", "number"),
        ("It is 3+5i.", "3+5i", "number"),
        ("the area is 3π.", "3π", "number"),
        ("the value is 5π/6", "5π/6", "number"),
        ("It is 3pi", "3pi", "number"),
        ("It is x-5", "x-5", "number"),
        ("from 3 - 5", "3 - 5", "number"),
        ("the sum is 2+3=5 apples", "5", "number"),
        ("in the range 3-5", "3-5", "number"),
        ("on 2024-05-06", "2024-05-06", "number"),
        ("we meet at 5:30", "5:30", "number"),
        ("It is 5 million.", "5 million", "number"),
        ("it is minus 5.", "-5", "number"),
        ("The answer is negative 5", "-5", "phrase"),
        ("It is 2 1/2 cups", "2 1/2", "number"),
        ("he is 5 feet 6 inches tall", "he is 5 feet 6", "number"),
        ("It is more than 5", "more than 5", "number"),
        ("It is certainly never 5", "It is certainly never 5", "number"),
        ("so **5** is it", "5", "number"),
        ("a 5-year-old", "5", "number"),
        ("that is $5/day", "$5", "number"),
        ("5kg of salt", "5", "number"),
        ("it is (5)", "5", "number"),
        ("she needs 5 dozen eggs", "5", "number"),
        ("it is 1,234,56", "1,234,56", "number"),
        ("\u200e\\boxed{5\u200b}", "5", "boxed"),
    ],
)
def test_what_is_found(response: str, text: str, marker: str) -> None:
    answer = extract_answer(response)
    assert answer is not None
    assert (answer.text, answer.marker) == (text, marker)
    assert answer.explicit == (marker in ("boxed", "hashes", "phrase"))


@pytest.mark.parametrize(
    "response",
    [
        "",
        "   ",
        "I cannot say",
        r"\boxed{}",
        r"<think>\boxed{42}</think> Some other text.",
        "\\boxed{unclosed",
        "value x2 of m3 rows",
    ],
)
def test_no_answer(response: str) -> None:
    assert extract_answer(response) is None


@pytest.mark.parametrize("statement", ["not 5", "either 7 or 8", "that it isn't 5"])
def test_a_hedge_in_words_is_not_cut_down_to_its_last_number(statement: str) -> None:
    answer = extract_answer(f"The answer is {statement}.")
    assert answer is not None
    assert answer.text == statement


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 50_000,
        "{" * 300_000,
        "\\boxed{1} " * 30_000,
        "answer: " * 40_000,
        "answer:" + " " * 300_000,
        "####" + " " * 300_000,
        "$" * 300_000,
        "\\[" * 150_000,
        "1,1" * 100_000,
        "x " * 150_000,
    ],
    ids=lambda text: text[:10],
)
def test_long_texts_take_linear_time(text: str) -> None:
    extract_answer(text)  # quadratic time would outlast the limit


@given(st.text(alphabet=st.sampled_from("\\boxed{}$#123 ,.:()[]answeri\n"), max_size=200))
def test_any_text_is_taken(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or answer.text.strip() == answer.text != ""
