"""A source of prompts that are all known when a run begins, and the reading of whole files of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import JobConfig
from trainer.curriculum import PassRates
from trainer.data import DataError, Prompt
from trainer.data_files import rows
from trainer.data_sections import SourceSection
from trainer.epochs import Epochs, Mask
from trainer.prompt_form import PromptForm
from trainer.prompt_length import PromptLength
from trainer.prompt_store import PromptStore


class StoredSource:
    """Draws from a store: every epoch is a fresh permutation."""

    def __init__(self, name: str, store: PromptStore, key: int, rates: PassRates | None) -> None:
        """key: of the order, below 2^64. rates: for a choice by pass rate."""
        self.name, self.store, self._rates = name, store, rates
        self._epochs = Epochs(len(store), key)
        self._limit: float | None = None
        self._eligible: Mask = np.ones(len(store), bool)

    def eligible(self, most: float | None) -> int:
        """How many prompts are of at most this difficulty; all of them without a limit."""
        return int(np.count_nonzero(self._within(most)))

    def take(self, count: int, step: int, most: float | None) -> list[Prompt]:
        """The next prompts of at most this difficulty, of which there must be one."""
        wanted = self._within(most)
        taken = self._rates.take(self._epochs, wanted, count, step) if self._rates else self._epochs.take(count, wanted)
        return [self.store[row] for row in taken]

    def learned(self, prompt: Prompt, pass_rate: float) -> None:
        """Keeps the pass rate where the curriculum asks for it. Raises DataError for a prompt of other data."""
        if self._rates is None:
            return
        row = self.store.row_of(prompt.id)
        if row is None:
            raise DataError(f"{self.name}: prompt {prompt.id!r} is none of these data")
        self._rates.learned(row, pass_rate)

    def metrics(self) -> Mapping[str, float]:
        """Those of the pass rates."""
        return self._rates.metrics() if self._rates else {}

    def state_dict(self) -> dict[str, Any]:
        """As JSON."""
        rates = self._rates.state_dict() if self._rates else None
        return {"digest": self.store.digest, "epochs": self._epochs.state_dict(), "rates": rates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there. Raises DataError for a state of other prompts.

        Where a curriculum was added since, its rates begin empty; where it was taken away, they are forgotten.
        """
        if state["digest"] != self.store.digest:
            raise DataError(
                f"{self.name}: the checkpoint is of other prompts; resume with the data, the columns and template, and the"
                " data.max_prompt_tokens that it was made with"
            )
        self._epochs.load_state_dict(state["epochs"])
        if self._rates and state["rates"]:
            self._rates.load_state_dict(state["rates"])

    def _within(self, most: float | None) -> Mask:
        if most != self._limit:
            self._limit = most
            known = self.store.difficulties
            self._eligible = np.ones(len(known), bool) if most is None else known <= most
        return self._eligible


def read_store(path: Path, form: PromptForm, length: PromptLength) -> PromptStore:
    """Every prompt of a file or folder. Raises DataError."""

    def scan() -> Iterator[tuple[str, Prompt]]:
        return length.fit(form.prompts(rows(path)))

    return PromptStore(scan, str(path))


def read_prompts(path: Path, domains: Sequence[str]) -> list[Prompt]:
    """Every prompt of a file or folder with columns as Assay names them, in memory. Raises DataError for bad rows, unknown
    domains, repeated ids and empty files."""
    return list(read_store(path, PromptForm(domains), PromptLength(None, None, "refuse")))


def read_heldout(config: JobConfig, tokenizer: Any) -> list[Prompt]:
    """Every held-out prompt of a job, in memory; none where nothing is held out. Raises DataError.

    tokenizer: of the policy; may be None where `[data]` asks for none.
    """
    found: list[Prompt] = []
    for path, source in heldout_paths(config):
        form = PromptForm(sorted(config.rewards.scorers), source, tokenizer)
        found += read_store(
            Path(path), form, PromptLength(tokenizer, config.data.max_prompt_tokens, config.data.overlong)
        )
    return found


def heldout_paths(config: JobConfig) -> list[tuple[str, SourceSection | None]]:
    """Where held-out prompts are, each with the source whose form they have."""
    own = [(config.data.heldout, None)] if config.data.heldout is not None else []
    return [*own, *((source.heldout, source) for source in config.data.sources if source.heldout is not None)]


def policy_tokenizer(config: JobConfig) -> Any:
    """The tokenizer in the model's folder where `[data]` needs one; else None. Raises DataError where there is none."""
    if not config.data.needs_tokenizer():
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(config.model.path, local_files_only=True)
    except Exception as error:  # whatever transformers raises for a folder that lacks something
        raise DataError(f"model.path: its tokenizer cannot be loaded: {type(error).__name__}: {error}"[:300]) from error
