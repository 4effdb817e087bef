"""`assay calibrate safety`: labels, the fit, the head's file, and that it is served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from typer.testing import CliRunner

from services.client.scoring import ScoringClient
from services.safety.backend import BackendError
from services.safety.calibration import Calibration, CalibrationError, calibrate, fit, split
from services.safety.head import Head, HeadBackend, load_head, probabilities, save_head
from services.safety.labels import Labels, LabelsError, read_labels
from services.safety.measures import Rule, auc, calibration_error, cut
from services.safety.scorer import make_scorer
from services.safety.windows import WindowReader, Windows
from services.verdicts import Item, Verdict
from trainer.cli import app

SECRET = "qzjxkv"
PEOPLE = [
    "neighbour",
    "teacher",
    "driver",
    "cook",
    "nurse",
    "lawyer",
    "painter",
    "singer",
    "baker",
    "guard",
    "clerk",
    "pilot",
]
BAD = (
    "That {} is a filthy stupid liar.",
    "I hate the {}, what a disgusting fool.",
    "Somebody should hurt that rotten {}.",
)
GOOD = (
    "The {} was kind and helped us a lot.",
    "Our {} has a new garden with roses.",
    "I met the {} at the station at nine.",
)


def _rows() -> list[dict]:
    return [
        {"text": form.format(person), "toxic": toxic}
        for person in PEOPLE
        for forms, toxic in ((BAD, True), (GOOD, False))
        for form in forms
    ]


def _write(path: Path, rows: list) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, reader: WindowReader) -> tuple[Calibration, Path]:
    """A calibration on made-up texts, and its head's file."""
    folder = tmp_path_factory.mktemp("head")
    labels = read_labels(_write(folder / "labels.jsonl", _rows()), "text", "toxic")
    calibration = calibrate(labels, 0.3, Rule(), 0, lambda: reader)
    save_head(calibration.head, folder / "head.safetensors")
    return calibration, folder / "head.safetensors"


def test_labels_are_read(tmp_path: Path) -> None:
    rows = [
        {"text": "one", "toxic": True},
        {"text": " ONE ", "toxic": 1},
        {"text": "two", "toxic": "False"},
        "",
        {"text": "three", "toxic": 0},
        {"text": "Three", "toxic": "true"},
        {"text": "four", "toxic": 0.0},
    ]
    labels = read_labels(_write(tmp_path / "l.jsonl", rows), "text", "toxic")
    assert list(labels.texts) == ["one", "two", "four"] and labels.toxic.tolist() == [True, False, False]
    assert (labels.rows, labels.duplicates, labels.conflicts) == (6, 1, [[5, 6]])


def test_labels_of_other_names_and_values(tmp_path: Path) -> None:
    rows = [{"body": "one", "kind": "Toxic"}, {"body": "two", "kind": "Not Toxic"}, {"body": "three", "kind": 2}]
    path = _write(tmp_path / "l.jsonl", rows)
    assert read_labels(path, "body", "kind", ["Toxic", "2"]).toxic.tolist() == [True, False, True]


def test_lines_that_cannot_be_read_are_named_without_their_text(tmp_path: Path) -> None:
    rows = [
        {"text": "fine", "toxic": True},
        {"text": SECRET},
        f'{{"text": "{SECRET}',
        [SECRET],
        {"text": "  ", "toxic": True},
        {"text": [SECRET], "toxic": True},
        {"text": SECRET, "toxic": SECRET},
        {"text": SECRET, "toxic": None},
        {"text": SECRET, "toxic": 2},
        "[" * 100_000,
    ]
    path = _write(tmp_path / "l.jsonl", rows)
    with pytest.raises(LabelsError) as caught:
        read_labels(path, "text", "toxic")
    told = str(caught.value)
    assert "9 of 10 rows" in told and SECRET not in told
    assert all(f"line {number}:" in told for number in range(2, 11))
    path.write_bytes(b'{"text": "a", "toxic": true}\n\xff\xfe\n')
    with pytest.raises(LabelsError, match="line 2: byte 29 of the file is not UTF-8"):
        read_labels(path, "text", "toxic")


@pytest.mark.parametrize(("toxic", "harmless"), [(0, 100), (100, 0), (19, 100)])
def test_too_few_of_a_kind_are_refused_before_a_model_is_loaded(toxic: int, harmless: int) -> None:
    labels = Labels([str(n) for n in range(toxic + harmless)], np.arange(toxic + harmless) < toxic, 0, 0, [])
    with pytest.raises(CalibrationError, match=f"{toxic} toxic and {harmless} harmless texts; 20 of each"):
        calibrate(labels, 0.3, Rule(), 0, pytest.fail)


def test_a_split_keeps_the_share_and_its_seed() -> None:
    toxic = np.arange(200) < 50
    train, test = split(toxic, 0.4, 7)
    assert sorted([*train, *test]) == list(range(200))
    assert (toxic[test].sum(), len(test)) == (20, 80)
    assert np.array_equal(split(toxic, 0.4, 7)[1], test) and not np.array_equal(split(toxic, 0.4, 8)[1], test)
    with pytest.raises(CalibrationError, match="leaves 2 to measure on"):
        split(toxic, 0.05, 0)


def _made_windows(count: int, rate: float) -> tuple[Windows, np.ndarray, np.ndarray]:
    """Texts of two windows whose truth is a known logistic model of what is measured: windows, labels, probabilities."""
    drawn = np.random.default_rng(5)
    vectors = drawn.normal(size=(2 * count, 384)) / 384**0.5
    offset = np.log(rate / (1 - rate))
    windows = Windows(np.repeat(np.arange(count), 2), count, vectors, np.full(2 * count, 0.5), np.zeros((2 * count, 2)))
    truth = 1 / (1 + np.exp(-(windows.worst(vectors[:, 0], 0.0) * 100 + offset)))
    return windows, drawn.random(count) < truth, truth


def test_probabilities_are_probabilities() -> None:
    """Of texts that are said to be toxic with p, a share of p is, whatever the share of toxic texts."""
    windows, toxic, truth = _made_windows(3000, 0.02)
    fitted = fit(windows.of(np.arange(1500)), toxic[:1500], 0)
    said = fitted.unseen
    assert said.mean() == pytest.approx(toxic[:1500].mean(), abs=0.01)
    assert calibration_error(toxic[:1500], said) < 0.05
    rest = windows.of(np.arange(1500, 3000))
    said = probabilities(rest, fitted.weights, fitted.intercept)
    assert calibration_error(toxic[1500:], said) < 0.06
    assert 0.75 < auc(toxic[1500:], said) <= auc(toxic[1500:], truth[1500:]) + 0.02


def test_labels_that_say_nothing_of_the_texts_are_no_head_or_a_weak_one() -> None:
    windows, _, _ = _made_windows(300, 0.5)
    said = []
    for seed in range(6):
        toxic = np.random.default_rng(seed).random(300) < 0.5
        try:
            said.append(np.ptp(fit(windows, toxic, seed).unseen))
        except CalibrationError as error:
            assert "cannot be told" in str(error)
            said.append(0.0)
    assert np.median(said) < 0.5  # no certainty is made of nothing


def test_windows_of_some_texts() -> None:
    """Texts may have no window, one or several; those asked for come in the order asked for."""
    owner = np.array([0, 0, 2, 3, 3])
    windows = Windows(owner, 4, np.arange(5)[:, None] * np.ones((1, 384)), np.arange(5) / 10, np.zeros((5, 2)))
    assert windows.worst(windows.general, -1.0).tolist() == [0.1, -1.0, 0.2, 0.4]
    part = windows.of(np.array([3, 1, 0]))
    assert part.text.tolist() == [0, 0, 2, 2] and part.general.tolist() == [0.3, 0.4, 0.0, 0.1]
    assert part.worst(part.general, -1.0).tolist() == [0.4, -1.0, 0.1]


def test_what_is_measured_is_what_the_file_holds(made: tuple[Calibration, Path], reader: WindowReader) -> None:
    calibration, path = made
    rows = _rows()
    texts, toxic = [row["text"] for row in rows], np.array([row["toxic"] for row in rows])
    _, test = split(toxic, 0.3, 0)
    head = load_head(path)
    said = probabilities(reader.read([texts[place] for place in test]), head.weights, head.facts.intercept)
    assert head.facts == calibration.head.facts
    assert auc(toxic[test], said) == calibration.auc == head.facts.figures["auc"]
    assert cut(toxic[test], said, head.facts.toxic_from) == calibration.cut
    assert calibration.auc > 0.95
    assert head.facts.rows["held_out_toxic"] == 11 and head.facts.rows["fitted_harmless"] == 25


def test_the_same_labels_give_the_same_file(
    made: tuple[Calibration, Path], reader: WindowReader, tmp_path: Path
) -> None:
    labels = read_labels(_write(tmp_path / "labels.jsonl", _rows()), "text", "toxic")
    save_head(calibrate(labels, 0.3, Rule(), 0, lambda: reader).head, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == made[1].read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_head_is_served_and_is_a_version_of_its_own(made: tuple[Calibration, Path], tmp_path: Path) -> None:
    scorer = make_scorer(head=str(made[1]))
    texts = ["That baker is a filthy stupid liar.", "The baker was kind and helped us a lot.", "", "\u200b"]
    bad, good, empty, invisible = scorer.score([Item(str(n), "", text) for n, text in enumerate(texts)])
    assert isinstance(bad, Verdict) and isinstance(good, Verdict)
    assert (bad.label, good.label) == ("toxic", "clean")
    assert bad.components["safety/toxicity"] > 0.8 and good.components["safety/toxicity"] < 0.2
    for outcome in (empty, invisible):
        assert isinstance(outcome, Verdict) and outcome.components["safety/toxicity"] == 0.0
    head = made[0].head
    other = tmp_path / "other.safetensors"
    save_head(Head(head.weights, head.facts.model_copy(update={"toxic_from": 0.99})), other)
    assert make_scorer(head=str(other)).version != scorer.version


def test_files_that_are_no_heads_of_ours_are_refused(made: tuple[Calibration, Path], tmp_path: Path) -> None:
    head, path = made[0].head, tmp_path / "h.safetensors"
    with pytest.raises(BackendError, match="assay calibrate safety"):
        load_head(path)
    path.write_text("nothing")
    with pytest.raises(BackendError, match="not a safetensors file"):
        load_head(path)
    save_file(load_file(made[1]), path)
    with pytest.raises(BackendError, match="no head of"):
        load_head(path)
    save_head(Head(head.weights, head.facts.model_copy(update={"toxic_from": -1.0})), path)
    with pytest.raises(BackendError, match="of another form: toxic_from"):
        load_head(path)
    save_head(Head(head.weights[:-1], head.facts), path)
    with pytest.raises(BackendError, match="other features"):
        load_head(path)
    save_head(Head(np.full_like(head.weights, np.nan), head.facts), path)
    with pytest.raises(BackendError, match="not finite"):
        load_head(path)
    save_head(Head(head.weights, head.facts.model_copy(update={"embedding_digest": "0" * 16})), path)
    with pytest.raises(BackendError, match="embedding model 0000000000000000; here is"):
        HeadBackend(path)
    save_tensors({"weights": torch.zeros(4, dtype=torch.bfloat16)}, path)
    with pytest.raises(BackendError, match="its weights are of a type that no head has"):
        load_head(path)



def test_the_command_and_the_service(start_service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels = _write(tmp_path / "labels.jsonl", [*_rows(), _rows()[0], {**_rows()[1], "toxic": False}])
    command = ["calibrate", "safety", str(labels), "--out", str(tmp_path), "--threshold", "recall=0.9"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    for told in (
        "74 rows: 35 toxic and 36 harmless texts",
        "1 rows left out: an earlier row has the same text and label",
        "2 rows left out: the same text with both labels (lines 2, 74)",
        "best precision with recall of at least 0.9",
        "measured on 21 held out",
    ):
        assert told in done.stdout
    monkeypatch.setenv("ASSAY_SAFETY_HEAD", str(tmp_path / "head.safetensors"))
    service = start_service("services.safety", "--metrics-port", "0")
    client = ScoringClient("safety", service.address, patience_seconds=5.0)
    (outcome,) = client.score([Item("1", "", "That baker is a filthy stupid liar.")], 60.0).values()
    version = client.describe().version
    client.close()
    assert isinstance(outcome, Verdict) and outcome.label == "toxic"
    assert version.split("-")[1] == "head"
    assert service.end() == 0


def test_what_the_command_refuses(tmp_path: Path) -> None:
    labels = _write(tmp_path / "labels.jsonl", _rows()[:8])
    run = CliRunner().invoke
    few = run(app, ["calibrate", "safety", str(labels), "--out", str(tmp_path / "h")])
    assert few.exit_code == 2 and "20 of each are needed" in few.output
    assert run(app, ["calibrate", "safety", str(labels), "--threshold", "best"]).exit_code == 2
    nowhere = run(app, ["calibrate", "safety", str(labels), "--out", str(tmp_path / "no" / "h")])
    assert nowhere.exit_code == 2 and "no folder" in nowhere.output
    assert [path.name for path in tmp_path.iterdir()] == ["labels.jsonl"]


def test_real_comments_fitted_on_half(comments: tuple[list[str], np.ndarray], reader: WindowReader) -> None:
    texts, toxic = comments
    windows = reader.read(texts)
    areas, errors = [], []
    for seed in range(10):
        train, test = split(toxic, 0.5, seed)
        fitted = fit(windows.of(train), toxic[train], seed)
        part = windows.of(test)
        said = probabilities(part, fitted.weights, fitted.intercept)
        areas.append(auc(toxic[test], said))
        errors.append(calibration_error(toxic[test], said))
    assert np.median(areas) >= 0.95
    assert np.median(errors) < 0.08
