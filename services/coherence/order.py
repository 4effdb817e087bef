"""Signs that the sentences of a text stand in the wrong order. They can only count against a text, never for it.

A sign for the right order could be had for nothing by writing it ("First", "Then", "Finally"); what is out of order
cannot be hidden by writing more of what is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from services.coherence.words import FUNCTION_WORDS, Words, stem, vocabulary

T = TypeVar("T")

_ANSWER = re.compile(
    r"\W*(?:a: ?[-$\\\d]|(?:final )?answer:|####|(?:(?:so|therefore|thus|hence),? )?the (?:final )?answer (?:is|=|:))",
    re.I,
)
_FIRST = vocabulary("first firstly initially originally")
_LAST = vocabulary("finally lastly altogether overall")
_LAST_PHRASES = re.compile(r"in (total|all|conclusion|summary|the end)\b|to (conclude|sum up)\b")
_CONTINUES = vocabulary("""accordingly afterward afterwards also but consequently furthermore hence however instead likewise meanwhile
    moreover nevertheless otherwise similarly so still then therefore thus""")
_PRONOUNS = vocabulary("he she they it him them his her hers their theirs")
_ORDINALS = {
    word: rank
    for rank, names in enumerate(("first firstly", "second secondly", "third thirdly", "fourth", "fifth"))
    for word in names.split()
}
_INDEFINITE = frozenset(("a", "an"))
_DEFINITE = vocabulary("the this that these those such its his her their")


def disorder(prompt: Words | None, texts: Sequence[str], parts: Sequence[Words]) -> dict[str, int]:
    """How often each sign was found; those that were not found are left out.

    texts: the sentences. parts: their words. prompt: what the text answers; what stands in it is known beforehand.
    """
    if len(parts) < 2:
        return {}
    known = prompt or Words((), frozenset(), frozenset(), frozenset(), frozenset())
    found = {sign: count(known, texts, parts) for sign, count in SIGNS.items()}
    return {sign: number for sign, number in found.items() if number}


def _used_before_made(known: Words, _texts: Sequence[str], parts: Sequence[Words]) -> int:
    """Numbers that a sentence works with (`40 + 20 = 60`) before the one that works them out (`... = 40`)."""
    made_in = _first_places(part.made for part in parts)
    return sum(
        made_in.get(number, -1) > place
        for place, part in enumerate(parts)
        for number in part.used - part.made - known.numbers
    )


def _goes_on_after_the_answer(_known: Words, texts: Sequence[str], _parts: Sequence[Words]) -> int:
    """An answer line (`A: 12`, `#### 12`, `The answer is 12`), but none at the end."""
    return int(any(map(_ANSWER.match, texts)) and not _ANSWER.match(texts[-1]))


def _starts_in_the_middle(known: Words, _texts: Sequence[str], parts: Sequence[Words]) -> int:
    """A first sentence that goes on from one before it: `Then ...`, `However, ...`; without a prompt `She ...` too."""
    word = _first_word(parts[0])
    return int(word in _CONTINUES or (word in _PRONOUNS and not known.tokens))


def _first_too_late(_known: Words, _texts: Sequence[str], parts: Sequence[Words]) -> int:
    """`First ...` in the second half."""
    return sum(_first_word(part) in _FIRST for part in parts[len(parts) // 2 + 1 :])


def _last_too_early(_known: Words, _texts: Sequence[str], parts: Sequence[Words]) -> int:
    """`Finally ...`, `In total ...` in the first half."""
    return sum(
        _first_word(part) in _LAST or _LAST_PHRASES.match(" ".join(part.tokens[:3])) is not None
        for part in parts[: len(parts) // 2]
    )


def _counts_backwards(_known: Words, _texts: Sequence[str], parts: Sequence[Words]) -> int:
    """`Second ...` before `First ...`."""
    ranks = [_ORDINALS[word] for part in parts if (word := _first_word(part)) in _ORDINALS]
    return sum(earlier > later for earlier, later in pairwise(ranks))


def _known_before_introduced(known: Words, _texts: Sequence[str], parts: Sequence[Words]) -> int:
    """`the lamp` before `a lamp`, where the prompt has none."""
    introduced = _first_places(_nouns_after(part, _INDEFINITE) for part in parts)
    pointed_at = _first_places(_nouns_after(part, _DEFINITE) for part in parts)
    return sum(pointed_at.get(noun, place) < place for noun, place in introduced.items() if noun not in known.subjects)


SIGNS: dict[str, Callable[[Words, Sequence[str], Sequence[Words]], int]] = {
    "number used before it is worked out": _used_before_made,
    "goes on after the answer": _goes_on_after_the_answer,
    "starts in the middle": _starts_in_the_middle,
    "first things too late": _first_too_late,
    "last things too early": _last_too_early,
    "counts backwards": _counts_backwards,
    "known before it is introduced": _known_before_introduced,
}
"""By the name that the evidence shows."""


def _first_word(part: Words) -> str:
    return part.tokens[0] if part.tokens else ""


def _nouns_after(part: Words, articles: frozenset[str]) -> set[str]:
    return {stem(noun) for article, noun in pairwise(part.tokens) if article in articles and noun not in FUNCTION_WORDS}


def _first_places(groups: Iterable[Iterable[T]]) -> dict[T, int]:
    places: dict[T, int] = {}
    for place, group in enumerate(groups):
        for member in group:
            places.setdefault(member, place)
    return places
