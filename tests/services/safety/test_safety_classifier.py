"""The classifier backend on tiny models of our own: which probability counts, windows of long texts, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from services.safety.backend import BackendError
from services.safety.classifier import ClassifierBackend
from services.safety.scorer import make_scorer
from services.verdicts import Item, Verdict

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "fine", "tea", "garden", "vile", "hateful"]
POSITIONS = 40


def _tokenizer() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    raw.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def _save(
    folder: Path,
    labels: list[str],
    problem_type: str | None,
    kind: type = BertForSequenceClassification,
    spread: float = 2.0,
) -> Path:
    """A model with random weights."""
    torch.manual_seed(3)
    names = dict(enumerate(labels))
    if kind is DistilBertForSequenceClassification:
        config = DistilBertConfig(
            vocab_size=len(WORDS), dim=8, hidden_dim=16, n_layers=1, n_heads=2, max_position_embeddings=POSITIONS
        )
    else:
        config = BertConfig(
            vocab_size=len(WORDS),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=POSITIONS,
            initializer_range=spread,
        )
    config.id2label, config.label2id = names, {name: place for place, name in names.items()}
    config.problem_type = problem_type
    kind(config).eval().save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _logits(folder: Path, text: str, kind: type = BertForSequenceClassification) -> torch.Tensor:
    """By transformers alone, in one window: shape (labels,)."""
    ids = torch.tensor([[2, *(WORDS.index(word) for word in text.split()), 3]])
    with torch.inference_mode():
        return kind.from_pretrained(folder).eval()(input_ids=ids).logits[0]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt that `vile` and `hateful` are toxic."""
    folder = _save(tmp_path_factory.mktemp("trained"), ["harmless", "toxic"], "single_label_classification", spread=0.1)
    model = BertForSequenceClassification.from_pretrained(folder)  # in eval mode: no dropout
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(150):
        length = (1, 3, 8, POSITIONS - 4)[step % 4]
        words = torch.randint(4, WORDS.index("vile"), (32, length))
        words[:16, torch.randint(length, (16,))] = torch.randint(WORDS.index("vile"), len(WORDS), (16,))
        toxic = (words >= WORDS.index("vile")).any(1).long()
        ids = torch.cat([torch.full((32, 1), 2), words, torch.full((32, 1), 3)], dim=1)
        optimizer.zero_grad()
        model(input_ids=ids, labels=toxic).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", [BertForSequenceClassification, DistilBertForSequenceClassification])
@pytest.mark.parametrize("problem_type", ["single_label_classification", None])
def test_labels_that_exclude_each_other_share_one_probability(
    tmp_path: Path, kind: type, problem_type: str | None
) -> None:
    folder = _save(tmp_path, ["fine", "insult", "threat"], problem_type, kind)
    expected = torch.softmax(_logits(folder, "good vile tea", kind), 0)
    (one,) = ClassifierBackend(folder, ["threat"]).estimate(["good vile tea"])
    (both,) = ClassifierBackend(folder, ["threat", "insult"]).estimate(["good vile tea"])
    assert one == pytest.approx(float(expected[2]), abs=1e-6)
    assert both == pytest.approx(float(expected[1] + expected[2]), abs=1e-6)


def test_independent_labels_have_a_probability_each_and_the_largest_counts(tmp_path: Path) -> None:
    folder = _save(tmp_path, ["toxic", "insult", "spam"], "multi_label_classification")
    expected = torch.sigmoid(_logits(folder, "good vile tea"))
    assert ClassifierBackend(folder).estimate(["good vile tea"]) == pytest.approx([float(expected[0])], abs=1e-6)
    (both,) = ClassifierBackend(folder, ["insult", "spam"]).estimate(["good vile tea"])
    assert both == pytest.approx(float(expected[1:].max()), abs=1e-6)


def test_a_single_label_is_a_sigmoid(tmp_path: Path) -> None:
    folder = _save(tmp_path, ["Toxicity"], None)
    expected = torch.sigmoid(_logits(folder, "vile"))
    assert ClassifierBackend(folder).estimate(["vile"]) == pytest.approx([float(expected[0])], abs=1e-6)


def test_what_is_hidden_in_a_long_text_is_seen(trained: Path) -> None:
    """A text of many windows is as toxic as its worst; the one word is found wherever it stands, at every seam too."""
    backend = ClassifierBackend(trained)
    harmless = ["good", "tea", "garden", "fine"] * 40
    clean, empty, blank = backend.estimate([" ".join(harmless), "", " \n"])
    assert clean < 0.2 and empty == blank == 0.0
    for place in range(0, len(harmless), 7):
        hidden = [*harmless[:place], "vile", "hateful", "vile", "hateful", *harmless[place:]]
        assert backend.estimate([" ".join(hidden)])[0] > 0.8, place


def test_an_estimate_does_not_depend_on_its_company(trained: Path) -> None:
    backend = ClassifierBackend(trained)
    texts = ["vile", "good tea", "tea " * 200, "\ud800 odd \x00", "hateful garden fine", "日本"]
    together = backend.estimate(texts)
    assert together == backend.estimate(texts)
    assert [backend.estimate([text])[0] for text in texts] == pytest.approx(together, abs=1e-6)


def test_the_scorer_serves_it(trained: Path) -> None:
    scorer = make_scorer(classifier=str(trained), toxic_from=0.6)
    good, bad = scorer.score([Item("1", "", "good tea"), Item("2", "", "vile hateful")])
    assert isinstance(good, Verdict) and isinstance(bad, Verdict)
    assert (good.label, bad.label) == ("clean", "toxic")
    assert "classifier" in scorer.version and scorer.cacheable


def test_other_weights_are_another_version(tmp_path: Path, trained: Path) -> None:
    other = _save(tmp_path, ["harmless", "toxic"], "single_label_classification")
    assert ClassifierBackend(other).digest != ClassifierBackend(trained).digest


def test_wrong_labels_are_refused_by_name(tmp_path: Path) -> None:
    folder = _save(tmp_path, ["LABEL_0", "LABEL_1"], None)
    with pytest.raises(BackendError, match="--toxic-labels: LABEL_0, LABEL_1"):
        ClassifierBackend(folder)
    with pytest.raises(BackendError, match="no label 'hate'; its labels are LABEL_0, LABEL_1"):
        ClassifierBackend(folder, ["hate"])
    with pytest.raises(BackendError, match="one at least must not be"):
        ClassifierBackend(folder, ["LABEL_0", "LABEL_1"])


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"config\.json"):
        ClassifierBackend(tmp_path / "nowhere")
    folder = _save(tmp_path / "bert", ["harmless", "toxic"], None)
    weights = folder / "model.safetensors"
    pickled = folder / "pytorch_model.bin"
    weights.rename(pickled)
    with pytest.raises(BackendError, match="safetensors"):
        ClassifierBackend(folder)
    pickled.rename(weights)
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(BackendError, match="cannot be loaded"):
        ClassifierBackend(folder)


def test_a_model_without_a_trained_classifier_is_refused(tmp_path: Path) -> None:
    """transformers would fill in random weights and go on."""
    folder = _save(tmp_path, ["harmless", "toxic"], None)
    config = json.loads((folder / "config.json").read_text())
    BertModel.from_pretrained(folder).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackendError, match="no trained sequence classifier"):
        ClassifierBackend(folder)


def test_a_regression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="regression"):
        ClassifierBackend(_save(tmp_path, ["toxicity"], "regression"))


def test_backends_exclude_each_other() -> None:
    with pytest.raises(BackendError, match="one of them"):
        make_scorer(head="h", classifier="c")
    with pytest.raises(BackendError, match="give --classifier"):
        make_scorer(toxic_labels=["toxic"])
