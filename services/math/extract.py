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
from collections.abc import Sequence
from dataclasses import dataclass

from services.math.checks import Marker
from services.math.notation import INVISIBLE

_CONTROL_TOKEN = re.compile(r"<\|[A-Za-z_]{1,40}\|>")
_BRACE = re.compile(r"\\+(?:boxed|fbox)[ \t]*\{|\\.|[{}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s,;$&+]|\\q?quad|\\[()\[\]]|\\text\{\s*(?:and|or)\s*\}|and\b|or\b)*(?:[A-Za-z](?:_\{?\w\}?)?\s?=\s?)?"
)
_MATHEMATICAL = r"(?=[*_`\s]{0,9}(?:[-+−±$€£¥(\[{|\\.\d]|[A-Za-z] ?(?:[=<>^*/+]|[. \t]{0,3}$)))"
_HASHES = re.compile(rf"^[ \t]{{0,9}}####{_MATHEMATICAL}(.*)$", re.MULTILINE)
_PHRASE = re.compile(
    rf"(?i:\banswers?)[*_ \t]{{0,4}}(?:is\b|are\b|:|=|(?:could|might|may|can|should|must|would|will) be\b)[*_ \t]{{0,4}}:?"
    rf"|(?i:<answer>)|^[ \t]{{0,9}}\*{{0,2}}A:{_MATHEMATICAL}",
    re.MULTILINE,
)
_STARTS_AS_MATHEMATICS = re.compile(_MATHEMATICAL, re.MULTILINE)
_DISPLAY = re.compile(r"\s*(?:\$\$(.+?)\$\$|\\\[(.+?)\\\])", re.DOTALL)
_SENTENCE = re.compile(r"\s*((?:[^\n.<]|\.(?!\s|$)|<(?!/))*)")
_SPAN = re.compile(r"(?<!\\)\$\$([^$]+)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$((?:[^$\n\\]|\\.)+)\$", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.,])[-−]?[$€£¥]?(?:\d[\d,]*\d|\d)?(?:\.\d+)?(?:/\d+(?![\d/]))?(?:\s?(?:\\?%|percent\b))?")
_DECIMAL_COMMA = re.compile(r"([^,]*\d),(\d\d?|\d{4,})(?![\d,])")
_NO_STATEMENT = re.compile(
    r"\b(?:not|either|or|neither|nor|between|unknown|at (?:least|most)"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower) than)\b|n't\b"
)
_HEDGE = re.compile(
    r"(?:(?:\bor\b|\bnot\b|n't\b|\bcannot\b|\bnever\b)(?:\s+[a-z]+){0,2}\s+\S{0,3}|\b(?:either|neither|between)\b[^.\n]{0,40})\Z",
    re.IGNORECASE,
)
_INNER = re.compile(
    r"(?:[\^√]|[\w)][-−+*/×·÷^]|\d[:]|\d [-−+*/×·÷] |(?:sqrt|sin|cos|tan|log|ln|exp|√|\b[A-Za-z])\("
    r"|\b(?:log|ln|sin|cos|tan|sqrt|root of|(?:more|less|fewer|greater|larger|smaller) than|\d\)? (?:minus|plus|times)) )\Z"
)
"""What stands before a number that is a part of a formula, or of a bound."""
_GOES_ON = re.compile(r"\^|\*+[\w(]|/\(|[×·÷√π∞]|[-−+]\d|:\d\d\b|(?:pi|[ie]|[xyz])\b|e[+-]?\d|[a-z]\^")
"""What stands behind such a number."""
_NEGATED = re.compile(r"\b(?:minus|negative) \Z", re.IGNORECASE)
_WHOLE_PART = re.compile(r"(?<![\w.,/^])\d+ \Z")
_SCALE = re.compile(r" (?:hundred|thousand|[mbtr]+illion)s?\b")
_SMALLER = re.compile(
    r"\d (?:feet|foot|ft|hours?|hrs?|minutes?|mins?|dollars?|pounds?|lbs?),?(?: and)? \Z", re.IGNORECASE
)
_SMALLER_UNIT = re.compile(r" ?(?:inch|in\b|minute|min|sec|cent|ounce|oz)")
_COMMAND = re.compile(r"\\(?:text|begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}|(?<!\S)(?!or\b)[^\W\d_]{2}(?=\s)")
_JOINT = re.compile(r"(?<=[\d)])\s*(?:and|or)\s*(?=[-\w(\\$])")
_MAY_BE_PHRASE = re.compile(r"(?i:answer)|A:")
_CLAUSE = re.compile(r"(?:,|\(|(?<=[\d)}$]))\s*(?:because|since|as|which|where|so|when|after|for)\b", re.IGNORECASE)
_DECORATION = re.compile(r"[\s$*_`.,:()\[\]\\]+")
_MAX_BOXES, _MAX_PHRASES, _SENTENCE_CHARACTERS, _HEDGE_CHARACTERS = 50, 20, 5000, 60
_WHOLE_CHARACTERS, _PROSE_CHARACTERS = 300, 4000


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer as it was written, and what announced it."""

    text: str
    marker: Marker
    statements: int = 0
    """How many different answers were announced in the response, this one included; 0 where it had to be guessed."""

    @property
    def explicit(self) -> bool:
        """Whether the author said that this is the answer."""
        return self.marker in ("boxed", "hashes", "phrase")


def final_text(response: str) -> str:
    """What follows the thought, without a chat template's control tokens."""
    if "</think>" in response:
        response = response.rpartition("</think>")[2]
    if not response.isascii():
        response = response.translate(INVISIBLE)
    if "<|" in response:
        response = _CONTROL_TOKEN.sub("\n", response)
    return response.strip()


def extract_answer(response: str, markers: Sequence[Marker] | None = None, comma: bool = True) -> Answer | None:
    """The final answer of a response, or None where there is none; an empty box is none.

    markers: where it may be found; None for everywhere. comma: whether `2,74` is a decimal, without a marker, too.
    """
    text = final_text(response)
    answer = last_marked(text, markers) or _stated_in_words(text, markers) or _unmarked(text, comma, markers)
    return answer if answer and answer.text else None


def last_marked(text: str, markers: Sequence[Marker] | None = None, *, is_gold: bool = False) -> Answer | None:
    """The answer at the last explicit marker that mathematics, or an empty box, follows.

    is_gold: a box that is never closed reaches to the end.
    """
    found: list[tuple[int, str, Marker]] = []
    if "{" in text and _admits(markers, "boxed") and (boxes := _outermost_boxes(text, is_gold)):
        for start, joined in _box_groups(text, boxes):
            found.append((start, joined, "boxed"))
    if "####" in text and _admits(markers, "hashes"):
        for match in _HASHES.finditer(text):
            found.append((match.start(), match[1].strip(), "hashes"))
    if _admits(markers, "phrase") and _MAY_BE_PHRASE.search(text):
        phrases = [match for match in _PHRASE.finditer(text) if _STARTS_AS_MATHEMATICS.match(text, match.end())]
        for match in phrases[-_MAX_PHRASES:]:
            found.append((match.start(), _statement(text, match.end()), "phrase"))
    if not found:
        return None
    _, last, marker = max(found, key=_start)
    return Answer(last, marker, len({_stripped(each) for _, each, _ in found}) if len(found) > 1 else 1)


def _admits(markers: Sequence[Marker] | None, marker: Marker) -> bool:
    return markers is None or marker in markers


def _start(found: tuple[int, str, Marker]) -> int:
    return found[0]


def _stripped(text: str) -> str:
    """Enough to see that two statements are the same one: `\\boxed{5}.` and `$5$`."""
    boxes = _outermost_boxes(text, False) if "{" in text else []
    text = text[text.index("{", boxes[-1][0]) + 1 : boxes[-1][1] - 1] if boxes else text
    return _DECORATION.sub("", text)


def _box_groups(text: str, boxes: list[tuple[int, int]]) -> list[tuple[int, str]]:
    """Start and content of the boxes; of those that stand side by side as a list, one for all, commas between them."""
    groups: list[tuple[int, list[str]]] = []
    end = -1
    for start, stop in boxes:
        content = text[text.index("{", start) + 1 : stop - 1].strip()
        if groups and _BETWEEN_BOXES.fullmatch(text, end, start):
            contents = groups[-1][1] if len(groups[-1][1]) < _MAX_BOXES else []
            groups[-1] = (start, contents if content in contents[-1:] else [*contents, content])
        else:
            groups.append((start, [content]))
        end = stop
    return [(start, ", ".join(contents)) for start, contents in groups]


def _statement(text: str, start: int) -> str:
    """The sentence from `start` on, without a clause that explains it."""
    sentence = _sentence(text, start)
    clause = _CLAUSE.search(sentence)
    return sentence[: clause.start()].rstrip(" ,(") if clause else sentence


def _outermost_boxes(text: str, is_gold: bool) -> list[tuple[int, int]]:
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
    if is_gold and not closed:
        return [(start, len(text) + 1) for start in open_braces if start is not None][:1]
    return closed


def _sentence(text: str, start: int) -> str:
    """The formula on display or else the rest of the sentence from `start` on."""
    end = start + _SENTENCE_CHARACTERS
    found = _DISPLAY.match(text, start, end) or _SENTENCE.match(text, start, end)
    return (found[found.lastindex or 0] if found else "").strip(" \t\n*_`").removesuffix("!")


def _stated_in_words(text: str, markers: Sequence[Marker] | None) -> Answer | None:
    if not (_admits(markers, "phrase") and _MAY_BE_PHRASE.search(text)):
        return None
    phrases = list(_PHRASE.finditer(text))
    if not phrases:
        return None
    sentence = _sentence(text, phrases[-1].end())
    found = None if _NO_STATEMENT.search(sentence) else _last_in_prose(sentence, False, None)
    return Answer(found.text if found else sentence, "phrase", 1)


def _unmarked(text: str, comma: bool, markers: Sequence[Marker] | None) -> Answer | None:
    if (
        _admits(markers, "whole")
        and len(text) <= _WHOLE_CHARACTERS
        and not _WORD.search(_JOINT.sub(" ", _COMMAND.sub(" ", text)))
    ):
        return Answer(_with_point(text) if comma else text, "whole")
    return _last_in_prose(text[-_PROSE_CHARACTERS:], comma, markers)


def _last_in_prose(text: str, comma: bool, markers: Sequence[Marker] | None) -> Answer | None:
    spans = [match for match in _SPAN.finditer(text) if _is_mathematics(match)] if _admits(markers, "span") else []
    numbers = [match for match in _NUMBER.finditer(text) if any(map(str.isdigit, match[0]))]
    if not _admits(markers, "number"):
        numbers = []
    if spans and (not numbers or spans[-1].end() >= numbers[-1].end()):
        return Answer(spans[-1][spans[-1].lastindex or 0].strip(), "span")
    if not numbers:
        return None
    number = numbers[-1][0].strip()
    if whole := _formula_around(text, *numbers[-1].span()):
        return Answer(whole, "number")
    before = text[max(0, numbers[-1].start() - _HEDGE_CHARACTERS) : numbers[-1].start()]
    if hedge := _HEDGE.search(before + " "):  # a hedge as a whole is no number
        start = max(before.rfind(". "), before.rfind("\n")) + 1
        return Answer(f"{before[min(start, hedge.start()) :]}{number}".strip(), "number")
    return Answer(_with_point(number) if comma else number, "number")


def _with_point(text: str) -> str:
    found = _DECIMAL_COMMA.fullmatch(text)
    return f"{found[1]}.{found[2]}" if found else text


def _formula_around(text: str, start: int, end: int) -> str:
    """The formula, or the amount, that the number in prose is only a part of; '' where it is a number of its own."""
    number = text[start:end].strip()
    before, behind = text[max(0, start - _HEDGE_CHARACTERS) : start], text[end : end + _HEDGE_CHARACTERS]
    if scale := _SCALE.match(behind):
        number += scale[0]
    if "/" in number and (whole := _WHOLE_PART.search(before)):
        return whole[0] + number
    if not number.startswith("-") and _NEGATED.search(before) and not _INNER.search(before):
        return f"-{number}"
    if _SMALLER.search(before) and _SMALLER_UNIT.match(behind):
        return before[before.rfind(".") + 1 :].strip() + " " + number
    if inner := _INNER.search(before):
        before = before[: inner.end()]
        first = max(before.rfind(" ", 0, inner.start() + 1), before.rfind("\n")) + 1
    elif _GOES_ON.match(behind):
        first = max(before.rfind(" "), before.rfind("\n")) + 1
    else:
        return number if scale else ""
    run = before[first:] + number + (behind.split(maxsplit=1) or [""])[0] * (not behind[:1].isspace())
    return run.rpartition("=")[2].strip("*_`\"'.,;:!? ")


def _is_mathematics(span: re.Match[str]) -> bool:
    """False for what stands between two dollar prices: "$5 a day and $7" holds no mathematics."""
    content = span[4]
    if content is None or not (content[0].isspace() or content[-1].isspace()):
        return True
    return content[0].isspace() and content[-1].isspace() and not _WORD.search(_COMMAND.sub(" ", content))
