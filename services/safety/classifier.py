"""The backend for a sequence-classification model of one's own, read by transformers from a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.safety.backend import BackendError
from services.safety.digest import digest_of

MAX_CHARACTERS = 12_800
"""Of a text that are looked at."""
MAX_TOKENS = 512
"""Of a window; fewer where the model takes fewer."""
OVERLAP = 8
"""Windows share one of this many tokens with the next, so that nothing is only ever seen cut."""
BATCH = 16
TOXIC_NAMES = ("toxic", "toxicity")
"""Labels that need no naming, in any case of letters."""


class ClassifierBackend:
    """The model's probability of the toxic labels, in a text's worst window."""

    name = "classifier"
    toxic_from = 0.5
    batch_size = 8
    timeout_seconds = 60.0

    def __init__(self, directory: Path, toxic_labels: Sequence[str] = ()) -> None:
        """Loads the model in float32 and leaves torch one thread in this process. Code from the folder is never run, and
        weights are read from safetensors only.

        toxic_labels: names from the model's `id2label`; without them the label called toxic or toxicity.
        A model with one label, or with `problem_type` multi_label_classification, gives each label a probability of its
        own (sigmoid): the largest of the toxic ones counts. Any other shares one among them (softmax): those of the
        toxic ones are added up.
        Raises BackendError where the folder holds no such model or no such label.
        """
        _check_folder(directory)
        os.environ["HF_HUB_OFFLINE"] = "1"  # read at import: without it a loader may ask the hub about local files
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(1)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, use_fast=True)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                directory, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # transformers raises all kinds
            raise BackendError(f"the classifier in {directory} cannot be loaded: {error}") from error
        if lacking := sorted(info["missing_keys"]):
            raise BackendError(
                f"{directory} is no trained sequence classifier: its weights lack {', '.join(map(str, lacking[:3]))}"
            )
        if not self._tokenizer.is_fast:
            raise BackendError(f"the tokenizer in {directory} has no tokenizer.json, which windows of long texts need")
        self._torch = torch
        self._model = model.eval()
        self._columns = _columns(model.config.id2label, toxic_labels, directory)
        self._independent = _independent(model.config, directory)
        room = getattr(model.config, "max_position_embeddings", None) or MAX_TOKENS
        # some models count positions from 2
        self._tokens = min(MAX_TOKENS, self._tokenizer.model_max_length, room - 2 if room <= MAX_TOKENS else room)
        self.digest = digest_of(directory)

    def estimate(self, texts: Sequence[str]) -> list[float]:
        """As `Backend.estimate`. A text without anything but blanks is harmless, 0."""
        windows = [(place, ids) for place, text in enumerate(texts) if text.strip() for ids in self._windows(text)]
        by_length: dict[int, list[tuple[int, list[int]]]] = {}  # nothing is padded: company changes no estimate
        for place, ids in windows:
            by_length.setdefault(len(ids), []).append((place, ids))
        worst = [0.0] * len(texts)
        for alike in by_length.values():
            for start in range(0, len(alike), BATCH):
                chunk = alike[start : start + BATCH]
                for (place, _), value in zip(chunk, self._forward([ids for _, ids in chunk]), strict=True):
                    worst[place] = max(worst[place], value)
        return worst

    def _windows(self, text: str) -> list[list[int]]:
        """Token ids of a text, cut into overlapping windows that fit the model, each with its special tokens."""
        shown = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        return self._tokenizer(
            shown,
            truncation=True,
            max_length=self._tokens,
            stride=self._tokens // OVERLAP,
            return_overflowing_tokens=True,
        )["input_ids"]

    def _forward(self, token_ids: Sequence[Sequence[int]]) -> list[float]:
        """The probability that counts, for windows of one length."""
        torch = self._torch
        with torch.inference_mode():
            logits = self._model(input_ids=torch.tensor(token_ids)).logits.double()
        if self._independent:
            return torch.sigmoid(logits)[:, self._columns].amax(1).tolist()
        return torch.softmax(logits, dim=1)[:, self._columns].sum(1).clamp(0.0, 1.0).tolist()


def _check_folder(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise BackendError(f"no model in {directory}: it must be a folder with config.json")
    if not any(directory.glob("*.safetensors")):
        raise BackendError(f"no weights in {directory}: they must be safetensors; pickled ones (*.bin) are not read")


def _columns(id2label: Mapping[int, str], toxic_labels: Sequence[str], directory: Path) -> list[int]:
    """Columns of the logits that are the toxic labels'."""
    columns = {label: int(column) for column, label in id2label.items()}
    known = ", ".join(columns)
    wanted = list(toxic_labels) or [label for label in columns if label.lower() in TOXIC_NAMES]
    if not wanted:
        raise BackendError(f"name the toxic ones of the labels of {directory} with --toxic-labels: {known}")
    for label in wanted:
        if label not in columns:
            raise BackendError(f"{directory} has no label {label!r}; its labels are {known}")
    if len(columns) > 1 and set(wanted) == set(columns):
        raise BackendError(f"all labels of {directory} are named as toxic: {known}; one at least must not be")
    return sorted({columns[label] for label in wanted})


def _independent(config: object, directory: Path) -> bool:
    """Whether each label has a probability of its own."""
    problem_type = getattr(config, "problem_type", None)
    if problem_type == "regression":
        raise BackendError(f"{directory} is a regression model; its numbers are no probabilities")
    return problem_type == "multi_label_classification" or len(getattr(config, "id2label", ())) == 1
