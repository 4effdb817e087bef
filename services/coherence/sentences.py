"""Cuts text into sentences, by punctuation and line breaks, within bounds."""

from __future__ import annotations

import re

MAX_CHARACTERS = 20_000
MAX_SENTENCES = 64
_BREAK = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_LETTER_OR_DIGIT = re.compile(r"\w")


def sentences(text: str) -> list[str]:
    """The first 64 sentences of the first 20,000 characters; parts without a letter or digit are left out.

    An abbreviation with a full stop ends a sentence too early, which the measures of this package can bear.
    """
    parts = (part.strip() for part in _BREAK.split(text[:MAX_CHARACTERS]))
    return [part for part in parts if _LETTER_OR_DIGIT.search(part)][:MAX_SENTENCES]
