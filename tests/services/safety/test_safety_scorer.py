"""The safety scorer with its real models."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from services.safety.measures import auc
from services.safety.scorer import AsyncSafetyScorer, SafetyChecks, SafetyScorer, make_scorer
from services.server.scorer_host import AsyncScorerHost, ScorerHost, check_scorer
from services.verdicts import ErrorReason, Item, ItemError, Verdict, check_outcome

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
    return make_scorer()


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


def test_a_verdict_depends_on_its_own_text_alone(scorer: SafetyScorer, comments: tuple[list[str], np.ndarray]) -> None:
    """Bit for bit, whatever was scored before and beside it, and by another process's scorer too."""
    texts = [*TEXTS, *comments[0][:60]]
    together = _score(scorer, texts)
    assert _score(scorer, texts) == together
    other = make_scorer()
    turned = [verdict for start in range(0, len(texts), 7) for verdict in _score(other, texts[::-1][start : start + 7])]
    assert turned[::-1] == together


def test_toxicity_ranks_real_comments(scorer: SafetyScorer, comments: tuple[list[str], np.ndarray]) -> None:
    """Area under the ROC curve: the share of pairs of a toxic and a harmless comment that are ranked right."""
    texts, toxic = comments[0][::3], comments[1][::3]
    values = np.array([verdict.components["safety/toxicity"] for verdict in _score(scorer, texts)])
    assert auc(toxic, values) >= 0.9


def test_masked_insults_count(scorer: SafetyScorer) -> None:
    plain, masked, harmless = (
        verdict.components["safety/toxicity"]
        for verdict in _score(scorer, ["You fucking idiot", "You f*cking id1ot", "You f*cking legend, I love it"])
    )
    assert masked == plain > 0.8 > harmless


def test_answers_to_problems_and_code_are_clean(scorer: SafetyScorer) -> None:
    texts = [
        "48 / 2 = 24 clips in May, so 48 + 24 = 72 altogether. #### 72",
        "def area(r):\n    return math.pi**(2) * r  # see https://example.org/2024-01-15/v1.2.3",
        "Kill the process with `kill -9 4242`, then execute the child and abort the master.",
        "The sum telescopes: 1 - 1/2004! < 1, hence \\boxed{1}.",
    ]
    assert [verdict.label for verdict in _score(scorer, texts)] == ["clean"] * 4


def test_it_may_be_remembered_and_says_what_its_verdicts_depend_on(scorer: SafetyScorer) -> None:
    check_scorer("safety", scorer)
    facts = ScorerHost(scorer).describe(None)
    assert facts["cacheable"] is True
    rules, backend, digest = facts["version"].split("-")
    assert backend == "embedded" and rules.isdecimal()
    assert [len(part) for part in digest.split(".")] == [16, 16]


class Waiting:
    """A backend that waits, as for a service: toxic is what is long; it has no word for what is longest."""

    name = "waiting"
    digest = "0"
    toxic_from = 0.5
    batch_size = 4
    timeout_seconds = 5.0
    cacheable = False
    concurrency = 8

    async def estimate(self, texts: Sequence[str]) -> list[float | ItemError]:
        await asyncio.sleep(0)
        late = ItemError(ErrorReason.UNAVAILABLE, "the other service is away")
        return [late if len(text) > 100 else min(len(text) / 20, 1.0) for text in texts]


def test_a_backend_may_wait_and_may_have_no_estimate() -> None:
    scorer = AsyncSafetyScorer(Waiting())
    check_scorer("safety", scorer)
    host = AsyncScorerHost(scorer)
    assert host.describe(None)["cacheable"] is False and host.concurrency == 8
    fields = {"prompt": "", "checks_json": "", "trace_id": "", "timeout_seconds": 5.0}
    texts = ["short", "rather a long answer", "x" * 101]
    answers = asyncio.run(host.score([{"id": str(n), "response": text, **fields} for n, text in enumerate(texts)]))
    assert [answer.get("label", answer.get("reason")) for answer in answers] == ["clean", "toxic", "UNAVAILABLE"]
    assert answers[0]["components"]["safety/toxicity"] == 0.25 and "components" not in answers[2]


def test_the_threshold_moves_the_label_alone() -> None:
    verdicts = [
        asyncio.run(AsyncSafetyScorer(Waiting(), toxic_from).score([Item("1", "", "ten letters")]))[0]
        for toxic_from in (0.55, math.nextafter(0.55, 1.0))
    ]
    assert [verdict.label for verdict in verdicts if isinstance(verdict, Verdict)] == ["toxic", "clean"]
    assert all(isinstance(verdict, Verdict) and verdict.components["safety/toxicity"] == 0.55 for verdict in verdicts)


def test_there_is_nothing_to_check_against() -> None:
    SafetyChecks.model_validate({})
    with pytest.raises(ValidationError):
        SafetyChecks.model_validate({"gold": "18"})
