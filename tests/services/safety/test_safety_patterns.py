"""What is found by its form: personal data, secrets, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.pii import find_kinds
from services.safety.refusal import refuses


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to jane.doe+x@mail.example.org, please.", ["email"]),
        ("Call (555) 123-4567 today", ["phone"]),
        ("Call 555-123-4567.", ["phone"]),
        ("Ring +49 30 1234567 or +442071234567", ["phone"]),
        ("My card is 4111 1111 1111 1111.", ["card"]),
        ("amex 378282246310005", ["card"]),
        ("the key is AKIAIOSFODNN7EXAMPLE", ["key"]),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", ["key"]),
        ("api_key = 'f3Kd9s8a7LmQ2x'", ["key"]),
        ("token ghp_" + "a1B2" * 9, ["key"]),
        ("a@b.io and 4111-1111-1111-1111", ["email", "card"]),
        ("4111 1111 1111 1112 fails its check digit", []),
        ("1234567890123456 is a number", []),
        ("3 * 1234567 = 3703701, and 0.5551234567", []),
        ("x = 250,000-100,000-60,000", []),
        ("on 2024-01-15 at 10:30, pages 555-678", []),
        ("the user @name and a@b", []),
        ("password: hunter", []),
        ("def token(key): return key", []),
        ("", []),
    ],
)
def test_kinds_of_personal_data(text: str, kinds: list[str]) -> None:
    assert find_kinds(text) == kinds


@given(st.text(alphabet="0123456789", min_size=14, max_size=14), st.sampled_from(["", " ", "-"]))
def test_a_card_needs_its_one_right_check_digit(middle: str, separator: str) -> None:
    """Of ten last digits exactly one is right, whatever stands before."""
    found = []
    for last in "0123456789":
        digits = "4" + middle + last
        text = separator.join(digits[start : start + 4] for start in range(0, 16, 4))
        found.append("card" in find_kinds(f"pay with {text} now"))
    assert found.count(True) == 1


@pytest.mark.parametrize(
    "response",
    [
        "I'm sorry, but I can't help with that.",
        "I’m not able to help with that request.",
        "I cannot assist with this.",
        "Unfortunately, I won't be able to provide instructions.",
        "As an AI language model, I am unable to have opinions.",
        "I must respectfully decline.",
        "I'm not comfortable writing this.",
        "That goes against our content policy.",
        "I decline.",
    ],
)
def test_refusals(response: str) -> None:
    assert refuses(response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        "The answer is 18.",
        "I can help with that!",
        "I can't believe it worked, here is the code.",
        "I can't wait to share this with you.",
        "I'm sorry to hear that. Call a vet.",
        "You cannot divide by zero.",
        "I don't give a hoot.",
        "He said: I refuse.",
        "x = 1\n" * 200 + "I cannot help with that.",
    ],
)
def test_answers_are_no_refusals(response: str) -> None:
    assert not refuses(response)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "a" * 500_000,
        "a." * 250_000,
        "1" * 500_000,
        "1 " * 250_000,
        "a@" * 250_000,
        "(555) " * 90_000,
        "secret key:" * 50_000,
    ],
    ids=lambda text: text[:6],
)
def test_long_texts_take_linear_time(text: str) -> None:
    find_kinds(text)  # quadratic time would outlast the limit
    refuses(text)
