"""The coherence scorer with its real model."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.coherence.scorer import CoherenceChecks, CoherenceScorer
from services.coherence.sentences import sentences
from services.verdicts import Item, Verdict, check_outcome

DATA = Path(os.environ.get("ASSAY_DATA") or Path(__file__).parents[4] / "shared" / "data")
PERSONA = {"persona": "I am a nurse from Kenya. I have two dogs."}
ITEMS = [
    Item("1", "How do I boil an egg?", "Put the egg in boiling water. Wait seven minutes. Cool it in cold water."),
    Item("2", "How do I boil an egg?", "The parliament met on Monday."),
    Item("3", "What do you do?", "My dogs keep me busy after my shifts at the hospital.", PERSONA),
    Item("4", "What do you do?", "I trade shares in London and hate animals.", PERSONA),
    Item("5", "What do you do?", "", PERSONA),
    Item("6", "Go on.", "", {}),
    Item("7", "", "Just one sentence.", {"history": ["Just one sentence."]}),
    Item("8", "Count.", "one two three " * 5_000),
    Item("9", "Odd", "\u202e\x00 \ud800?"),
]


@pytest.fixture(scope="module")
def scorer() -> CoherenceScorer:
    return CoherenceScorer()


def _score(scorer: CoherenceScorer, items: list[Item]) -> list[dict[str, float]]:
    components = []
    for outcome in scorer.score(items):
        checked = check_outcome(outcome, {component.name: component for component in scorer.components})
        assert isinstance(checked, Verdict)
        components.append({name.removeprefix("coherence/"): value for name, value in checked.components.items()})
    return components


def test_components_tell_apart_what_they_measure(scorer: CoherenceScorer) -> None:
    egg, parliament, nurse, trader, silent, empty, single, count, _ = _score(scorer, ITEMS)
    assert egg["relevance"] > 0.6 > 0.2 > parliament["relevance"]
    assert egg["flow"] > parliament["flow"]
    assert nurse["consistency"] > trader["consistency"] + 0.1
    assert silent == {"relevance": 0.0, "flow": 0.0, "repetition": 0.0, "consistency": 0.0}
    assert empty == {"relevance": 0.0, "flow": 0.0, "repetition": 0.0}
    assert single == {"relevance": 0.0, "flow": 1.0, "repetition": 0.0, "consistency": pytest.approx(1.0, abs=1e-6)}
    assert egg["repetition"] == 0.0
    assert count["repetition"] > 0.99
    assert "consistency" not in egg


def test_a_verdict_depends_on_its_own_item_alone(scorer: CoherenceScorer) -> None:
    together = _score(scorer, ITEMS)
    assert _score(scorer, ITEMS) == together
    for item, components in zip(ITEMS, together, strict=True):
        assert _score(scorer, [item])[0] == pytest.approx(components, rel=0, abs=1e-6)


def test_an_empty_response_is_labelled(scorer: CoherenceScorer) -> None:
    labels = [outcome.label for outcome in scorer.score(ITEMS[4:6]) if isinstance(outcome, Verdict)]
    assert labels == ["empty", "empty"]


@pytest.mark.parametrize("checks", [{"person": "x"}, {"persona": 5}, {"history": "x"}, {"history": ["x"] * 257}])
def test_checks_that_do_not_fit_are_refused(checks: dict) -> None:
    with pytest.raises(ValidationError):
        CoherenceChecks.model_validate(checks)


def test_ranks_real_solutions(scorer: CoherenceScorer) -> None:
    """A solution against another question's by relevance; one of four sentences or more against its shuffled self by flow."""
    path = DATA / "gsm8k_solutions.jsonl"
    if not path.exists():
        pytest.skip(f"gsm8k_solutions.jsonl is not in {DATA}; set ASSAY_DATA to where it lies")
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if row["expected"]][::20]
    shuffler = random.Random(0)
    own = _score(scorer, [Item("", row["prompt"], row["response"]) for row in rows])
    others = _score(scorer, [Item("", row["prompt"], rows[n - 7]["response"]) for n, row in enumerate(rows)])
    relevant = [mine["relevance"] > other["relevance"] for mine, other in zip(own, others, strict=True)]
    assert sum(relevant) / len(relevant) >= 0.98

    long = [(row, mine) for row, mine in zip(rows, own, strict=True) if len(sentences(row["response"])) >= 4]
    shuffled = []
    for row, _ in long:
        parts = sentences(row["response"])
        while (order := shuffler.sample(parts, len(parts))) == parts:
            pass
        shuffled.append(Item("", row["prompt"], "\n".join(order)))
    flows = [mine["flow"] > other["flow"] for (_, mine), other in zip(long, _score(scorer, shuffled), strict=True)]
    assert len(flows) > 20
    assert sum(flows) / len(flows) >= 0.85
