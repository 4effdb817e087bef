"""Finds personal data and secrets by their form: e-mail addresses, phone numbers, payment cards, keys.

Forms only: a name, a street or a birthday is not found, and an invented address of the right form is. Where a form is also
that of something harmless (a version, an ISBN, a signed number, a matrix product) it counts as harmless. Patterns run in time
linear in the text.
"""

from __future__ import annotations

import re

from services.safety.keys import holds_key

_DOMAINS = (
    r"(?:[A-Za-z]{2}|com|org|net|edu|gov|mil|int|info|biz|name|mobi|app|dev|xyz|online|site|shop|store|tech|cloud|email|live"
    r"|life|world|today|agency|digital|group|team|work|works|company|solutions|services|systems|software|network|studio"
    r"|design|media|news|blog|social|space|website|host|global|international|academy|school|university|health|care|clinic"
    r"|law|legal|finance|bank|money|capital|club|family|house|london|berlin|paris|nyc|asia|africa|museum|travel|eco|page"
    r"|zone|link|click|pro|tel|one|top|icu|vip|test|example|invalid|localhost)"
)
"""Top-level domains: those of countries, by their length, and the general ones that mail comes from, and the reserved ones."""
_EMAIL = re.compile(
    r"(?<![\w.%+-])(?!git@)[\w%+-][\w.%+-]{0,63}@(?!\d+x?\.(?!(?:com|net|cn)\b))"
    rf"(?:[^\W_](?:[^\W_]|-){{0,62}}\.){{1,6}}{_DOMAINS}(?![\w(@-]|\.\w)",
    re.IGNORECASE,
)
_SPELT_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w.%+-]{1,64} ?[\[({] ?at ?[\])}] ?[\w-]{1,63}(?: ?(?:\.|[\[({] ?(?:dot|\.) ?[\])}]) ?[A-Za-z]{2,24}){1,3}",
    re.IGNORECASE,
)
"""jane (at) mail (dot) org."""
_COUNTRIES = (
    r"(?:1|7|2(?:0|7|[1-689]\d)|3(?:[0-469]|[578]\d)|4(?:[013-9]|2\d)|5(?:[1-8]|[09]\d)|6(?:[0-6]|[7-9]\d)|8(?:[1246]|[058]\d)"
    r"|9(?:[0-58]|[679]\d))"
)
"""Calling codes as they are given out (ITU-T E.164)."""
_INTERNATIONAL = re.compile(
    rf"(?<![\w.,+*/=^-])(?:\+|00[ -]?(?=[1-9])){_COUNTRIES}[ .-]?(?:\(\d{{1,4}}\)[ .-]?)?\d(?:[ ./-]?\d){{5,11}}(?![\w-]|[.,]\d|\s?[=*^])"
)
_AMERICAN = re.compile(
    r"(?<![\w.+*/=^-])(?<!\d,)(?:\+?1[ .-])?(?:\([2-9]\d{2}\)[ .-]?|[2-9]\d{2}[.-])\d{3}[.-]\d{4}(?![\w-]|[.,]\d|\s?[=*^])"
)
_NAMED = re.compile(
    r"(?<![a-z])(?:tel(?:ephone|\.)?|phone|mobile|whatsapp|fax|call (?:me|us|him|her|them)|text (?:me|us)|reach (?:me|us|him|her))"
    r"(?: (?:number|no\.?|at|on|under|is)){0,2}\s?[:.]?\s{0,2}(\(?\d[\d ()./-]{5,18}\d)(?![\w,]|\.\d|\s?[=*^])",
    re.IGNORECASE,
)
_CARD = re.compile(
    r"(?<![\w.,+*/^-])(?:"
    r"(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|64[4-9]\d|65\d\d|62\d\d|35\d\d)([ .\u00a0-]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d\d([ .\u00a0-]?)\d{6}\2\d{5}"
    r"|3(?:0[0-5]|[68]\d)\d([ .\u00a0-]?)\d{6}\3\d{4}"
    r")(?![\w-]|[.,]\d|\s?[*^])"
)
"""Visa, Mastercard, Discover, UnionPay, JCB; American Express; Diners Club: plain or in their printed groups."""


def find_kinds(text: str) -> list[str]:
    """Which of email, phone, card, key a text holds, in this order. Never what it holds."""
    found = {
        "email": _holds_email(text),
        "phone": _holds_phone(text),
        "card": _holds_card(text),
        "key": holds_key(text),
    }
    return [kind for kind, there in found.items() if there]


def _holds_email(text: str) -> bool:
    return any(not _in_address(text, match.start()) for match in _EMAIL.finditer(text)) or bool(
        _SPELT_EMAIL.search(text)
    )


def _in_address(text: str, start: int) -> bool:
    """Whether what begins here is the password and host of scheme://user:password@host, which is no mail address."""
    before = text[max(0, start - 96) : start].rsplit(None, 1)
    return bool(before) and "://" in before[-1] and not text[start - 1].isspace()


def _holds_phone(text: str) -> bool:
    return (
        any(_is_international(match[0]) for match in _INTERNATIONAL.finditer(text))
        or bool(_AMERICAN.search(text))
        or any(7 <= len(_digits(match[1])) <= 15 and _is_no_date(match[1]) for match in _NAMED.finditer(text))
    )


def _is_international(written: str) -> bool:
    """Whether it is no signed number: +1.2345678, +25 000 000, or +1 without the ten digits that go with it."""
    digits = _digits(written)
    if written.startswith("+1") and len(digits) != 11:
        return False
    if written.count(".") == 1 and written.replace("+", "").replace(".", "").isdecimal():
        return False
    return len(digits) >= 8 and not digits.endswith("000000")


def _is_no_date(written: str) -> bool:
    return not re.fullmatch(r"(?:\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4})(?: \d{1,2})?", written)


def _holds_card(text: str) -> bool:
    return any(_is_card(match[0]) for match in _CARD.finditer(text))


def _is_card(written: str) -> bool:
    """Whether the last digit is the check digit of those before (Luhn; ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in _digits(written)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _digits(written: str) -> str:
    return "".join(character for character in written if character.isdecimal())
