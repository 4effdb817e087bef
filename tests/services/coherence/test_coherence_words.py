"""Sentences, words, signs of disorder and style, on texts of which the reading is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.coherence.order import SIGNS, disorder
from services.coherence.sentences import MAX_SENTENCES, sentences
from services.coherence.style import engagement, fluency
from services.coherence.words import MAX_TOKENS, overlap, read

NUMBER, ANSWER, MIDDLE, FIRST, LAST, BACKWARDS, KNOWN = SIGNS
EIGHT = "The lamp is big. It is red. It glows. It hums. It is old. It is warm. It is dear."


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("a = 3.5\n\nA: 18", ["a = 3.5", "A: 18"]),
        ("--- \n ... \n", []),
        ("一。二。", ["一。", "二。"]),
        ("", []),
        ("Mr. Hill met Dr. Low. They left.", ["Mr. Hill met Dr. Low.", "They left."]),
        ('He said "Stop!" She did.', ['He said "Stop!"', "She did."]),
        ("3 * 4 = <<3*4=12>>12 eggs\nA: 12", ["3 * 4 = 12 eggs", "A: 12"]),
        ("He has 12 eggs Then he eats 2 A: 10", ["He has 12 eggs", "Then he eats 2", "A: 10"]),
        ("A: 10 He has 12 eggs", ["A: 10", "He has 12 eggs"]),
        ("Plan A: walk", ["Plan", "A: walk"]),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


def test_sentences_are_bounded() -> None:
    assert len(sentences("Yes. " * 100_000)) == MAX_SENTENCES
    assert sum(map(len, sentences("word " * 100_000))) <= 20_000


def test_words() -> None:
    words = read("Anna's dogs ate 1,000 bones: twenty + 20.0 = $40")
    assert words.tokens == ("anna's", "dogs", "ate", "1,000", "bones", "twenty", "20.0", "40")
    assert words.subjects == {"anna", "dog", "ate", "1000", "bon", "20", "40"}
    assert words.made == {40.0}
    assert words.used == {1000.0, 20.0}
    assert read("猫と犬").tokens == ("猫", "と", "犬")
    assert len(read("x " * 10_000).tokens) == MAX_TOKENS
    assert read("9" * 400).subjects  # longer than any float


def test_overlap_is_symmetric_and_of_meaning() -> None:
    assert overlap(read("The dogs bark"), read("A dog barked at them")) == 1.0
    assert overlap(read("dog cat"), read("dog cow bird fish")) == 1 / math.sqrt(8)
    assert overlap(read("the of"), read("the of")) == 0.0


@pytest.mark.parametrize(
    ("prompt", "text", "signs"),
    [
        ("", "", {}),
        ("", "Then it ended.", {}),
        ("", "So 40 + 20 = 60 are left. He sold 10 * 4 = 40 of them.", {NUMBER: 1}),
        ("Of 40 eggs", "So 40 + 20 = 60 are left. He sold 10 * 4 = 40 of them.", {MIDDLE: 1}),
        ("", "He sold 10 * 4 = 40 of them. So 40 + 20 = 60 are left.", {MIDDLE: 1}),
        ("x", "He sold 10 * 4 = 40 of them. So 40 + 20 = 60 are left.", {}),
        ("x", "A: 60\nHe adds 40.", {ANSWER: 1}),
        ("x", "He adds 40.\nA: 60", {}),
        ("x", "The answer is 60. He adds 40.", {ANSWER: 1}),
        ("x", "A: How are you?\nB: I am well.", {}),
        ("x", "However, it rained. We stayed.", {MIDDLE: 1}),
        ("", "She slept. We stayed.", {MIDDLE: 1}),
        ("x", EIGHT + " First, buy it.", {FIRST: 1}),
        ("x", "Finally, buy it. " + EIGHT, {LAST: 1}),
        ("x", "In the end we left. " + EIGHT, {LAST: 1}),
        ("x", "Second, stir. First, fill the pot.", {BACKWARDS: 1}),
        ("x", "The dog slept. A dog came in.", {KNOWN: 1}),
        ("A dog", "The dog slept. A dog came in.", {}),
        ("x", "A dog came in. The dog slept.", {}),
    ],
)
def test_signs_of_disorder(prompt: str, text: str, signs: dict[str, int]) -> None:
    if (
        text.startswith(("So 40", "He sold")) and not prompt
    ):  # without a prompt `So` and `He` begin in the middle as well
        signs = {**signs, MIDDLE: 1}
    parts = sentences(text)
    assert disorder(read(prompt), parts, [read(part) for part in parts]) == signs


@given(st.lists(st.text(max_size=60), max_size=8))
def test_signs_are_found_in_any_text(texts: list[str]) -> None:
    found = disorder(read(""), texts, [read(text) for text in texts])
    assert all(count > 0 for count in found.values())


def _fluency(text: str) -> float:
    return fluency(text, [read(part) for part in sentences(text)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The cat sat on the mat.", 1.0),
        ("", 0.0),
        ("The the cat sat.", 1 - 5 / 4),  # one bad joint of four words
        ("The cat sat on a mat in a", 1 - 5 / 8),
        ("猫は寝ている。", 1.0),
        ("qwrtpsd", 0.0),
        ("He saw ßßßß", 2 / 3),
        ("apple pear plum stone river cloud bread chair table glass horse tower", 0.5),
    ],
)
def test_fluency_without_a_model(text: str, value: float) -> None:
    assert _fluency(text) == pytest.approx(max(0.0, value))


@given(st.text(max_size=300))
def test_estimates_stay_in_their_range(text: str) -> None:
    parts = [read(part) for part in sentences(text)]
    assert 0.0 <= fluency(text, parts) <= 1.0
    assert 0.0 <= engagement(read("Who are you?"), parts, text) <= 1.0


def _engagement(prompt: str, text: str) -> float:
    return engagement(read(prompt), [read(part) for part in sentences(text)], text)


def test_engagement() -> None:
    substance = 1 - math.exp(-3 / 25)
    assert _engagement("Dogs?", "Cats climb trees.") == pytest.approx(substance * 0.75)
    assert _engagement("Dogs?", "Cats climb trees?") == pytest.approx(substance)
    assert _engagement("Dogs?", "Cats climb your trees.") == pytest.approx(substance)
    assert _engagement("Cats climb trees?", "Cats climb trees?") == 0.0
    assert _engagement("Dogs?", "Do you?") == 0.0
    assert _engagement("Dogs?", "Cats climb trees. " * 2) == pytest.approx(substance * (0.5 + 0.25 / 2))
    assert _engagement("Dogs?", "") == 0.0
