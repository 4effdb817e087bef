"""Answers in words and letters of choices: text against text, without case and without what quotes it."""

from __future__ import annotations

import re

_QUOTED = re.compile(r"\\text ?\{([^{}]*)\}")
_WORDS = re.compile(r"[^\W\d_]{4,}|[^\W\d_]{2,}(?:[ '-]+[^\W\d_]+)+")
_SHORT_WORDS = frozenset(
    re.findall(
        r"\S+",
        "yes no odd not all one two six ten dne red mon tue wed thu fri sat sun",
    )
)
_CHOICE_GOLD = re.compile(r"\(?[A-J]\)|[A-J]")
_CHOICE = re.compile(r"(?:(?:[Oo]ption|[Cc]hoice) )?\(?([A-Z])(?:[).:](?:.*)|)")
_WORD_WITHIN = re.compile(r"[^\W\d_]{3,}")
_COMMAND = re.compile(r"\\(?:begin|end) ?\{[^{}]*\}|\\[A-Za-z]+")
_BLANK = re.compile(r"(?<![0-9A-Za-z,]) +| +(?![0-9A-Za-z])")


_DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?([/-])\d\d?\1\d{4}")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def plain(text: str) -> str:
    """The normalised text in lower case, without what quotes and encloses it."""
    if "\\" in text:
        text = _QUOTED.sub(r" \1 ", text)
    text = " ".join(text.split()).strip("() .").lower()
    return _LEADING_ZEROS.sub("", text) if _DATE.fullmatch(text) else text


def words(text: str) -> str:
    """The plain text where it is words: quoted as text, four letters or more, or a choice's letter; else ''."""
    found = plain(text)
    quoted = text.startswith(r"\text") and _QUOTED.fullmatch(text) is not None and not any(map(str.isdigit, found))
    is_word = _DATE.fullmatch(found) or found in _SHORT_WORDS or _WORDS.fullmatch(found) or _CHOICE_GOLD.fullmatch(text)
    return found if quoted or is_word else ""


def has_words(text: str) -> bool:
    """Whether there are words in the text, and not commands of LaTeX only."""
    return _WORD_WITHIN.search(_COMMAND.sub(" ", text)) is not None


def choice(text: str) -> str:
    """The letter of an answer such as `(B) Paris`, `B. Paris` or `B`, in lower case."""
    found = _CHOICE.fullmatch(_QUOTED.sub(r"\1", text).strip())
    return found[1].lower() if found else ""


def same_text(one: str, other: str) -> bool:
    """Whether two normalised texts differ in blanks only, and not in such as keep numbers or words apart."""
    return one == other or _BLANK.sub("", one) == _BLANK.sub("", other)
