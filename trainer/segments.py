"""Where the segments of a completion end: sentences, or the steps of a solution, by the texts that close them."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Segmenter:
    """Numbers the segments of completions. A token that completes one of `ends` is the last of its segment."""

    def __init__(self, decode: Callable[[int], str], ends: Sequence[str]) -> None:
        """`decode` gives the text of a token; of a token that is part of a character, anything that is no end."""
        self._decode, self._ends = decode, tuple(ends)
        self._longest = max(map(len, self._ends), default=0)
        self._pieces: dict[int, str] = {}

    def __call__(self, token_ids: Sequence[int]) -> list[int]:
        """The segment of each token: 0 for the first, and then the same or one more."""
        segments: list[int] = []
        current, tail = 0, ""
        for token in token_ids:
            segments.append(current)
            if token not in self._pieces:
                self._pieces[token] = self._decode(token)
            text = tail + self._pieces[token]
            # an end that lies in the tail alone has been counted with the token that completed it
            if any(text.rfind(end) + len(end) > len(tail) for end in self._ends if end in text):
                current += 1
            tail = text[-self._longest :] if self._longest else ""
        return segments
