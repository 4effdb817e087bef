"""The measures on vectors and words of which the value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.coherence.measures import consistency, flow, relevance, repetition
from services.coherence.sentences import MAX_SENTENCES, sentences

X, Y = np.array([1.0, 0.0], dtype=np.float32), np.array([0.0, 1.0], dtype=np.float32)
NONE = np.zeros((0,), dtype=np.float32)


def _rows(*vectors: np.ndarray) -> np.ndarray:
    return np.array(vectors)


def test_relevance_is_the_cosine_with_the_mean() -> None:
    assert relevance(X, _rows(X, Y)) == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert relevance(X, _rows(X)) == 1.0
    assert relevance(X, _rows(-X)) == 0.0
    assert relevance(X, NONE) == 0.0


def test_flow_is_the_mean_over_steps() -> None:
    assert flow(None, _rows(X, X, Y)) == 0.5
    assert flow(X, _rows(X, Y)) == 0.5
    assert flow(X, _rows(Y)) == 0.0
    assert flow(None, _rows(X)) == 1.0
    assert flow(None, NONE) == flow(X, NONE) == 0.0


def test_consistency_takes_the_nearest_fact_of_each_sentence() -> None:
    assert consistency(_rows(X, Y), _rows(Y, X)) == 1.0
    assert consistency(_rows(X), _rows(X, Y)) == 0.5
    assert consistency(_rows(X), NONE) == 0.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0.0),
        ("one two", 0.0),
        ("one two three four", 0.0),
        ("a b c a b c", 0.25),  # abc bca cab abc: one of four stood before
        ("A b c. a B C!", 0.25),
        ("x " * 5, 2 / 3),
    ],
)
def test_repetition_counts_trigrams_that_stood_before(text: str, value: float) -> None:
    assert repetition(text) == pytest.approx(value)


@given(st.text(max_size=200))
def test_saying_a_text_again_repeats_it(text: str) -> None:
    assert 0.0 <= repetition(text) <= repetition(f"{text} {text}") <= 1.0


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("a = 3.5\n\nA: 18", ["a = 3.5", "A: 18"]),
        ("--- \n ... \n", []),
        ("一。二。", ["一。", "二。"]),
        ("", []),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


def test_sentences_are_bounded() -> None:
    assert len(sentences("Yes. " * 100_000)) == MAX_SENTENCES
    assert sum(map(len, sentences("word " * 100_000))) <= 20_000
