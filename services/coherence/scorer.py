"""The scorer of coherence: embeddings and word counts behind the contract of `services.verdicts`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from services.coherence import measures
from services.coherence.sentences import sentences
from services.embeddings import Embedder
from services.verdicts import Component, Item, Outcome, Verdict

HISTORY_TURNS = 32
"""Earlier turns that count, the last ones."""


class CoherenceChecks(BaseModel):
    """What else a response has to agree with; both may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    persona: str = Field(default="", description="who the author is said to be, in sentences: 'I have two dogs.'")
    history: list[str] = Field(
        default=[], max_length=256, description="what the author said in earlier turns, oldest first; the last 32 count"
    )


class CoherenceScorer:
    """Scores how a response hangs together. Everything is likeness of meaning: truth and logic are not measured.

    Looks at the first 256 tokens of the prompt and of each sentence, the first 64 sentences and 4,000 words. Labels:
    empty (no letter or digit in the response: every component is 0), scored.
    """

    name = "coherence"
    version = "1"
    components = (
        Component(
            "coherence/relevance",
            "0 to 1: cosine of prompt and response. Does not measure whether the prompt is answered; a response that"
            " repeats it scores high.",
        ),
        Component(
            "coherence/flow",
            "0 to 1: mean cosine of each sentence and the one before it, the first with the prompt. Tells an order from"
            " a shuffled one; does not measure whether a step follows. One sentence scores its cosine with the prompt,"
            " 1 without a prompt.",
        ),
        Component(
            "coherence/repetition",
            "0 to 1: share of word trigrams that stood in the response before. Paraphrases are not found; lists and"
            " code repeat by nature.",
            higher_is_better=False,
        ),
        Component(
            "coherence/consistency",
            "0 to 1, only where checks give `persona` or `history`: mean over sentences of the cosine with the nearest"
            " sentence of these. Measures staying with the subject, not contradiction: 'I have a dog' and 'I have no"
            " dog' are alike.",
        ),
    )
    checks = CoherenceChecks
    batch_size = 32
    timeout_seconds = 20.0

    def __init__(self) -> None:
        """Loads the model; takes some seconds and about 400 MB."""
        self._embedder = Embedder()
        self._embedder.embed(["warm up"])

    def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One verdict for each item; never an error."""
        prompts = [item.prompt.strip() for item in items]
        responses = [sentences(item.response) for item in items]
        facts = [_facts(CoherenceChecks.model_validate(item.checks)) for item in items]
        texts = list(dict.fromkeys([*prompts, *(text for group in (*responses, *facts) for text in group)]))
        vectors = dict(zip(texts, self._embedder.embed(texts), strict=True))
        return [
            _verdict(
                item.response, vectors[prompt] if prompt else None, _rows(vectors, response), _rows(vectors, known)
            )
            for item, prompt, response, known in zip(items, prompts, responses, facts, strict=True)
        ]


def _facts(checks: CoherenceChecks) -> list[str]:
    """Sentences of the persona and of the last turns."""
    return [*sentences(checks.persona), *(part for turn in checks.history[-HISTORY_TURNS:] for part in sentences(turn))]


def _rows(vectors: dict[str, np.ndarray], texts: Sequence[str]) -> np.ndarray:
    """The texts' vectors, shape (len(texts), dimensions)."""
    return np.array([vectors[text] for text in texts])


def _verdict(response: str, prompt: np.ndarray | None, parts: np.ndarray, facts: np.ndarray) -> Verdict:
    """prompt: shape (dimensions,), None where there is none. parts, facts: shape (sentences, dimensions)."""
    components = {
        "coherence/relevance": measures.relevance(prompt, parts) if prompt is not None else 0.0,
        "coherence/flow": measures.flow(prompt, parts),
        "coherence/repetition": measures.repetition(response),
    }
    if len(facts):
        components["coherence/consistency"] = measures.consistency(facts, parts)
    return Verdict(components, "scored" if len(parts) else "empty")
