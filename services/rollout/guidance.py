"""What ends a completion before its longest length, and what guides it: end of sequence, stop strings, choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

Decode = Callable[[list[list[int]]], list[str]]
"""Texts of token sequences, without special tokens."""
UNFINISHED = "\ufffd"
"""What a tokenizer makes of the first bytes of a character whose last ones have not come."""


@dataclass(slots=True)
class _Tail:
    """The end of one completion: `tokens` since the place where decoding starts, of which `known` are in `text`."""

    tokens: list[int] = field(default_factory=list)
    known: int = 0
    text: str = ""


class StopStrings:
    """Finds the token that makes a completion's text hold a stop string, from the last few tokens alone.

    A token's text depends on those before it (spaces, characters of several tokens), so the last tokens are decoded with
    and without the new one; the difference is what the new one wrote.
    """

    def __init__(self, stop: Sequence[str], decode: Decode, samples: int) -> None:
        self._stop = stop
        self._decode = decode
        self._kept = max(map(len, stop)) - 1
        self._tails = [_Tail() for _ in range(samples)]

    def ended(self, samples: Sequence[int], tokens: Sequence[int]) -> list[bool]:
        """Which of the samples hold a stop string now that each has one more token."""
        tails = [self._tails[sample] for sample in samples]
        for tail, token in zip(tails, tokens, strict=True):
            tail.tokens.append(token)
        texts = self._decode([*(tail.tokens[: tail.known] for tail in tails), *(tail.tokens for tail in tails)])
        return [
            self._extend(tail, before, after)
            for tail, before, after in zip(tails, texts[: len(tails)], texts[len(tails) :], strict=True)
        ]

    def _extend(self, tail: _Tail, before: str, after: str) -> bool:
        text = tail.text + after[len(before) :]
        if len(after) > len(before) and not after.endswith(UNFINISHED):
            tail.text = text[len(text) - min(self._kept, len(text)) :]
            del tail.tokens[: tail.known]
            tail.known = len(tail.tokens)
        return any(stop in text for stop in self._stop)


class Choices:
    """A trie over the choices' tokens: what may come next, for each sample. Each choice ends with an end of sequence."""

    def __init__(
        self, choices: Sequence[Sequence[int]], stop_ids: Sequence[int], vocabulary: int, samples: int
    ) -> None:
        root: dict[int, dict] = {}
        for choice in choices:
            node = root
            for token in choice:
                node = node.setdefault(token, {})
            node.update((token, {}) for token in stop_ids)
        self._vocabulary = vocabulary
        self._nodes = [root] * samples

    def allowed(self, samples: Sequence[int]) -> torch.Tensor:
        """Tokens that may come next, bool (samples, vocabulary); all of them after the end of a sequence."""
        allowed = torch.zeros(len(samples), self._vocabulary, dtype=torch.bool)
        for row, sample in enumerate(samples):
            node = self._nodes[sample]
            allowed[row, list(node) if node else slice(None)] = True
        return allowed

    def advance(self, samples: Sequence[int], tokens: Sequence[int]) -> None:
        """Each of the samples has one more token."""
        for sample, token in zip(samples, tokens, strict=True):
            self._nodes[sample] = self._nodes[sample].get(token, {})
