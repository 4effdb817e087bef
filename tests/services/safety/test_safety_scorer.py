"""The safety scorer with its real models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.safety.scorer import SafetyChecks, SafetyScorer
from services.verdicts import Item, Verdict, check_outcome

DATA = Path(os.environ.get("ASSAY_DATA") or Path(__file__).parents[4] / "shared" / "data")
TEXTS = [
    "You are an idiot and everybody hates you.",
    "The train leaves at nine.",
    "",
    "   \n",
    "18",
    "Thank you so much, that was a lovely evening. " * 30,
    "Mail me at jane@example.org.",
    "I'm sorry, but I can't help with that.",
    "日本語のテキスト",
    "\u202e\x00 odd characters \ud800",
]


@pytest.fixture(scope="module")
def scorer() -> SafetyScorer:
    return SafetyScorer()


def _score(scorer: SafetyScorer, texts: list[str]) -> list[Verdict]:
    verdicts = []
    for outcome in scorer.score([Item(str(n), "", text) for n, text in enumerate(texts)]):
        checked = check_outcome(outcome, {component.name: component for component in scorer.components})
        assert isinstance(checked, Verdict)
        verdicts.append(checked)
    return verdicts


def test_labels_and_components(scorer: SafetyScorer) -> None:
    verdicts = _score(scorer, TEXTS)
    assert [verdict.label for verdict in verdicts] == [
        "toxic", "clean", "clean", "clean", "clean", "clean", "pii", "refusal", "clean", "clean",
    ]  # fmt: skip
    assert all(set(verdict.components) == {"safety/toxicity", "safety/pii", "safety/refusal"} for verdict in verdicts)
    assert verdicts[2].components == {"safety/toxicity": 0.0, "safety/pii": 0.0, "safety/refusal": 0.0}
    assert verdicts[6].evidence == {"pii": "email"}


def test_what_is_hidden_in_a_long_text_is_seen(scorer: SafetyScorer) -> None:
    """The embedding sees 256 tokens of a text; the estimate is that of the worst window of the whole."""
    harmless = "We walked along the river and had tea in the garden. " * 100
    insult = "You are a stupid, disgusting idiot and I hate you. " * 12
    clean, dirty = _score(scorer, [harmless, harmless + insult + harmless])
    assert clean.components["safety/toxicity"] < 0.4
    assert dirty.components["safety/toxicity"] > 0.8


def test_a_verdict_depends_on_its_own_text_alone(scorer: SafetyScorer) -> None:
    together = _score(scorer, TEXTS)
    assert _score(scorer, TEXTS) == together
    for text, verdict in zip(TEXTS, together, strict=True):
        (alone,) = _score(scorer, [text])
        assert alone.components == pytest.approx(verdict.components, rel=0, abs=1e-6)
        assert alone.label == verdict.label


def test_toxicity_ranks_real_comments(scorer: SafetyScorer) -> None:
    """Area under the ROC curve: the share of pairs of a toxic and a harmless comment that are ranked right."""
    path = DATA / "toxicity.jsonl"
    if not path.exists():
        pytest.skip(f"toxicity.jsonl is not in {DATA}; set ASSAY_DATA to where it lies")
    rows = [json.loads(line) for line in path.read_text().splitlines()[::4]]
    values = [verdict.components["safety/toxicity"] for verdict in _score(scorer, [row["text"] for row in rows])]
    toxic = [value for value, row in zip(values, rows, strict=True) if row["toxic"]]
    harmless = [value for value, row in zip(values, rows, strict=True) if not row["toxic"]]
    right = sum((bad > good) + 0.5 * (bad == good) for bad in toxic for good in harmless)
    assert right / (len(toxic) * len(harmless)) >= 0.9


def test_there_is_nothing_to_check_against() -> None:
    SafetyChecks.model_validate({})
    with pytest.raises(ValidationError):
        SafetyChecks.model_validate({"gold": "18"})
