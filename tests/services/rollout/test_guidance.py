"""Stop strings against decoding everything anew at each token, by tokenizers of several kinds; choices by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from services.rollout.guidance import Choices, StopStrings
from services.rollout.text import Text
from tests.services.rollout.tiny_model import tiny_tokenizer

TEXT = [
    "the end of the answer.",
    "\n\nEND",
    "naïve café — 日本語 🙂🙃",
    "a  b   c",
    "} } ``` ###",
    "then they go there",
]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    """With spaces before words, as SentencePiece writes them, and bytes for what is not in the vocabulary."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXT[:1] + TEXT[3:], trainer)
    plain = Tokenizer.from_str(tokenizer.to_str().replace('"special":true', '"special":false'))
    plain.add_special_tokens(["<s>", "</s>"])
    return plain


KINDS = {"characters": tiny_tokenizer()._tokenizer, "bytes": byte_level(), "metaspace": metaspace()}


def decode_batch(tokenizer: Tokenizer, rows: list[list[int]]) -> list[str]:
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


def first_end(tokenizer: Tokenizer, tokens: list[int], stop: list[str]) -> int | None:
    """The number of tokens after which the whole text holds a stop string."""
    for length in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:length], skip_special_tokens=True)
        if any(each in text for each in stop):
            return length
    return None


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Tokenizer, list[int], list[str]]:
    """A tokenizer, tokens of real text and of noise, and stop strings, some of them from the text."""
    tokenizer = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    tokens: list[int] = []
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from(TEXT))
        some = draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=6))
        tokens += draw(st.sampled_from([some, tokenizer.encode(text, add_special_tokens=False).ids]))
    text = tokenizer.decode(tokens, skip_special_tokens=True).replace("\ufffd", "")
    start = draw(st.integers(0, len(text)))
    from_text = text[start : start + draw(st.integers(1, 6))] or "e"
    return (
        tokenizer,
        tokens,
        [from_text, *draw(st.lists(st.sampled_from(["END", " the", "🙂", "\n\n", " "]), max_size=2))],
    )


@given(scenes())
@settings(max_examples=300, deadline=None)
def test_the_token_is_the_one_that_decoding_everything_finds(scene: tuple[Tokenizer, list[int], list[str]]) -> None:
    tokenizer, tokens, stop = scene
    watch = StopStrings(stop, lambda rows: decode_batch(tokenizer, rows), 1)
    found = next((place for place, token in enumerate(tokens, start=1) if watch.ended([0], [token]) == [True]), None)
    assert found == first_end(tokenizer, tokens, stop)


def test_every_sample_is_watched_for_itself_and_only_its_end_is_decoded() -> None:
    tokenizer = KINDS["characters"]
    longest = 0

    def decode(rows: list[list[int]]) -> list[str]:
        nonlocal longest
        longest = max(longest, *map(len, rows))
        return decode_batch(tokenizer, rows)

    watch = StopStrings(["abc"], decode, 3)
    letters = {text: iter(tokenizer.encode(text, add_special_tokens=False).ids) for text in ("xxabc", "ababc", "abxxc")}
    ends: list[Iterator[int]] = list(letters.values())
    answers = [watch.ended([0, 1, 2], [next(tokens) for tokens in ends]) for _ in range(5)]
    assert answers == [[False] * 3] * 4 + [[True, True, False]]
    assert longest == 2


@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [("one two", ["two", "e t"], "on"), ("one", ["x"], "one"), ("ab", ["ab"], ""), ("a", [], "a")],
)
def test_the_text_ends_before_the_first_stop_string(text: str, stop: list[str], left: str) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert Text(tokenizer, (), None, len(tokenizer)).before_stop(ids, stop) == left


def test_choices_allow_what_one_of_them_goes_on_with() -> None:
    choices = Choices([[5, 6], [5, 6, 7], [8]], stop_ids=[2], vocabulary=10, samples=2)

    def allowed(*samples: int) -> list[list[int]]:
        return [row.nonzero()[:, 0].tolist() for row in choices.allowed(samples)]

    assert allowed(0, 1) == [[5, 8], [5, 8]]
    choices.advance([0, 1], [5, 8])
    assert allowed(0, 1) == [[6], [2]]
    choices.advance([0, 1], [6, 2])
    assert allowed(0, 1) == [[2, 7], list(range(10))]  # what follows an end of sequence is thrown away
    choices.advance([0], [7])
    assert allowed(0) == [[2]]
