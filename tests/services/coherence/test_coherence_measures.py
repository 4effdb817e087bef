"""The measures on vectors and words of which the value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.coherence import measures
from services.coherence.facts import contradicts
from services.coherence.measures import consistency, copied, flow, likeness, own, relevance, repetition
from services.coherence.words import read

X, Y = np.array([1.0, 0.0], dtype=np.float32), np.array([0.0, 1.0], dtype=np.float32)
NONE = np.zeros((0, 2), dtype=np.float32)
NOTHING = read("")
CAT, DOG = read("a cat"), read("a dog")


def _rows(*vectors: np.ndarray) -> np.ndarray:
    return np.array(vectors)


def _flow(prompt: np.ndarray | None, response: np.ndarray, signs: int = 0) -> float:
    """Flow of sentences that have no word in common."""
    parts = [read(f"word{chr(97 + place)}") for place in range(len(response))]
    return flow(None if prompt is None else prompt[None], response, NOTHING, [NOTHING], parts, signs)


@pytest.mark.parametrize(
    ("cosine", "shared", "value"),
    [(0.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.0, 1.0, 0.5), (0.5, 1.0, 0.75)],
)
def test_likeness(cosine: float, shared: float, value: float) -> None:
    assert likeness(cosine, shared) == value


def test_relevance_is_the_cosine_of_the_nearest_window_with_the_mean() -> None:
    assert relevance(_rows(X), _rows(X, Y), NOTHING, NOTHING) == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert relevance(_rows(-X, X), _rows(X), NOTHING, NOTHING) == 1.0
    assert relevance(_rows(X), _rows(-X), NOTHING, NOTHING) == 0.0
    assert relevance(_rows(X), NONE, NOTHING, NOTHING) == 0.0


def test_relevance_rises_with_shared_words() -> None:
    assert relevance(_rows(X), _rows(Y), CAT, CAT) == 0.5
    assert relevance(_rows(X), _rows(Y), CAT, DOG) == 0.0


def test_relevance_of_a_copy_is_nothing() -> None:
    words = read("Anna has four apples and eats one of them.")
    assert copied(words, words) == 1.0
    assert relevance(_rows(X), _rows(X), words, words) == 0.0


def test_copied_is_the_product_of_both_shares() -> None:
    prompt, response = read("it is in there"), read("in there so it is in")
    assert copied(prompt, response) == 1 / (2 * 4)
    assert copied(prompt, read("is in")) == 0.0
    assert copied(read("the capital of France and more " * 3), read("Paris")) == 0.0


def test_a_bag_of_the_prompts_words_is_a_copy() -> None:
    prompt = read("Anna sells red apples and green pears")
    assert copied(prompt, read("pears apples green red sells anna")) == 1.0
    assert copied(prompt, read("Green pears sell worse: anna, red, apples, cheap")) < 1.0
    assert copied(read("Who wrote Emma?"), read("Emma: Austen wrote")) == 0.0  # too few words to tell


def test_own_leaves_out_what_was_said_before() -> None:
    prompt = read("Anna has four apples. How many are left?")
    asked = [read("Anna has four apples."), read("How many are left?")]
    parts = [read("Anna has four apples!"), read("She eats one."), read("She eats one."), read("Three are left.")]
    assert own(prompt, asked, parts) == [1, 3]
    assert own(prompt, asked, [*asked, read("Three.")]) == [0, 1, 2]
    assert own(prompt, asked, parts[:1] * 2) == [0]
    assert own(prompt, asked, []) == []


def test_flow_is_the_mean_over_steps_and_two_of_a_fifth() -> None:
    assert _flow(None, _rows(X, Y, X)) == pytest.approx((0 + 0 + 0.4) / 4)
    assert _flow(X, _rows(0.6 * X + 0.8 * Y)) == pytest.approx((0.6 + 0.4) / 3)
    assert _flow(X, _rows(0.6 * X + 0.8 * Y, Y)) == pytest.approx((0.6 + 0.8 + 0.4) / 4)
    assert _flow(None, _rows(X)) == pytest.approx(0.2)
    assert _flow(None, NONE) == _flow(X, NONE) == 0.0


def test_flow_loses_by_signs_of_disorder() -> None:
    assert _flow(X, _rows(X, Y), 1) == pytest.approx(_flow(X, _rows(X, Y)) / 2)
    assert _flow(X, _rows(X, Y), 2) == _flow(X, _rows(X, Y), 9) == 0.0


def test_a_sentence_said_again_is_no_step() -> None:
    assert _flow(X, _rows(X, X)) == pytest.approx((1 + 0 + 0.4) / 4)  # one vector
    response = _rows(0.6 * X + 0.8 * Y, Y, 0.6 * X - 0.8 * Y)
    fresh, again = [CAT, DOG, read("a cow")], [CAT, DOG, CAT]
    steps = [flow(_rows(X), response, NOTHING, [NOTHING], parts, 0) for parts in (fresh, again)]
    assert steps == pytest.approx([(0.6 + 0.8 + 0 + 0.4) / 5] * 2)
    asked = [flow(_rows(X), response, CAT, [words], fresh, 0) for words in (read("a bird"), CAT)]
    assert asked[0] - asked[1] == pytest.approx(0.6 / 5)  # the first step is the prompt's own sentence


def test_consistency_takes_the_nearest_fact_of_each_sentence() -> None:
    assert consistency(np.array([[1.0, 0.2], [0.0, 0.5]]), [False, False]) == 0.75
    assert consistency(np.array([[1.0, 0.2], [0.0, 0.5]]), [True, False]) == 0.25
    assert consistency(np.zeros((0, 2)), []) == 0.0


@pytest.mark.parametrize(
    ("fact", "sentence", "against"),
    [
        ("I have two dogs.", "I have three dogs.", True),
        ("I have two dogs.", "My 2 dogs sleep.", False),
        ("I have two dogs.", "I have no dogs.", True),
        ("I have two dogs.", "I don't have any dogs.", True),
        ("I have no dogs.", "I never had dogs.", False),
        ("I have two dogs.", "I have three cats.", False),
        ("I work at night.", "I do not like green tea.", False),
    ],
)
def test_contradictions_that_words_show(fact: str, sentence: str, against: bool) -> None:
    assert contradicts(read(fact), read(sentence), 0.6) is against
    assert not contradicts(read(fact), read(sentence), 0.4)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0.0),
        ("one two", 0.0),
        ("one two three four", 0.0),
        ("a b c a b c", 0.25),  # abc bca cab abc: one of four stood before
        ("A b c. a B C!", 0.25),
        ("x " * 5, 2 / 3),
        ("我爱猫我爱猫", 0.25),
    ],
)
def test_repetition_counts_trigrams_that_stood_before(text: str, value: float) -> None:
    assert repetition(read(text).tokens) == pytest.approx(value)


@given(st.text(max_size=200))
def test_saying_a_text_again_repeats_it(text: str) -> None:
    once, twice = read(text).tokens, read(f"{text} . {text}").tokens
    assert 0.0 <= repetition(once) <= repetition(twice) <= 1.0


@given(st.text(max_size=100), st.text(max_size=100))
def test_measures_of_words_stay_in_their_range(one: str, other: str) -> None:
    first, second = read(one), read(other)
    assert 0.0 <= measures.overlap(first, second) == measures.overlap(second, first) <= 1.0 + 1e-12
    assert 0.0 <= copied(first, second) <= 1.0 + 1e-12
