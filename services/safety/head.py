"""A head that `assay calibrate safety` fitted on a user's labels: its file, and the backend that serves it."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from services.embeddings import DIMENSIONS
from services.safety.backend import BackendError
from services.safety.digest import digest_of
from services.safety.windows import FEATURES, WindowReader, Windows

WEIGHTS = DIMENSIONS + 3
_KEY = "assay_safety_head"


class HeadFacts(BaseModel):
    """What a head's file says beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    features: str
    embedding_digest: str
    linear_digest: str
    intercept: FiniteFloat
    toxic_from: float = Field(gt=0, le=1)
    rule: str
    """By which `toxic_from` was chosen."""
    strength: float
    """Inverse of the regularisation, scikit-learn's C."""
    seed: int
    rows: Mapping[str, int]
    """Labels that it was fitted on and measured on, duplicates and conflicts."""
    figures: Mapping[str, float]
    """On the held-out rows."""


@dataclass(frozen=True)
class Head:
    """weights: float64, shape (WEIGHTS,)."""

    weights: np.ndarray
    facts: HeadFacts


def probabilities(windows: Windows, weights: np.ndarray, intercept: float) -> np.ndarray:
    """Of being toxic, by text: float64, shape (windows.count,), that of the worst window. A text without anything but
    blanks is harmless, 0."""
    odds = np.clip(windows.features @ weights + intercept, -500.0, 500.0)
    return windows.worst(1.0 / (1.0 + np.exp(-odds)), 0.0)


def save_head(head: Head, path: Path) -> None:
    """Writes a head whole or not at all. Raises OSError."""
    content = save({"weights": head.weights.astype(np.float64)}, {_KEY: head.facts.model_dump_json()})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_head(path: Path) -> Head:
    """Reads a head. Raises BackendError, which says what is wrong with the file."""
    if not path.is_file():
        raise BackendError(f"no head at {path}: write one with `assay calibrate safety`")
    try:
        with safe_open(path, framework="np") as file:
            facts = (file.metadata() or {}).get(_KEY)
            weights = file.get_tensor("weights") if "weights" in file.keys() else None  # noqa: SIM118 - no mapping
    except (TypeError, AttributeError):  # of safetensors, for a type that numpy has not, such as bfloat16
        raise BackendError(f"{path}: its weights are of a type that no head has; fit it again") from None
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise BackendError(f"{path} is not a safetensors file: {error}") from None
    if facts is None or weights is None:
        raise BackendError(f"{path} is no head of `assay calibrate safety`")
    try:
        head = Head(np.asarray(weights, dtype=np.float64), HeadFacts.model_validate_json(facts))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors(include_input=False))
        raise BackendError(f"{path} is a head of another form: {fields}; fit it again") from None
    if head.facts.features != FEATURES or head.weights.shape != (WEIGHTS,):
        raise BackendError(f"{path} was fitted on other features than this version has; fit it again")
    if not np.isfinite(head.weights).all():
        raise BackendError(f"{path} holds weights that are not finite")
    return head


class HeadBackend:
    """Calibrated probabilities, by a fitted head."""

    name = "head"
    batch_size = 16
    timeout_seconds = 60.0  # 16 of the longest texts take 20 s of a core

    def __init__(self, path: Path) -> None:
        """Loads head and models; takes some seconds and about 500 MB. Raises BackendError for a file that is no head, or
        one of other models than these."""
        self._head = load_head(path)
        self._reader = WindowReader()
        facts = self._head.facts
        models = {
            "embedding model": (facts.embedding_digest, self._reader.embedding_digest),
            "linear model": (facts.linear_digest, self._reader.linear_digest),
        }
        for model, (fitted, here) in models.items():
            if fitted != here:
                raise BackendError(f"{path} was fitted with the {model} {fitted}; here is {here}: fit it again")
        self.digest = f"{digest_of(path)}.{facts.embedding_digest}.{facts.linear_digest}"
        self.toxic_from = facts.toxic_from

    def estimate(self, texts: Sequence[str]) -> list[float]:
        """As `Backend.estimate`."""
        windows = self._reader.read(texts)
        return probabilities(windows, self._head.weights, self._head.facts.intercept).tolist()
