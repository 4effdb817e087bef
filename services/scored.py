"""What several scorers say of an item, put together: its components, and what is missing and why."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.verdicts import Item, ItemError, Outcome


@dataclass(frozen=True, slots=True)
class Scored:
    """What the scorers say of one item. A scorer is in `missing` or has its label in `labels`, never both."""

    components: Mapping[str, float]
    """Full component name (`math/correctness`) to value."""
    missing: Mapping[str, str]
    """Scorer name to the `ErrorReason` why it gave no verdict."""
    labels: Mapping[str, str]
    """Scorer name to the label of its verdict."""
    evidence: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)
    """Scorer name to the evidence of its verdict. For a person."""
    messages: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Scorer name to what its error says. For a person."""

    def total(self, weights: Mapping[str, float]) -> float | None:
        """The sum of the components by their weights; None where one of them is missing, or the sum is not finite."""
        if not all(name in self.components for name in weights):
            return None
        total = math.fsum(weight * self.components[name] for name, weight in weights.items())
        return total if math.isfinite(total) else None


def content(item: Item) -> str:
    """What an outcome depends on: everything but the names of the item. One that JSON cannot hold is equal to no other."""
    parts = [item.prompt, item.response, item.checks, item.timeout_seconds]
    try:
        # Lone surrogates stay what they are: escaped, two of them are the same as the character that they make.
        return json.dumps(parts, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"item {item.id}"


def originals(items: Sequence[Item]) -> list[Item]:
    """For each item the first of its content. The samples of one prompt are often alike: what is equal is judged once."""
    found: dict[str, Item] = {}
    return [found.setdefault(content(item), item) for item in items]


def with_known_checks(items: Sequence[Item], known: frozenset[str]) -> list[Item]:
    """The items with the checks that a scorer knows."""
    return [
        item
        if item.checks.keys() <= known
        else replace(item, checks={k: v for k, v in item.checks.items() if k in known})
        for item in items
    ]


def may_pass(outcome: Outcome) -> bool:
    """Whether another try may bring a verdict."""
    return isinstance(outcome, ItemError) and outcome.reason.may_retry


def merge(answers: Mapping[str, Mapping[str, Outcome]]) -> dict[str, Scored]:
    """Outcomes by scorer and item id, turned round. Raises ValueError where two scorers return one component."""
    ids = dict.fromkeys(item_id for outcomes in answers.values() for item_id in outcomes)
    parts = {item_id: ({}, {}, {}, {}, {}) for item_id in ids}
    for scorer, outcomes in answers.items():
        for item_id, outcome in outcomes.items():
            components, missing, labels, evidence, messages = parts[item_id]
            if isinstance(outcome, ItemError):
                missing[scorer], messages[scorer] = outcome.reason.value, outcome.message
                continue
            twice = components.keys() & outcome.components.keys()
            if twice:
                raise ValueError(f"component {min(twice)!r} is returned by two scorers, {scorer!r} being one")
            components.update(outcome.components)
            labels[scorer], evidence[scorer] = outcome.label, outcome.evidence
    return {item_id: Scored(*parts[item_id]) for item_id in ids}
