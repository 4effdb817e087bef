"""The scorer of coherence: embeddings and word counts behind the contract of `services.verdicts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from services.coherence import measures, style
from services.coherence.components import COMPONENTS
from services.coherence.facts import contradicts
from services.coherence.order import disorder
from services.coherence.sentences import MAX_CHARACTERS, sentences
from services.coherence.words import Words, overlap, read
from services.embeddings import Embedder
from services.verdicts import Item, ItemError, Outcome, Verdict

if TYPE_CHECKING:
    from services.coherence.reference import Likelihood

HISTORY_TURNS = 32
"""Earlier turns that count, the last ones."""
MAX_FACTS = 64
"""Sentences of the persona, the first ones, and of the turns, the last ones."""
WINDOW = 1000
"""Characters of a prompt that one vector stands for; of a longer prompt the first and the last such window count."""
DECIMALS = 6
"""Of every component, so that what a batch's make-up changes in a vector's last bits changes no verdict."""


class CoherenceChecks(BaseModel):
    """What else a response has to agree with; both may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    persona: str = Field(default="", description="who the author is said to be, in sentences: 'I have two dogs.'")
    history: list[str] = Field(
        default=[], max_length=256, description="what the author said in earlier turns, oldest first; the last 32 count"
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """What an item's texts were cut into."""

    item: Item
    windows: list[str]
    """Of the prompt; empty for none."""
    parts: list[str]
    facts: list[str]


class CoherenceScorer:
    """Scores how a response hangs together: likeness of meaning, words and their order. Truth and logic are not measured.

    Looks at 64 sentences of 20,000 characters of the response, 256 tokens of each, at the prompt's first and last 1,000
    characters for meaning and its first 20,000 for words. Labels: empty (no letter or digit in the response: every
    component is 0), scored.
    """

    name = "coherence"
    components = COMPONENTS
    checks = CoherenceChecks
    batch_size = 32
    timeout_seconds = 20.0

    def __init__(self, rollout_address: str = "", reference_policy: str = "reference") -> None:
        """Loads the model; takes some seconds and about 400 MB.

        rollout_address: `host:port` of a rollout service; fluency is then taken from the log-probabilities of
            `reference_policy`, published there. Empty: the estimate without a model.
        """
        self.embedder = Embedder()
        self.embedder.embed(["warm up"])
        self.version = f"2-{self.embedder.digest[:12]}"
        self._reference = None
        self.cacheable = not rollout_address
        """Under a reference policy no verdict may be remembered: other weights may be published under its name."""
        if rollout_address:
            from services.coherence.reference import Reference

            self._reference = Reference(rollout_address, reference_policy)

    def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One verdict for each item; an error only where a reference policy was asked for and does not answer."""
        readings = [_reading(item) for item in items]
        texts = list(dict.fromkeys(text for each in readings for text in (*each.windows, *each.parts, *each.facts)))
        vectors = dict(zip(texts, self.embedder.embed(texts), strict=True))
        words = {text: read(text) for text in texts}
        likely = self._likelihoods(readings)
        return [_outcome(each, vectors, words, likely.get(place)) for place, each in enumerate(readings)]

    def _likelihoods(self, readings: Sequence[Reading]) -> dict[int, Likelihood | ItemError]:
        """By the places of the readings that are not empty; none without a reference policy."""
        if self._reference is None:
            return {}
        places = [place for place, each in enumerate(readings) if each.parts]
        return dict(zip(places, self._reference.likelihoods([readings[place].item for place in places]), strict=True))


def _reading(item: Item) -> Reading:
    prompt = item.prompt.strip()
    windows = list(dict.fromkeys((prompt[:WINDOW], prompt[-WINDOW:]))) if prompt else []
    return Reading(item, windows, sentences(item.response), _facts(CoherenceChecks.model_validate(item.checks)))


def _facts(checks: CoherenceChecks) -> list[str]:
    """Sentences of the persona and of the last turns."""
    turns = [part for turn in checks.history[-HISTORY_TURNS:] for part in sentences(turn)]
    return [*sentences(checks.persona)[:MAX_FACTS], *turns[-MAX_FACTS:]]


def _outcome(
    reading: Reading,
    vectors: Mapping[str, np.ndarray],
    words: Mapping[str, Words],
    likely: Likelihood | ItemError | None,
) -> Outcome:
    if isinstance(likely, ItemError):
        return likely
    item = reading.item
    prompt = read(item.prompt[:MAX_CHARACTERS])
    asked = [read(text) for text in sentences(item.prompt)] or [prompt]
    parts = [words[text] for text in reading.parts]
    rows, windows = _rows(vectors, reading.parts), _rows(vectors, reading.windows) if reading.windows else None
    judged = measures.own(prompt, asked, parts)
    own = read("\n".join(reading.parts[place] for place in judged))
    signs = disorder(prompt, reading.parts, parts)
    components = {
        "coherence/relevance": 0.0 if windows is None else measures.relevance(windows, rows[judged], prompt, own),
        "coherence/flow": measures.flow(windows, rows, prompt, asked, parts, sum(signs.values())),
        "coherence/fluency": likely.fluency if likely else style.fluency(item.response[:MAX_CHARACTERS], parts),
        "coherence/repetition": measures.repetition([token for part in parts for token in part.tokens]),
        "coherence/engagement": style.engagement(prompt, parts, item.response[:MAX_CHARACTERS]),
    }
    evidence = {"fluency": likely.described} if likely else {"fluency": "estimate without a model"} if parts else {}
    if signs:
        evidence["disorder"] = "; ".join(f"{sign}: {count}" for sign, count in signs.items())
    if left_out := len(parts) - len(judged):
        evidence["said before"] = f"{left_out} of {len(parts)} sentences"
    if reading.facts:
        facts = [words[text] for text in reading.facts]
        components["coherence/consistency"], against = _consistency(rows, parts, _rows(vectors, reading.facts), facts)
        if against:
            evidence["contradicts"] = f"sentences {', '.join(str(place + 1) for place in against)}"
    rounded = {name: round(value, DECIMALS) for name, value in components.items()}
    return Verdict(rounded, "scored" if parts else "empty", evidence)


def _consistency(
    rows: np.ndarray, parts: Sequence[Words], fact_rows: np.ndarray, facts: Sequence[Words]
) -> tuple[float, list[int]]:
    """The measure, and the places of sentences that contradict a fact."""
    if not parts:
        return 0.0, []
    cosines = rows @ fact_rows.T
    likenesses = np.array(
        [
            [measures.likeness(cosine, overlap(part, fact)) for cosine, fact in zip(line, facts, strict=True)]
            for line, part in zip(cosines, parts, strict=True)
        ]
    )
    against = [
        any(contradicts(fact, part, cosine) for fact, cosine in zip(facts, line, strict=True))
        for line, part in zip(cosines, parts, strict=True)
    ]
    return measures.consistency(likenesses, against), [place for place, bad in enumerate(against) if bad]


def _rows(vectors: Mapping[str, np.ndarray], texts: Sequence[str]) -> np.ndarray:
    """The texts' vectors, shape (len(texts), dimensions)."""
    return np.array([vectors[text] for text in texts])
