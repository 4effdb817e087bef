"""Finds the final answer in a response: what a reader would take as the author's last word.

Everything up to the last `</think>` is thought, not answer. In the rest the last explicit marker decides:

- `boxed`: `\\boxed{}` or `\\fbox{}`, braces nested. Boxes with nothing between them but commas, "and", "or" are one
  answer, the list of them; so an author who boxes three candidates has not answered with the third.
- `hashes`: a line `#### 18`.
- `phrase`: "answer is 18", "answer: 18", a line `A: 18`, up to the end of the sentence.

Where there is none, in this order:

- `phrase` again, where words follow it: what the sentence ends with ("Answer: the volume is 120"), or the words.
- `whole`: a short response that is nothing but mathematics.
- `span`: the last `$...$`, `\\(...\\)` or `\\[...\\]`, and `number`: the last number in the prose, in the final 4,000
  characters; of these two the one that ends later. In prose `2,74` has a decimal comma; elsewhere it is a list.

All patterns run in time linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Marker = Literal["boxed", "hashes", "phrase", "whole", "span", "number"]

_CONTROL_TOKEN = re.compile(r"<\|[A-Za-z_]{1,40}\|>")
_BRACE = re.compile(r"\\+(?:boxed|fbox)[ \t]*\{|\\.|[{}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s,;$&]|\\q?quad|\\[()\[\]]|\\text\{\s*(?:and|or)\s*\}|and\b|or\b)*(?:[A-Za-z](?:_\{?\w\}?)?\s?=\s?)?"
)
_MATHEMATICAL = r"(?=[*_`\s]{0,9}(?:[-+−±$€£¥(\[{|\\.\d]|[A-Za-z] ?(?:[=<>^*/+]|[. \t]{0,3}$)))"
_HASHES = re.compile(rf"^[ \t]{{0,9}}####{_MATHEMATICAL}(.*)$", re.MULTILINE)
_PHRASE = re.compile(
    rf"(?i:\banswer)[*_ \t]{{0,4}}(?:is\b|:|=)[*_ \t]{{0,4}}:?|^[ \t]{{0,9}}\*{{0,2}}A:{_MATHEMATICAL}", re.MULTILINE
)
_STARTS_AS_MATHEMATICS = re.compile(_MATHEMATICAL, re.MULTILINE)
_DISPLAY = re.compile(r"\s*(?:\$\$(.+?)\$\$|\\\[(.+?)\\\])", re.DOTALL)
_SENTENCE = re.compile(r"\s*((?:[^\n.]|\.(?!\s|$))*)")
_SPAN = re.compile(r"\$\$([^$]+)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|\$([^$\n]+)\$", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.,])[-−]?[$€£¥]?(?:\d[\d,]*\d|\d)?(?:\.\d+)?(?:\s?(?:\\?%|percent\b))?")
_DECIMAL_COMMA = re.compile(r"([^,]*\d),(\d\d?|\d{4,})(?![\d,])")
_NO_STATEMENT = re.compile(r"\b(?:not|either|or)\b|n't\b")
_COMMAND = re.compile(r"\\(?:text|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}|(?<!\S)[^\W\d_]{2}(?=\s)")
_WHOLE_CHARACTERS, _PROSE_CHARACTERS = 300, 4000


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer as it was written, and what announced it."""

    text: str
    marker: Marker

    @property
    def explicit(self) -> bool:
        """Whether the author said that this is the answer."""
        return self.marker in ("boxed", "hashes", "phrase")


def extract_answer(response: str) -> Answer | None:
    """The final answer of a response, or None where there is none; an empty box is none."""
    text = _CONTROL_TOKEN.sub("\n", response.rpartition("</think>")[2]).strip()
    answer = last_marked(text) or _stated_in_words(text) or _unmarked(text)
    return answer if answer and answer.text else None


def last_marked(text: str) -> Answer | None:
    """The answer at the last explicit marker that mathematics, or an empty box, follows."""
    found: list[tuple[int, Answer]] = []
    if boxes := _outermost_boxes(text):
        found.append((boxes[-1][0], Answer(_join_boxes(text, boxes), "boxed")))
    if hashes := list(_HASHES.finditer(text)):
        found.append((hashes[-1].start(), Answer(hashes[-1][1].strip(), "hashes")))
    if phrases := [match for match in _PHRASE.finditer(text) if _STARTS_AS_MATHEMATICS.match(text, match.end())]:
        found.append((phrases[-1].start(), Answer(_sentence(text, phrases[-1].end()), "phrase")))
    return max(found, key=lambda one: one[0])[1] if found else None


def _join_boxes(text: str, boxes: list[tuple[int, int]]) -> str:
    """Content of the last box, after that of the boxes that lead up to it as a list; commas between them."""
    first = len(boxes) - 1
    while first and _BETWEEN_BOXES.fullmatch(text, boxes[first - 1][1], boxes[first][0]):
        first -= 1
    return ", ".join(text[text.index("{", start) + 1 : end - 1].strip() for start, end in boxes[first:])


def _outermost_boxes(text: str) -> list[tuple[int, int]]:
    """Start and end of each closed box that is in no other closed box, in one pass over the text."""
    closed: list[tuple[int, int]] = []
    open_braces: list[int | None] = []  # where the box starts; None for a plain brace
    for token in _BRACE.finditer(text):
        if token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None:
                while closed and closed[-1][0] > start:
                    closed.pop()
                closed.append((start, token.end()))
        elif token[0].endswith("{") and len(token[0]) > 2:
            open_braces.append(token.start())
    return closed


def _sentence(text: str, start: int) -> str:
    """The formula on display or else the rest of the sentence from `start` on."""
    found = _DISPLAY.match(text, start) or _SENTENCE.match(text, start)
    return (found[found.lastindex or 0] if found else "").strip(" \t\n*_`")


def _stated_in_words(text: str) -> Answer | None:
    phrases = list(_PHRASE.finditer(text))
    if not phrases:
        return None
    sentence = _sentence(text, phrases[-1].end())
    found = None if _NO_STATEMENT.search(sentence) else _last_in_prose(sentence)
    return Answer(found.text if found else sentence, "phrase")


def _unmarked(text: str) -> Answer | None:
    if len(text) <= _WHOLE_CHARACTERS and not _WORD.search(_COMMAND.sub(" ", text)):
        return Answer(_DECIMAL_COMMA.sub(r"\1.\2", text) if _DECIMAL_COMMA.fullmatch(text) else text, "whole")
    return _last_in_prose(text[-_PROSE_CHARACTERS:])


def _last_in_prose(text: str) -> Answer | None:
    spans = [match for match in _SPAN.finditer(text) if _is_mathematics(match)]
    numbers = [match for match in _NUMBER.finditer(text) if any(map(str.isdigit, match[0]))]
    if spans and (not numbers or spans[-1].end() >= numbers[-1].end()):
        return Answer(spans[-1][spans[-1].lastindex or 0].strip(), "span")
    return Answer(_DECIMAL_COMMA.sub(r"\1.\2", numbers[-1][0].strip()), "number") if numbers else None


def _is_mathematics(span: re.Match[str]) -> bool:
    """False for what stands between two dollar prices: "$5 a day and $7" holds no mathematics."""
    content = span[4]
    if content is None or not (content[0].isspace() or content[-1].isspace()):
        return True
    return content[0].isspace() and content[-1].isspace() and not _WORD.search(_COMMAND.sub(" ", content))
