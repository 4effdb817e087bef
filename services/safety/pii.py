"""Finds personal data and secrets by their form: e-mail addresses, phone numbers, payment cards, keys.

Forms only: a name, a street or a birthday is not found, and an invented address of the right form is. Patterns run in
time linear in the text.
"""

from __future__ import annotations

import re

_EMAIL = re.compile(r"(?<![\w.+-])[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,11}"  # +49 30 1234567
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4})(?![\w-]|\.\d)"  # (555) 123-4567
)
_CARD = re.compile(
    r"(?<![\w.,-])(?:"
    r"(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|64[4-9]\d|65\d\d|62\d\d|35\d\d)([ -]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d\d([ -]?)\d{6}\2\d{5}"
    r"|3(?:0[0-5]|[68]\d)\d([ -]?)\d{6}\3\d{4}"
    r")(?![\w-]|[.,]\d)"
)
"""Visa, Mastercard, Discover, UnionPay, JCB; American Express; Diners Club: plain or in their printed groups."""
_KEYS = (
    re.compile(r"-----BEGIN (?:[A-Z]{2,12} ){0,3}PRIVATE KEY-----"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abprs]-)[A-Za-z0-9_-]{20,}"),
    re.compile(r"\b(?:sk|pk|rk)[-_](?:[a-z]{2,8}[-_])?[A-Za-z0-9_-]{20,}"),
    re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    re.compile(
        r"(?i:\b(?:api|access|secret|auth)[ _-]?(?:key|token)|\bpassword|\bpasswd)[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
        r"(?=[A-Za-z0-9_/+.-]{0,40}\d)(?=[A-Za-z0-9_/+.-]{0,40}[A-Za-z])[A-Za-z0-9_/+.-]{12,}"
    ),
)


def find_kinds(text: str) -> list[str]:
    """Which of email, phone, card, key a text holds, in this order. Never what it holds."""
    kinds = []
    if _EMAIL.search(text):
        kinds.append("email")
    if _PHONE.search(text):
        kinds.append("phone")
    if any(_is_card(match[0]) for match in _CARD.finditer(text)):
        kinds.append("card")
    if any(pattern.search(text) for pattern in _KEYS):
        kinds.append("key")
    return kinds


def _is_card(written: str) -> bool:
    """Whether the last digit is the check digit of those before (Luhn; ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in written if digit.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
