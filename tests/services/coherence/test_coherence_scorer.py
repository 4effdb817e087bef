"""The coherence scorer with its real model."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.coherence.scorer import CoherenceChecks, CoherenceScorer
from services.coherence.sentences import sentences
from services.verdicts import Item, Verdict, check_outcome

DATA = Path(os.environ.get("ASSAY_DATA") or Path(__file__).parents[4] / "shared" / "data")
PROSE = Path(__file__).parents[3] / "benchmarks" / "prose.jsonl"
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
    Item("10", "What do you do?", "I walk my three dogs.", PERSONA),
    Item("11", "Sort a list.", "```python\ndef f(x):\n    return sorted(x)\n```"),
    Item("12", "Wie ist das Wetter?", "Es regnet seit heute Morgen. Am Abend soll es aufklaren."),
    Item("13", "天气怎么样？", "今天下雨。明天会晴。"),
    Item("14", "Name fruit.", "- apples\n- pears\n- plums"),
]
PROBLEM = (
    "Carla has 12 red apples and 8 green pears in her kitchen. She gives 5 apples to her brother Tom and eats 2 pears."
    " How many pieces of fruit does Carla have left?"
)
SOLUTION = [
    "First, Carla keeps 12 - 5 = 7 apples.",
    "Then she keeps 8 - 2 = 6 pears.",
    "So she has 7 + 6 = 13 pieces of fruit left.",
    "A: 13",
]


@pytest.fixture(scope="module")
def scorer() -> CoherenceScorer:
    return CoherenceScorer()


def _verdicts(scorer: CoherenceScorer, items: list[Item]) -> list[Verdict]:
    verdicts = []
    for outcome in scorer.score(items):
        checked = check_outcome(outcome, {component.name: component for component in scorer.components})
        assert isinstance(checked, Verdict)
        verdicts.append(checked)
    return verdicts


def _score(scorer: CoherenceScorer, items: list[Item]) -> list[dict[str, float]]:
    return [
        {name.removeprefix("coherence/"): value for name, value in verdict.components.items()}
        for verdict in _verdicts(scorer, items)
    ]


def _answers(scorer: CoherenceScorer, *responses: str) -> list[dict[str, float]]:
    return _score(scorer, [Item(str(n), PROBLEM, response) for n, response in enumerate(responses)])


def test_components_tell_apart_what_they_measure(scorer: CoherenceScorer) -> None:
    egg, parliament, nurse, trader, silent, empty, single, count, _, crowd, *_ = _score(scorer, ITEMS)
    assert egg["relevance"] > 0.6 > 0.2 > parliament["relevance"]
    assert egg["flow"] > parliament["flow"]
    assert nurse["consistency"] > trader["consistency"] + 0.1
    assert crowd["consistency"] == 0.0
    nothing = dict.fromkeys(("relevance", "flow", "fluency", "repetition", "engagement"), 0.0)
    assert silent == {**nothing, "consistency": 0.0}
    assert empty == nothing
    assert (single["relevance"], single["flow"], single["consistency"]) == (0.0, 0.2, pytest.approx(1.0, abs=1e-6))
    assert egg["repetition"] == 0.0
    assert count["repetition"] > 0.99
    assert "consistency" not in egg


def test_a_verdict_depends_on_its_own_item_alone(scorer: CoherenceScorer) -> None:
    together = _verdicts(scorer, ITEMS)
    assert _verdicts(scorer, ITEMS) == together
    assert [_verdicts(scorer, [item])[0] for item in ITEMS] == together
    assert _verdicts(CoherenceScorer(), ITEMS[::-1])[::-1] == together
    assert all(value == round(value, 6) for verdict in together for value in verdict.components.values())


def test_verdicts_may_be_remembered_for_as_long_as_the_model_stays(scorer: CoherenceScorer) -> None:
    assert scorer.cacheable
    assert scorer.version.endswith(scorer.embedder.digest[:12])
    assert re.fullmatch("[0-9a-f]{64}", scorer.embedder.digest)


def test_the_evidence_says_what_counted(scorer: CoherenceScorer) -> None:
    plain, backwards, copy, crowd = _verdicts(
        scorer,
        [
            Item("1", PROBLEM, "\n".join(SOLUTION)),
            Item("2", PROBLEM, "\n".join(SOLUTION[::-1])),
            Item("3", PROBLEM, "\n".join([PROBLEM, *SOLUTION])),
            ITEMS[9],
        ],
    )
    assert plain.evidence == {"fluency": "estimate without a model"}
    assert "number used before it is worked out: 3" in backwards.evidence["disorder"]
    assert copy.evidence["said before"] == "3 of 7 sentences"
    assert crowd.evidence["contradicts"] == "sentences 1"


@pytest.mark.parametrize(
    "text",
    [
        "<<" * 10**5,
        "A: 1 " * 10**5,
        ". " * 10**5,
        "a'" * 10**5,
        "= 9" * 10**5,
        "9" * 10**6,
        "½²٣ " * 10**4,
        "😀" * 10**5,
    ],
)
def test_any_text_gets_a_verdict(scorer: CoherenceScorer, text: str) -> None:
    checks = {"persona": text, "history": [text] * 256}
    _score(scorer, [Item("1", text, text, checks), Item("2", "Who?", text), Item("3", text, "Yes.")])


def test_an_empty_response_is_labelled(scorer: CoherenceScorer) -> None:
    assert [verdict.label for verdict in _verdicts(scorer, ITEMS[3:6])] == ["scored", "empty", "empty"]


@pytest.mark.parametrize("checks", [{"person": "x"}, {"persona": 5}, {"history": "x"}, {"history": ["x"] * 257}])
def test_checks_that_do_not_fit_are_refused(checks: dict) -> None:
    with pytest.raises(ValidationError):
        CoherenceChecks.model_validate(checks)


def test_saying_the_prompt_earns_nothing(scorer: CoherenceScorer) -> None:
    own = "\n".join(SOLUTION)
    backwards = " ".join(sentences(PROBLEM)[::-1])
    words = " ".join(sorted(set(re.findall(r"\w+", PROBLEM))))
    honest, copy, turned, bag, before, after, appended = _answers(
        scorer, own, PROBLEM, backwards, words, f"{PROBLEM}\n{own}", f"{own}\n{PROBLEM}", f"{own}\n{words}"
    )
    assert copy["relevance"] == turned["relevance"] == 0.0
    assert max(copy["flow"], turned["flow"], bag["flow"], before["flow"], after["flow"]) < honest["flow"]
    assert bag["relevance"] < honest["relevance"] / 2
    assert before["relevance"] == after["relevance"] == honest["relevance"]
    assert appended["relevance"] < honest["relevance"] + 0.02
    assert appended["flow"] < honest["flow"]
    assert copy["engagement"] == turned["engagement"] == 0.0


def test_saying_things_again_earns_nothing(scorer: CoherenceScorer) -> None:
    own, first = "\n".join(SOLUTION), SOLUTION[0]
    near = "\n".join(f"{first[:-1]}{ending}" for ending in (".", " indeed.", " again.", " truly."))
    honest, twice, one, five, alike = _answers(scorer, own, f"{own}\n{own}", first, "\n".join([first] * 5), near)
    assert twice["relevance"] == honest["relevance"]
    assert twice["engagement"] < honest["engagement"]
    assert five["relevance"] == one["relevance"]
    assert max(twice["flow"], one["flow"], five["flow"], alike["flow"]) < honest["flow"]


def test_padding_and_signposts_earn_nothing(scorer: CoherenceScorer) -> None:
    own = "\n".join(SOLUTION)
    stock = "That is a great question. Let me think about it step by step. I hope this helps you."
    turned = "\n".join(
        f"{sign}, {part}" for sign, part in zip(("First", "Then", "Next", "Finally"), SOLUTION[::-1], strict=True)
    )
    honest, padded, empty_words, disguised = _answers(scorer, own, f"{own}\n{stock}", stock, turned)
    assert max(padded["flow"], empty_words["flow"], disguised["flow"]) < honest["flow"]
    assert max(padded["relevance"], empty_words["relevance"]) < honest["relevance"]


def test_words_in_any_order_are_not_fluent(scorer: CoherenceScorer) -> None:
    shuffler = random.Random(0)
    rows = [json.loads(line) for line in PROSE.read_text().splitlines()]
    items = [Item("", row["prompt"], row["response"]) for row in rows]
    for row in rows:
        for part in sentences(row["response"]):
            words = part.rstrip(".").split()
            row["response"] = row["response"].replace(part, " ".join(shuffler.sample(words, len(words))) + ".")
    mixed = [Item("", row["prompt"], row["response"]) for row in rows]
    better = [a["fluency"] > b["fluency"] for a, b in zip(_score(scorer, items), _score(scorer, mixed), strict=True)]
    assert sum(better) >= 19  # of 20


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
    for joint in ("\n", " "):
        shuffled = []
        for row, _ in long:
            parts = sentences(row["response"])
            while (order := shuffler.sample(parts, len(parts))) == parts:
                pass
            shuffled.append(Item("", row["prompt"], joint.join(order)))
        flows = [mine["flow"] > other["flow"] for (_, mine), other in zip(long, _score(scorer, shuffled), strict=True)]
        assert len(flows) > 20
        assert sum(flows) / len(flows) >= 0.95
