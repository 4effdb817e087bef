"""Answers scoring requests: what is remembered at once, the rest from the workers; then weighs, counts and logs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from protos.gen.assay.v1 import scoring_pb2
from services.addresses import MAX_MESSAGE_BYTES
from services.server.flights import Flights, Key
from services.server.grading import Fields, Grader
from services.server.logs import get_logger
from services.server.metrics import ITEMS
from services.server.pool import WorkerPool
from services.server.scorer_host import MAX_ITEM_SECONDS
from services.server.verdict_cache import VerdictCache
from services.verdicts import Component, ErrorReason, ItemError, Outcome, parse_checks
from services.wire import MAX_ITEMS, ScorerDescription, outcome_to_wire, verdict_to_wire

MAX_ID_CHARACTERS = 256
MAX_OPTIONS_CHARACTERS = 65_536
"""They go to the workers with each item."""
MAX_LABELS = 50
"""Labels that are counted by name; a scorer with more of them has the rest counted as `other`."""


class Desk:
    """One scorer's."""

    def __init__(self, pool: WorkerPool, facts: Mapping[str, Any], cache: VerdictCache | None) -> None:
        """facts: what the host's `describe` returned. cache: None for a scorer that is not cacheable."""
        self.description = ScorerDescription(
            name=facts["name"],
            version=facts["version"],
            components=tuple(Component(**component) for component in facts["components"]),
            checks_schema=facts["checks_schema"],
            max_items=MAX_ITEMS,
            max_message_bytes=MAX_MESSAGE_BYTES,
            cacheable=facts["cacheable"],
        )
        self._timeout_seconds = float(facts["timeout_seconds"])
        self._cache = cache
        self._flights = Flights(pool, Grader(pool, facts["batch_size"]), self._remember)
        self._labels: set[str] = set()

    def complaint(self, request: scoring_pb2.ScoreBatchRequest) -> str:
        """What is wrong with the request as a whole; empty where nothing is."""
        if not 1 <= len(request.items) <= MAX_ITEMS:
            return f"items: there are {len(request.items)}; a request holds 1 to {MAX_ITEMS}"
        seen: set[str] = set()
        for place, item in enumerate(request.items):
            if not 1 <= len(item.id) <= MAX_ID_CHARACTERS:
                return f"items[{place}].id has {len(item.id)} characters; it must have 1 to {MAX_ID_CHARACTERS}"
            if item.id in seen:
                return (
                    f"items[{place}].id is {item.id!r}, which an earlier item has; ids must be unique within a request"
                )
            seen.add(item.id)
        return self._wrong_options(request.options_json) or self._wrong_weights(request.weights)

    def _wrong_options(self, options_json: str) -> str:
        if not options_json:
            return ""
        if len(options_json) > MAX_OPTIONS_CHARACTERS:
            return (
                f"options_json has {len(options_json)} characters; it may have {MAX_OPTIONS_CHARACTERS}. What is larger"
                " belongs into the checks of the items"
            )
        try:
            options = parse_checks(options_json)
        except ValueError as error:
            return str(error).replace("checks_json", "options_json")
        schema = self.description.checks_schema
        known = schema.get("properties", {})
        unknown = sorted(options.keys() - known.keys()) if schema.get("additionalProperties") is False else []
        return f"options_json: unknown key {unknown[0][:100]!r}; known: {', '.join(known) or 'none'}" if unknown else ""

    def _wrong_weights(self, weights: Mapping[str, float]) -> str:
        for name, weight in weights.items():
            known = [component.name for component in self.description.components]
            if name not in known:
                return f"weights: unknown component {name[:100]!r}; known: {', '.join(known)}"
            if not math.isfinite(weight):
                return f"weights: {name!r} is {weight}; it must be a finite number"
        return ""

    async def answer(
        self, request: scoring_pb2.ScoreBatchRequest, seconds: float | None
    ) -> scoring_pb2.ScoreBatchResponse:
        """The answer to a request without a complaint; items that have no verdict after `seconds` get DEADLINE.

        Raises PoolFullError and PoolDownError where something has to be graded that the pool does not take in.
        """
        started = time.monotonic()
        items = request.items
        keys: Sequence[bytes] = ()
        known: Mapping[bytes, bytes] = {}
        if self._cache is not None:
            keys = [self._cache.key(item, request.options_json) for item in items]
            known = {} if request.fresh else await self._cache.get(keys)
        if seconds is not None:
            seconds = max(0.0, seconds - (time.monotonic() - started))  # the cache may have taken its time
        outcomes = await self._grade(items, request.options_json, keys, known, seconds)
        response = scoring_pb2.ScoreBatchResponse()
        counts: Counter[tuple[str, str]] = Counter()
        log = get_logger().bind()
        for place, item in enumerate(items):
            result = response.results.add(id=item.id)
            remembered = known.get(keys[place]) if known else None
            if remembered is not None:
                result.verdict.MergeFromString(remembered)
                label = result.verdict.label
                counts["scored", label] += 1
                log.debug("item remembered", label=label, trace_id=item.trace_id or item.id, item=item.id)
            else:
                outcome = outcomes[item.id]
                result.CopyFrom(outcome_to_wire(item.id, outcome))
                counts[_log(log, item, outcome)] += 1
            if request.weights:
                _weigh(result.verdict, request.weights)
        self._count(counts)
        return response

    async def _grade(
        self,
        items: Sequence[scoring_pb2.ScoreItem],
        options_json: str,
        keys: Sequence[bytes],
        known: Mapping[bytes, bytes],
        seconds: float | None,
    ) -> dict[str, Outcome]:
        """Outcomes by id of the items that are not known."""
        outcomes: dict[str, Outcome] = {}
        fields: list[Fields] = []
        flight_keys: list[Key] = []
        for place, item in enumerate(items):
            if known and keys[place] in known:
                continue
            limit = item.timeout_ms / 1000 or self._timeout_seconds
            if limit > MAX_ITEM_SECONDS:
                complaint = f"timeout_ms is {item.timeout_ms}; it must be at most {MAX_ITEM_SECONDS * 1000:.0f}"
                outcomes[item.id] = ItemError(ErrorReason.INVALID_ITEM, complaint)
                continue
            flight_keys.append((keys[place], limit) if keys else None)
            fields.append(
                {
                    "id": item.id,
                    "prompt": item.prompt,
                    "response": item.response,
                    "checks_json": item.checks_json,
                    "options_json": options_json,
                    "trace_id": item.trace_id or item.id,
                    "timeout_seconds": limit,
                }
            )
        if fields:
            graded = await self._flights.score(fields, flight_keys, seconds)
            outcomes.update((each["id"], outcome) for each, outcome in zip(fields, graded, strict=True))
        return outcomes

    def _remember(self, key: bytes, outcome: Outcome) -> None:
        if self._cache is not None and not isinstance(outcome, ItemError) and outcome.repeatable:
            self._cache.put(key, verdict_to_wire(outcome).SerializeToString(deterministic=True))

    def _count(self, counts: Mapping[tuple[str, str], int]) -> None:
        for (outcome, label), count in counts.items():
            if outcome == "scored":
                if len(self._labels) < MAX_LABELS:
                    self._labels.add(label)
                label = label if label in self._labels else "other"
            ITEMS.labels(outcome, label).inc(count)


def refused(items: Sequence[scoring_pb2.ScoreItem], why: str) -> scoring_pb2.ScoreBatchResponse:
    """An answer that says UNAVAILABLE of every item."""
    error = ItemError(ErrorReason.UNAVAILABLE, why)
    ITEMS.labels("error", error.reason.value).inc(len(items))
    return scoring_pb2.ScoreBatchResponse(results=[outcome_to_wire(item.id, error) for item in items])


def _weigh(verdict: scoring_pb2.Verdict, weights: Mapping[str, float]) -> None:
    components = verdict.components
    if all(name in components for name in weights):
        total = math.fsum(weight * components[name] for name, weight in sorted(weights.items()))
        if math.isfinite(total):
            verdict.total = total


def _log(log: Any, item: scoring_pb2.ScoreItem, outcome: Outcome) -> tuple[str, str]:
    """Logs an item that was graded, and returns what it counts as."""
    names = {"trace_id": item.trace_id or item.id, "item": item.id}
    if isinstance(outcome, ItemError):
        log.warning("item not scored", reason=outcome.reason.value, message=outcome.message, **names)
        return "error", outcome.reason.value
    log.info("item scored", label=outcome.label, **names)
    return "scored", outcome.label
