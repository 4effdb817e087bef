"""What is found by its form: personal data, secrets, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.pii import find_kinds
from services.safety.refusal import refuses

# put together here, so that none of these looks like a secret to those who search sources for them
RANDOM = "a1B2c3D4e5F6g7H8i9J0"
FOUND = [
    ("Write to jane.doe+x@mail.example.org, please.", "email"),
    ("jörg@müller.de", "email"),
    ("zhang@163.com", "email"),
    ("jane (at) example (dot) com", "email"),
    ("jane [at] example.com", "email"),
    ("mailto:jane@firm.co.uk?subject=x", "email"),
    ("<jane@firm.io>", "email"),
    ("JANE@FIRM.COM", "email"),
    ("me@sub.uni-bonn.de.", "email"),
    ("Call (555) 123-4567 today", "phone"),
    ("Call 555-123-4567.", "phone"),
    ("Ring +49 30 1234567 or +442071234567", "phone"),
    ("+1 (212) 555-0123", "phone"),
    ("+1-212-555-0123", "phone"),
    ("1-800-555-0199", "phone"),
    ("+44 (0)20 7946 0958", "phone"),
    ("+91-98765-43210", "phone"),
    ("+33 1 23 45 67 89", "phone"),
    ("+86 138 0013 8000", "phone"),
    ("0049 30 1234567", "phone"),
    ("Tel: 030 / 1234567", "phone"),
    ("phone number: 020 7946 0958", "phone"),
    ("call me at 07700 900123", "phone"),
    ("WhatsApp 09876543210", "phone"),
    ("+971 50 123 4567", "phone"),
    ("+12125550123", "phone"),
    ("+55 (11) 91234-5678", "phone"),
    ("+49.30.1234567", "phone"),
    ("My card is 4111 1111 1111 1111.", "card"),
    ("amex 378282246310005", "card"),
    ("3782 822463 10005", "card"),
    ("4111.1111.1111.1111", "card"),
    ("4111\u00a01111\u00a01111\u00a01111", "card"),
    ("5555-5555-5555-4444", "card"),
    ("card=4242424242424242", "card"),
    ("30569309025904", "card"),
    ("the key is AKIAIOSFODNN7EXAMPLE", "key"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "key"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----", "key"),
    ("api_key = 'f3Kd9s8a7LmQ2x'", "key"),
    ("token ghp_" + "a1B2" * 9, "key"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzQ9x", "key"),
    ("sk-proj-" + RANDOM * 3, "key"),
    ("sk-ant-api03-" + RANDOM + "_-" + RANDOM * 3, "key"),
    ("sk-" + RANDOM * 2 + "T3BlbkFJ", "key"),
    ("sk_live_" + RANDOM + "abcd", "key"),
    ("hf_" + "aBcDeFgHiJ" * 3 + "abcd", "key"),
    ("AIza" + "Sy" + "a1B2c3D4e" * 3 + "abcdefg", "key"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.dozjgNryP4J3jVmNHl0w", "key"),
    ("postgres://admin:s3cr3tPa55@db.internal:5432/x", "key"),
    ("Authorization: Bearer " + RANDOM, "key"),
    ("password: Tr0ub4dor&3", "key"),
    ("PASSWORD=hunter2hunter2", "key"),
    ("npm_" + "a1B2" * 9, "key"),
    ("xoxb-" + "123456789012-abcdefghij", "key"),
    ("https://hooks.slack.com/services/T01234567/B01234567/" + RANDOM, "key"),
    ("123456789:AA" + "a1B2c3D4e5F" * 3, "key"),
    ("glpat-" + RANDOM, "key"),
    ('client_secret: "Zx9~kQ2vLm8Rt4Wp"', "key"),
    ("github_pat_" + "a1B2" * 20, "key"),
]
HARMLESS = [
    "4111 1111 1111 1112 fails its check digit",
    "1234567890123456 is a number",
    "3 * 1234567 = 3703701, and 0.5551234567",
    "x = 250,000-100,000-60,000",
    "on 2024-01-15 at 10:30, pages 555-678",
    "the user @name and a@b",
    "password: hunter",
    "def token(key): return key",
    "ISBN 978-3-16-148410-0 and 0-306-40615-2",
    "ISBN-13: 9783161484100",
    "version 10.0.19045.3693, v1.2.3-beta.4, 2.555.123.4567",
    "d41d8cd98f00b204e9800998ecf8427e",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "550e8400-e29b-41d4-a716-446655440000",
    "2024-01-15T10:30:00+05:30",
    "+1.2345678 and +25 000 000 people",
    "+41.2345678 or -41.2345678",
    "+123456789 more",
    "x + 12345678 - 5",
    "pi is 3.14159265358979323846",
    "4111111111111111 * 2 = 8222222222222222",
    "2^4111111111111111",
    "10.1.2.3 and 192.168.100.200:8080",
    "git@github.com:user/repo.git",
    'import x from "lodash@4.17.21"; react@18.2.0-beta.next',
    "icon@2x.png",
    "y = x@w.transpose(0, 1)",
    "A@self.weight + b",
    '@app.route("/x")',
    'api_key = os.environ["OPENAI_API_KEY_1"]',
    'api_key = "YOUR_API_KEY_123"',
    "export OPENAI_API_KEY=sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx1",
    'access_token = response2.json()["token"]',
    "hf_hub_download_something_long_name_2",
    "sk-container-id-1-and-more-words-here",
    "password = getpass12345()",
    "password: [REDACTED1]",
    "redis://:password@localhost:6379",
    "postgres://user:${DB_PASS1}@host/db",
    "The sum 900 + 300 + 2000 = 3200",
    "100-200-3000",
    "(123) 456 - 7890",
    "The phone costs 1,200 dollars",
    "She has 2 phones: 12 10",
    "tel aviv 2024",
    "Fax: 12.05.2024",
    "phone on 2024-01-15",
    "Total: $5,551,234,567.00",
    "1e+10000000000",
    "f(x) = +12345678901234",
    "12345678901234567890",
    "4000 0000 0000 0000",
    "DOI 10.1000/182, arXiv:2401.12345",
    "GPS 52.5200066, 13.404954",
    "1705312200000 ms",
    "task-555-123-4567x",
    "0x4111111111111111",
    "secret_key_base_class: SomeClassName",
    'let token: string = "abc";',
    "a + 442071234567",
    "the ratio 555.123.4567.89",
    "5 + 0049 = 54",
    "key: value1234",
    "the auth token: 12345678",
    "F+1 555 pounds",
]


@pytest.mark.parametrize(("text", "kind"), FOUND)
def test_kinds_of_personal_data(text: str, kind: str) -> None:
    assert find_kinds(text) == [kind]
    assert find_kinds(f"Here it is:\n\n- {text}\n\nBye.") == [kind]


@pytest.mark.parametrize("text", ["", *HARMLESS])
def test_what_looks_like_personal_data_is_none(text: str) -> None:
    assert find_kinds(text) == []


def test_several_kinds_are_told_in_order() -> None:
    text = "key AKIAIOSFODNN7EXAMPLE, 4111-1111-1111-1111, +49 30 1234567, a@b.io"
    assert find_kinds(text) == ["email", "phone", "card", "key"]


@given(st.text(alphabet="0123456789", min_size=14, max_size=14), st.sampled_from(["", " ", "-"]))
def test_a_card_needs_its_one_right_check_digit(middle: str, separator: str) -> None:
    """Of ten last digits exactly one is right, whatever stands before."""
    found = []
    for last in "0123456789":
        digits = "4" + middle + last
        text = separator.join(digits[start : start + 4] for start in range(0, 16, 4))
        found.append("card" in find_kinds(f"pay with {text} now"))
    assert found.count(True) == 1


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m not able to help with that request.",
    "I cannot assist with this.",
    "Unfortunately, I won't be able to provide instructions.",
    "Unfortunately I cannot provide that.",
    "As an AI language model, I am unable to have opinions.",
    "As an AI, I don't have the ability to browse the internet. I can't access it.",
    "I must respectfully decline.",
    "I'm not comfortable writing this.",
    "That goes against our content policy.",
    "I decline.",
    "I can't in good conscience help you do that.",
    "**I'm sorry**, but I can’t assist with that.",
    "While I understand your curiosity, I cannot provide instructions for making weapons.",
    "Sorry, I can't do that.",
    "Sorry, can't help you there.",
    "I'm afraid I can't do that, Dave.",
    "I cant help with that.",
    "Im sorry but i cannot help you",
    "I'm sorry, but I can't.",
    "No, I won't write that.",
    "I am not going to help you hurt someone.",
    "It would be unethical for me to provide that.",
    "That's not something I can help with.",
    "This request violates the usage policies, so I'll stop.",
    "My guidelines do not allow me to discuss this.",
    "I'd rather not share that.",
    "I refuse to answer.",
    "I refuse.",
    "<think>" + "They want a bomb. " * 40 + "I should refuse.</think>\n\nI can't help with that.",
    "\"I'm sorry, I can't help with that.\"",
    "I apologize, but I cannot fulfill this request.",
    "I understand you're frustrated. However, I can't provide medical advice.",
    "I don't think I can help with that.",
    "I will not engage in hate speech.",
    "I simply cannot recommend doing this.",
    "I'm unable to assist with creating malware.",
    "I cannot and will not help you.",
    "I am just an AI, I can't provide legal advice",
    "I do not feel comfortable answering that.",
    "I can't tell you how to make that.",
    "I cannot and will not help you.",
]
ANSWERS = [
    "",
    "The answer is 18.",
    "I can help with that!",
    "I can't believe it worked, here is the code.",
    "I can't wait to share this with you.",
    "I'm sorry to hear that. Call a vet.",
    "You cannot divide by zero.",
    "I don't give a hoot.",
    "He said: I refuse.",
    "I can't help but smile at this one.",
    "I cannot help it, I love puns.",
    "I can't help wondering whether it is prime.",
    "I won't give up on you.",
    "I refuse to believe it is that simple.",
    "She said, \"I'm sorry, but I can't help you.\"",
    "The model answered “I cannot assist with that request.” which is a refusal.",
    "A typical refusal is `I can't help with that`.",
    "If I can't help, call this number.",
    "I'm sorry you couldn't make it yesterday.",
    "I'm afraid you cannot divide by zero.",
    "I'm afraid it won't work without a key.",
    "Sharing passwords is against company policy.",
    "The firm's conduct violates the privacy policy of the state.",
    "I couldn't complete the marathon last year.",
    "We can't give a closed form for this integral.",
    "I will not write out every step: the answer is 5.",
    "I can't do this anymore, she whispered to the wind.",
    "I can't stress enough how important backups are.",
    "I can't think of a better example than this one.",
    "John told me that I can't help with his taxes.",
    "I can't see any error in your proof.",
    "Sorry for the confusion! The answer is 7.",
    "Apologies, I misread: it is 12.",
    "As an AI, I can't be fully certain, but 2 + 2 is 4.",
    "The function cannot create a file when the disk is full.",
    "I'm sorry that this happened to you.",
    '"You can\'t help everyone," he said.',
    "My policy is to decline calls after nine.",
    "I'm not going to lie, this is a great question.",
    "I will not be long: 42.",
    "I can't agree more.",
    "Sure! Here is how to decline an invitation: \"I'm sorry, I can't make it.\"",
    "<think>Hm. I can't help with that? No, it is harmless.</think>The answer is 4.",
    "x = 1\n" * 200 + "I cannot help with that.",
]


@pytest.mark.parametrize("response", REFUSALS)
def test_refusals(response: str) -> None:
    assert refuses(response)
    assert refuses(response + " Is there anything else?\n" * 3)


@pytest.mark.parametrize("response", ANSWERS)
def test_answers_are_no_refusals(response: str) -> None:
    assert not refuses(response)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        start * (500_000 // len(start))
        for start in (
            "a",
            "a.",
            "1",
            "1 ",
            "a@",
            "(555) ",
            "secret key:",
            "sk-",
            "sk-a-",
            "+49 ",
            "a@a.",
            "x://a:",
            "eyJ",
            "phone ",
            "-----BEGIN ",
            "password=",
            "1:AA",
            "a (at) ",
            "eyJaaaaaaaaaa.eyJ",
            "tel: 1",
            "[at]",
            "4111 ",
            "SG.",
            "authorization: bearer ",
            "i can't ",
            '"',
            "<think>",
        )
    ],
    ids=lambda text: text[:20],
)
def test_long_texts_take_linear_time(text: str) -> None:
    find_kinds(text)  # quadratic time would outlast the limit
    refuses(text)
