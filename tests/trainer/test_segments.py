"""Where segments end: by whole texts, whatever tokens they are cut into."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.segments import Segmenter


def segments(pieces, ends):
    return Segmenter(lambda token: pieces[token], ends)(range(len(pieces)))


@pytest.mark.parametrize(
    ("pieces", "ends", "expected"),
    [
        (["One", ".", " Two", ".", ""], ["."], [0, 0, 1, 1, 2]),
        (["a.", "b.c", "d"], ["."], [0, 1, 2]),
        (["x", "\n", "\n", "y"], ["\n\n"], [0, 0, 0, 1]),
        (["x\n", "\ny", "z"], ["\n\n"], [0, 0, 1]),
        (["1. ", "2", ". ", "3"], [". ", "\n"], [0, 1, 1, 2]),
        (["a", "b"], ["."], [0, 0]),
        ([], ["."], []),
        ([".", ".", "."], ["."], [0, 1, 2]),
    ],
)
def test_by_hand(pieces, ends, expected):
    assert segments(pieces, ends) == expected


@given(st.lists(st.text("a. \n", max_size=4), max_size=12), st.sampled_from([["."], [". ", "\n"], ["\n\n", "."]]))
def test_a_segment_ends_with_the_token_that_completes_an_end(pieces, ends):
    """Against the plain way: look for every end in the whole text, and find the token in which it is complete."""
    text, found = "".join(pieces), segments(pieces, ends)
    complete = {place + len(end) for end in ends for place in range(len(text)) if text.startswith(end, place)}
    position, expected, current = 0, [], 0
    for piece in pieces:
        expected.append(current)
        current += any(position < place <= position + len(piece) for place in complete)
        position += len(piece)
    assert found == expected
