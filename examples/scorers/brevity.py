"""A scorer of your own in one file: rewards answers that are short and, where you give it, on topic.

Serve it, from the directory that holds your package:

    python -m services.scorer --scorer examples.scorers.brevity:Brevity --scorer-kwargs '{"words": 40}'

and name its address in `ASSAY_SCORER_ADDRESS`. Batching, worker processes, time limits, health and metrics come with
the server; a scorer needs only the attributes below. To make yours:

1.  Declare each number you return as a `Component`: a name `domain/number`, what it measures, its range.
2.  Describe what an item must bring along in a pydantic model. Items that do not fit it never reach `score`.
3.  Return one `Verdict` for each item, in order; `ItemError` where an item cannot be judged through no fault of the
    response. Never return a number that stands for "I do not know".

`score` may block, compute and crash: it runs in a process of its own, which is killed when it outstays its time. One that
mostly waits is better an `async def score`, with one more attribute, `concurrency`: see `services.verdicts.AsyncScorer`.
Constructor arguments are plain JSON values; heavy things, such as models, are loaded in the constructor, once a worker.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from services.verdicts import Component, Item, Outcome, Verdict


class BrevityChecks(BaseModel):
    """What an item brings along."""

    model_config = ConfigDict(extra="forbid")

    keywords: list[str] = Field(default_factory=list, description="Words of which the answer should mention each.")


class Brevity:
    """Scores how short a response is and how many of the item's keywords it mentions."""

    name = "brevity"
    version = "1"
    components = (
        Component("brevity/short", "1 up to the word limit, falling to 0 at twice the limit. Blind to content."),
        Component("brevity/keywords", "Share of the item's keywords in the response; 1 where it names none."),
    )
    checks = BrevityChecks
    batch_size = 64
    timeout_seconds = 2.0
    cacheable = True

    def __init__(self, words: int = 60) -> None:
        if words < 1:
            raise ValueError(f"words is {words}; it must be at least 1")
        self._words = words

    def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One verdict for each item; the label is `short` or `long`."""
        return [self._verdict(item) for item in items]

    def _verdict(self, item: Item) -> Verdict:
        count = len(item.response.split())
        keywords = BrevityChecks.model_validate(item.checks).keywords
        found = [word for word in keywords if word.casefold() in item.response.casefold()]
        return Verdict(
            components={
                "brevity/short": min(1.0, max(0.0, 2.0 - count / self._words)),
                "brevity/keywords": len(found) / len(keywords) if keywords else 1.0,
            },
            label="short" if count <= self._words else "long",
            evidence={"words": str(count), "found": ", ".join(found)},
        )
