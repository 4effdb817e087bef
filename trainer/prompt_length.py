"""Prompts that are longer than the job allows: counted with the policy's tokenizer, as the rollout service counts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from trainer.data import DataError, Prompt

Overlong = Literal["refuse", "drop", "truncate_left"]


@dataclass
class PromptLength:
    """A limit, special tokens included; None is no limit."""

    tokenizer: Any
    most: int | None
    overlong: Overlong
    count: int = field(default=0, init=False)
    """Prompts met so far that were too long."""

    def fit(self, prompts: Iterable[tuple[str, Prompt]], batch: int = 256) -> Iterator[tuple[str, Prompt]]:
        """The prompts that are left, cut where that is wanted. Raises DataError for a longer one under `refuse`.

        batch: how many are taken from `prompts` and tokenized together.
        """
        if self.most is None:
            yield from prompts
            return
        following = iter(prompts)
        while taken := list(islice(following, batch)):
            rows = self.tokenizer([prompt.text for _, prompt in taken], verbose=False)["input_ids"]
            for (where, prompt), ids in zip(taken, rows, strict=True):
                if len(ids) <= self.most:
                    yield where, prompt
                    continue
                self.count += 1
                if self.overlong == "refuse":
                    raise DataError(
                        f"{where}: field 'prompt' has {len(ids):,} tokens; data.max_prompt_tokens is {self.most:,}: raise it, or"
                        ' set overlong = "drop" or "truncate_left"'
                    )
                if self.overlong == "truncate_left":
                    yield where, replace(prompt, text=self._cut(prompt.text, where))

    def _cut(self, text: str, where: str) -> str:
        """The longest end of the text, beginning with a whole token, that has at most so many tokens when it stands alone."""
        if not self.tokenizer.is_fast:
            raise DataError(f'{where}: overlong = "truncate_left" needs a fast tokenizer (tokenizer.json); take "drop"')
        encoded = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
        starts = [start for start, _ in encoded["offset_mapping"]]
        # What stands alone can have more tokens than it had within: those that are added, and all of a cut character's.
        for kept in range(min(len(starts), self.most or 0), 0, -1):
            end = text[starts[len(starts) - kept] :]
            if end and len(self.tokenizer(end, verbose=False)["input_ids"]) <= (self.most or 0):
                return end
        raise DataError(f"{where}: data.max_prompt_tokens is {self.most}, which leaves nothing of the prompt")
