"""Cuts text into sentences, by punctuation, line breaks and the words that sentences start with, within bounds."""

from __future__ import annotations

import re

MAX_CHARACTERS = 20_000
MAX_SENTENCES = 64
_CALCULATION = re.compile(r"<<[^<>\n]{0,200}>>")
"""A calculator's note, as in `3 * 4 = <<3*4=12>>12`: it says again what stands beside it."""
_ANSWER = re.compile(r"((?:^|\s)(?:A|Answer|####):? ?\$?-?\d[\d.,]*%?)\s+(?=\S)", re.MULTILINE)
"""`A: 12` before more text: after a shuffle the answer may stand in the middle of a line."""
_STARTS = """
    After Afterwards Also Although And As Because Before But Each Every Finally First For From He Hence Her His
    However If In It Its Let Meanwhile Next Now On Once Our Since She So That The Their Then There Therefore These
    They This Those Thus To We When While With You Your
"""
_NO_TITLE = "".join(rf"(?<!\b{title}\.)" for title in ("Mr", "Mrs", "Ms", "Dr", "St", "vs", "e.g", "i.e", "etc"))
_BREAK = re.compile(
    rf"(?<=[.!?]){_NO_TITLE}\s+"
    r"|(?<=[.!?][\"'”’)])\s+"
    r"|(?<=[。！？])"
    r"|\n+"
    rf"|(?<=[a-z0-9)%$])[ \t]+(?=(?:{'|'.join(_STARTS.split())})\s)"
    r"|(?<=\S)[ \t]+(?=(?:A|Answer): )"
)
_LETTER_OR_DIGIT = re.compile(r"\w")


def sentences(text: str) -> list[str]:
    """The first 64 sentences of the first 20,000 characters; parts without a letter or digit are left out.

    A sentence ends at `.`, `!`, `?` before a space, at a line break, and where a word that sentences start with stands
    with a capital after a small letter or a digit: texts whose lines lost their breaks fall into the same sentences,
    mostly. Calculators' notes (`<<3*4=12>>`) are left out.
    """
    text = _ANSWER.sub(r"\1\n", _CALCULATION.sub("", text[:MAX_CHARACTERS]))
    parts = (part.strip() for part in _BREAK.split(text))
    return [part for part in parts if _LETTER_OR_DIGIT.search(part)][:MAX_SENTENCES]
