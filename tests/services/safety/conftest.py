"""The models of the embedded backend, loaded once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from services.safety.windows import WindowReader

DATA = Path(os.environ.get("ASSAY_DATA") or Path(__file__).parents[4] / "shared" / "data")


@pytest.fixture(scope="session")
def reader() -> WindowReader:
    return WindowReader()


@pytest.fixture(scope="session")
def comments() -> tuple[list[str], np.ndarray]:
    """Texts of real comments, and which are toxic."""
    path = DATA / "toxicity.jsonl"
    if not path.exists():
        pytest.skip(f"toxicity.jsonl is not in {DATA}; set ASSAY_DATA to where it lies")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["text"] for row in rows], np.array([row["toxic"] for row in rows])
