r"""Cuts a normalised answer into tokens, in one pass.

A token is a pair of its kind and its text: `number`, `text` (what stands in `\text{}`), `command`, `word` (two letters or
more), `letter`, `sign` (anything else) and `end`. Blanks are dropped; a token behind one has its kind in capitals
(`WORD`), since "5 km" is a measure and "5km" may be. Commas group thousands outside brackets only: `(1,234)` is a pair.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from services.math.polynomial import TooLargeError

MAX_CHARACTERS = 4000
MAX_TOKENS = 2000

_TOKEN = re.compile(
    r"(?P<blank>\s*)(?:"
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?: \d{3})+(?![\d.,/])|\d+)(?:\.\d+)?"
    r"(?:[eE][+-]?\d+(?![\d.]))?|\.\d+(?:[eE][+-]?\d+(?![\d.]))?)"
    r"|\\text ?\{(?P<text>[^{}]*)\}"
    r"|(?P<command>\\[A-Za-z]+|\\.)"
    r"|(?P<word>[A-Za-z]{2,})"
    r"|(?P<letter>[^\W\d_])"
    r"|(?P<sign>\*\*|<=|>=|!=|==|->|\S))",
    re.DOTALL,
)
_OPENING, _CLOSING = ("(", "[", r"\{", r"\langle"), (")", "]", r"\}", r"\rangle")
_SEPARATOR = re.compile("[, ]")
_ZERO_FIRST = re.compile(r"[, ]0\d")
"""No number in a list begins so: `(1,002)` is one number in brackets."""


class Token(NamedTuple):
    kind: str
    text: str
    apart: bool
    """Whether a blank stands before it."""


END = Token("end", "", True)


def tokenise(text: str) -> list[Token]:
    """At most MAX_TOKENS tokens and an `end`. Raises TooLargeError."""
    if len(text) > MAX_CHARACTERS:
        raise TooLargeError
    tokens: list[Token] = []
    brackets = position = 0
    while match := _TOKEN.match(text, position):
        kind = match.lastgroup or ""
        symbol, position = match[kind], match.end()
        if kind == "number" and brackets and ("," in symbol or " " in symbol) and not _ZERO_FIRST.search(symbol):
            symbol = _SEPARATOR.split(symbol)[0]
            position = match.start("number") + len(symbol)
        elif symbol in _OPENING:
            brackets += 1
        elif symbol in _CLOSING and brackets:
            brackets -= 1
        tokens.append(Token(kind, symbol, bool(match["blank"])))
        if len(tokens) > MAX_TOKENS:
            raise TooLargeError
    tokens.append(END)
    return tokens
