"""The embedder against transformers' own forward pass, and what its batches must not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.embeddings import DIMENSIONS, Embedder, packaged_model

TEXTS = [
    "A cat sat on the mat.",
    "",
    "x",
    "Trains " * 40,
    "The stock market fell.",
    "A cat sat on the mat.",
    "Ünïcode 猫 \ud800",
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def test_vectors_are_the_normalised_mean_of_the_last_layer(embedder: Embedder) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(packaged_model(), local_files_only=True)
    model = AutoModel.from_pretrained(packaged_model(), local_files_only=True).eval()
    with torch.no_grad():
        hidden = model(**tokenizer("A cat sat on the mat.", return_tensors="pt")).last_hidden_state[0]
    mean = hidden.mean(0)
    np.testing.assert_allclose(embedder.embed(TEXTS)[0], (mean / mean.norm()).numpy(), rtol=0, atol=1e-6)


def test_rows_follow_the_texts(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=0, atol=1e-6)
    assert (vectors[0] == vectors[5]).all()
    near, far = embedder.embed(["There is a cat on the rug.", "Interest rates rose."]) @ vectors[0]
    assert near > 0.6 > 0.3 > far


def test_the_same_call_gives_the_same_bits(embedder: Embedder) -> None:
    assert (embedder.embed(TEXTS) == embedder.embed(TEXTS)).all()


def test_company_changes_a_vector_by_less_than_a_millionth(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    alone = np.vstack([embedder.embed([text]) for text in TEXTS])
    assert np.linalg.norm(together - alone, axis=1).max() < 1e-6
    assert (embedder.embed(TEXTS[::-1])[::-1] == together).all()


def test_very_long_texts_are_cut(embedder: Embedder) -> None:
    long = embedder.embed(["word " * 400_000, "word " * 300])
    assert (long[0] == long[1]).all()


def test_no_texts(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, DIMENSIONS)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        Embedder(tmp_path)


def test_a_text_that_comes_again_is_not_computed_again(monkeypatch):
    embedder = Embedder()
    first = embedder.embed(["one", "two", "one"])
    monkeypatch.setattr(embedder, "_forward", lambda ids: pytest.fail("computed again"))
    assert (embedder.embed(["two", "one"]) == first[[1, 0]]).all()


def test_only_so_many_texts_are_remembered(monkeypatch):
    monkeypatch.setattr("services.embeddings.REMEMBERED_TEXTS", 2)
    embedder = Embedder()
    vectors = embedder.embed(["one", "two", "three"])
    assert len(embedder._remembered) == 2
    assert abs(embedder.embed(["one"]) - vectors[0]).max() < 1e-6
