"""A tiny model of each kind, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.services.rollout.tiny_model import save_tiny_model

torch.set_num_threads(1)  # more threads on so small a model only wait for each other


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untied model whose distributions are wide."""
    return save_tiny_model(tmp_path_factory.mktemp("model"), seed=1, flat=0.5)


@pytest.fixture(scope="session")
def other_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights."""
    return save_tiny_model(tmp_path_factory.mktemp("other"), seed=2, flat=0.5)
