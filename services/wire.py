"""Scoring on the wire: protobuf messages to plain types and back, for the servicer and the client alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protos.gen.assay.v1 import scoring_pb2
from services.verdicts import Component, ErrorReason, Item, ItemError, Outcome, Verdict

MAX_ITEMS = 512
"""Largest number of items in one ScoreBatch."""

_REASONS = {number: ErrorReason(name) for name, number in scoring_pb2.ItemError.Reason.items() if number}


@dataclass(frozen=True, slots=True)
class ScorerDescription:
    """What a scoring service says of itself."""

    name: str
    version: str
    """Changes whenever the same item could get another verdict."""
    components: tuple[Component, ...]
    checks_schema: Mapping[str, Any]
    """JSON schema of `Item.checks`."""
    max_items: int
    max_message_bytes: int
    cacheable: bool
    """Whether equal items get equal verdicts, which the service remembers."""

    @property
    def check_keys(self) -> frozenset[str]:
        """The keys of `Item.checks` that the scorer knows."""
        return frozenset(self.checks_schema.get("properties", {}))


_ENCODER = json.JSONEncoder(allow_nan=False)


def to_json(name: str, mapping: Mapping[str, Any]) -> str:
    """The mapping as JSON, '' where it is empty. Raises ValueError, which names it, where JSON cannot hold it."""
    try:
        return _ENCODER.encode(mapping) if mapping else ""
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON ({type(error).__name__})") from error


def item_to_wire(item: Item) -> scoring_pb2.ScoreItem:
    """Raises ValueError, which names the field, where the item cannot be written as a message."""
    checks_json = to_json("checks", item.checks)
    if not isinstance(item.prompt, str) or not isinstance(item.response, str):
        raise ValueError("prompt and response must be strings")
    try:
        return scoring_pb2.ScoreItem(
            id=item.id,
            trace_id=item.trace_id,
            prompt=item.prompt,
            response=item.response,
            checks_json=checks_json,
            timeout_ms=math.ceil(1000 * item.timeout_seconds),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            "id, trace_id, prompt and response must be strings without lone surrogates, timeout_seconds 0 or more"
        ) from error


def outcome_to_wire(item_id: str, outcome: Outcome) -> scoring_pb2.ItemResult:
    """The answer for one item."""
    if isinstance(outcome, ItemError):
        error = scoring_pb2.ItemError(reason=outcome.reason.value, message=outcome.message)
        return scoring_pb2.ItemResult(id=item_id, error=error)
    return scoring_pb2.ItemResult(id=item_id, verdict=verdict_to_wire(outcome))


def verdict_to_wire(verdict: Verdict) -> scoring_pb2.Verdict:
    """A verdict without a total."""
    return scoring_pb2.Verdict(components=verdict.components, label=verdict.label, evidence=verdict.evidence)


def outcome_from_wire(result: scoring_pb2.ItemResult) -> Outcome:
    """The answer in plain types. A result without an outcome, or for a reason unknown here, is SCORER_FAILED."""
    match result.WhichOneof("outcome"):
        case "verdict":
            verdict = result.verdict
            total = verdict.total if verdict.HasField("total") else None
            return Verdict(dict(verdict.components), verdict.label, dict(verdict.evidence), total=total)
        case "error":
            reason = _REASONS.get(result.error.reason, ErrorReason.SCORER_FAILED)
            return ItemError(reason, result.error.message)
    return ItemError(ErrorReason.SCORER_FAILED, "the service sent a result without an outcome")


def description_to_wire(description: ScorerDescription) -> scoring_pb2.Description:
    """The answer of Describe."""
    components = [
        scoring_pb2.ComponentDescription(
            name=one.name, doc=one.doc, low=one.low, high=one.high, higher_is_better=one.higher_is_better
        )
        for one in description.components
    ]
    return scoring_pb2.Description(
        name=description.name,
        version=description.version,
        components=components,
        checks_schema=json.dumps(description.checks_schema),
        max_items=description.max_items,
        max_message_bytes=description.max_message_bytes,
        cacheable=description.cacheable,
    )


def description_from_wire(description: scoring_pb2.Description) -> ScorerDescription:
    """The answer of Describe in plain types."""
    components = tuple(
        Component(one.name, one.doc, one.low, one.high, one.higher_is_better) for one in description.components
    )
    return ScorerDescription(
        name=description.name,
        version=description.version,
        components=components,
        checks_schema=json.loads(description.checks_schema or "{}"),
        max_items=description.max_items,
        max_message_bytes=description.max_message_bytes,
        cacheable=description.cacheable,
    )
