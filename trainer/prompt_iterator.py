"""Prompts of a user's own function, which may go on for ever: drawn in its order, and gone on with where a run stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.data import DataError, Prompt
from trainer.data_sections import SourceSection
from trainer.imports import ImportPathError, load_function
from trainer.prompt_form import PromptForm
from trainer.prompt_length import PromptLength
from trainer.prompt_store import encode

MOST_PASSED_OVER = 100_000
"""Rows in a row that may be too hard or too long before the run is stopped: an endless iterator would hold it for ever."""

SAMPLED_ROWS = 64
"""Rows of an iterator that are looked at before a run."""

_END = object()


class PromptIterator:
    """The rows of `iterator`, one at a time, none of them kept. Where it ends, it is called again.

    It goes on from its own `state_dict` where what the function returns has that and `load_state_dict`; else by taking as
    many rows as were taken, which must come out the same.
    """

    def __init__(self, source: SourceSection, form: PromptForm, length: PromptLength) -> None:
        """Imports the function and calls it. Raises DataError."""
        self.name, self._source, self._form, self._length = source.name, source, form, length
        try:
            self._function = load_function(str(source.iterator))
        except ImportPathError as error:
            raise DataError(f"source {source.name!r}: iterator: {error}") from error
        self._open()

    def eligible(self, most: float | None) -> int | None:
        """How many there are to draw from is not known."""
        return None

    def take(self, count: int, step: int, most: float | None) -> list[Prompt]:
        """The next prompts that are not too hard and not too long. Raises DataError where the function does."""
        taken: list[Prompt] = []
        passed_over = 0
        while len(taken) < count:
            prompt = self._next()
            if prompt is not None and (most is None or (prompt.difficulty is not None and prompt.difficulty <= most)):
                taken.append(prompt)
                passed_over = 0
            elif (passed_over := passed_over + 1) == MOST_PASSED_OVER:
                raise DataError(f"{self._where()}: {MOST_PASSED_OVER:,} rows in a row are too hard or too long")
        return taken

    def sample(self) -> Iterator[Prompt]:
        """The first prompts of a fresh call, for a look before the run; what is drawn does not change. Raises DataError."""
        # A limit of its own, so that nothing is counted here.
        length = PromptLength(self._length.tokenizer, self._length.most, self._length.overlong)
        fresh = PromptIterator(self._source, self._form, length)
        return (prompt for prompt in fresh._first(SAMPLED_ROWS) if prompt is not None)

    def learned(self, prompt: Prompt, pass_rate: float) -> None:
        """Changes nothing: its rows cannot be chosen from."""

    def metrics(self) -> Mapping[str, float]:
        """None."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """As JSON. Raises DataError where the user's own state is none."""
        own = None
        if self._keeps_state():
            try:
                own = json.loads(json.dumps(self._rows_of.state_dict(), allow_nan=False))
            except Exception as error:  # whatever a user's code raises, and what is no JSON
                raise DataError(f"{self._where()}: its state_dict: {_told(error)}") from error
        return {"digest": self._identity(), "row": self._row, "rows": self._digest, "own": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there. Raises DataError where the function now gives other rows."""
        if state["digest"] != self._identity():
            raise DataError(
                f"source {self.name!r}: the checkpoint is of another iterator, or of other kwargs or columns"
            )
        self._open()
        if state["own"] is not None:
            if not self._keeps_state():
                raise DataError(
                    f"{self._where()}: it had load_state_dict when the checkpoint was made, and has none now"
                )
            try:
                self._rows_of.load_state_dict(state["own"])
                self._rows = iter(self._rows_of)
            except Exception as error:  # whatever a user's code raises
                raise DataError(f"{self._where()}: its load_state_dict: {_told(error)}") from error
            self._row, self._digest = int(state["row"]), str(state["rows"])
        else:
            for _ in self._first(int(state["row"])):
                pass
            if self._digest != state["rows"] or self._row != int(state["row"]):
                raise DataError(
                    f"source {self.name!r}: the first {state['row']} rows of {self._source.iterator} are not those that the"
                    " checkpoint was made with; it must give the same rows at each call, or have state_dict and load_state_dict"
                )

    def _open(self) -> None:
        self._row, self._digest = 0, ""
        try:
            self._rows_of = self._function(**self._source.kwargs)
            self._rows = iter(self._rows_of)
        except Exception as error:  # whatever a user's code raises
            raise DataError(f"source {self.name!r}: {self._source.iterator}: {_told(error)}") from error

    def _first(self, most: int) -> Iterator[Prompt | None]:
        """What `_next` gives from the first row on: at most so many, and none twice where it ends before."""
        while self._row < most:
            before = self._row
            prompt = self._next()
            if self._row <= before:
                return
            yield prompt

    def _next(self) -> Prompt | None:
        """The prompt of the next row; None where it is left out for its length."""
        try:
            row = next(self._rows, _END)
            if row is _END and self._row:
                self._open()
                row = next(self._rows, _END)
        except DataError:
            raise
        except Exception as error:  # whatever a user's code raises
            raise DataError(f"{self._where('after row')}: {_told(error)}") from error
        if row is _END:
            raise DataError(f"source {self.name!r}: {self._source.iterator} has no rows")
        self._row += 1
        if not isinstance(row, Mapping):
            raise DataError(f"{self._where()}: is {type(row).__name__}; a row is a dict of columns")
        prompt = self._form.prompt(row, self._where(), self._row)
        self._digest = hashlib.sha256(self._digest.encode() + encode(prompt)).hexdigest()
        return next((fitting for _, fitting in self._length.fit([(self._where(), prompt)], batch=1)), None)

    def _keeps_state(self) -> bool:
        return all(callable(getattr(self._rows_of, name, None)) for name in ("state_dict", "load_state_dict"))

    def _identity(self) -> str:
        meaning = self._source.model_dump_json(exclude={"weight", "heldout"})
        return hashlib.sha256(meaning.encode()).hexdigest()

    def _where(self, row: str = "row") -> str:
        return f"source {self.name!r}: {self._source.iterator}, {row} {self._row}"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
