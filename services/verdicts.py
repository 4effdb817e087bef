"""Items to score and what comes back: a verdict or an error, never a number that stands for an error.

These are the types that scorers, clients and the trainer share. What the policy can cause (a wrong answer, a program
that runs out of time) is a `Verdict`; what it cannot (a dead worker, a bad test case) is an `ItemError`, which has a
reason and no number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError


@dataclass(frozen=True, slots=True)
class Item:
    """One response to score. `checks` is what to check it against; each scorer has a pydantic model of its own."""

    id: str
    prompt: str
    response: str
    checks: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str = ""
    timeout_seconds: float = 0.0
    """Longest time in a worker; 0 means the service's default."""


class ErrorReason(StrEnum):
    """Why an item has no score; the names are those of `ItemError.Reason` in the protocol."""

    INVALID_ITEM = "INVALID_ITEM"
    DEADLINE = "DEADLINE"
    WORKER_DIED = "WORKER_DIED"
    SCORER_FAILED = "SCORER_FAILED"
    UNAVAILABLE = "UNAVAILABLE"

    @property
    def may_retry(self) -> bool:
        """Whether the same item may get a verdict on another try."""
        return self in (ErrorReason.DEADLINE, ErrorReason.WORKER_DIED, ErrorReason.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score. `components` maps full names (`math/correctness`) to finite values in the component's range."""

    components: Mapping[str, float]
    label: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """For a person; never shown to the policy."""
    repeatable: bool = True
    """Whether the same item would get the same verdict at another time. False for what load or chance had a part in, such
    as a time-out; it is then never remembered."""
    total: float | None = None
    """Sum of the components by the request's weights; made by the service, not by scorers. None where the request has no
    weights, or the verdict lacks a component that has one."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why an item has no score. `message` names the field at fault, never its content."""

    reason: ErrorReason
    message: str


Outcome = Verdict | ItemError


@dataclass(frozen=True, slots=True)
class Component:
    """A number that a scorer's verdicts hold."""

    name: str
    doc: str
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True


class ScorerFacts(Protocol):
    """What scorers of both kinds say of themselves.

    One attribute more may be there: `cacheable = True` says that equal items get equal verdicts for as long as `version`
    and the constructor's arguments stay the same. The service then remembers them.
    """

    name: str
    version: str
    components: Sequence[Component]
    checks: type[BaseModel]
    """Model of `Item.checks`; items that do not fit it are refused before they reach `score`."""
    batch_size: int
    timeout_seconds: float
    """Default time for one item in a worker; a chunk of them has no more, so leave room for a full one."""


class Scorer(ScorerFacts, Protocol):
    """What a reward author writes; any object with these attributes, made by calling what the import path names.

    `score` runs in a worker process, so it may block and compute as it likes. It gets a chunk of at most `batch_size`
    items and returns one outcome for each, in order. A chunk that takes longer than the longest of its items' times
    gets its process killed. When a chunk is late, raises or crashes, its items are tried again alone, each with its
    own time; what fails then is DEADLINE, SCORER_FAILED or WORKER_DIED.
    """

    def score(self, items: Sequence[Item]) -> Sequence[Outcome]: ...


class AsyncScorer(ScorerFacts, Protocol):
    """A scorer that mostly waits, for another service perhaps: its `score` is a coroutine function.

    One worker process runs many chunks of it side by side in one asyncio loop, so that slow items hold up no others. A
    chunk that outstays its time, or whose caller left, is cancelled: `score` gets `asyncio.CancelledError` and has
    `services.server.worker_process.WITHDRAWAL_SECONDS` to end. Only where it does not end is the process killed. Chunks
    that were under way in a process that died are tried again, each with nothing else in its process, before one of
    them is blamed. What computes for long belongs into `asyncio.to_thread`: it takes its time from all chunks in the
    process. The object is made before the loop runs; what needs the loop is made in `score`. A scorer that waits for
    something it is not at fault for can give its call more time: `services.server.call_time.extend`.
    """

    concurrency: int
    """Items that one worker process takes at once, in however many chunks; one chunk is always taken."""

    async def score(self, items: Sequence[Item]) -> Sequence[Outcome]: ...


def check_outcome(outcome: object, components: Mapping[str, Component]) -> Outcome:
    """The outcome itself, or SCORER_FAILED where it is not a score of these components."""
    if isinstance(outcome, ItemError):
        return outcome
    if not isinstance(outcome, Verdict):
        return _defect(f"returned {type(outcome).__name__}, not a Verdict or an ItemError")
    if not isinstance(outcome.components, Mapping) or not outcome.components:
        return _defect("returned a verdict without components")
    if not isinstance(outcome.label, str):
        return _defect("returned a label that is not a string")
    evidence = outcome.evidence
    if not isinstance(evidence, Mapping) or not all(
        isinstance(text, str) for pair in evidence.items() for text in pair
    ):
        return _defect("returned evidence that is not a mapping of strings to strings")
    for name, value in outcome.components.items():
        component = components.get(name)
        if component is None:
            return _defect(f"returned component {name!r}, which it does not declare; declared: {', '.join(components)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return _defect(f"returned no number for component {name!r}")
        if not component.low <= value <= component.high:  # NaN as well
            shown = f"{min(max(value, -1e300), 1e300):g}"  # an int may be larger than any float
            return _defect(
                f"returned {shown} for component {name!r}; it must be {component.low:g} to {component.high:g}"
            )
    return outcome


def _defect(what: str) -> ItemError:
    return ItemError(ErrorReason.SCORER_FAILED, f"the scorer {what}")


def parse_checks(text: str) -> dict[str, Any]:
    """`ScoreItem.checks_json` as a dict. Raises ValueError, which says what is wrong, for anything but an object."""
    if not text:
        return {}
    try:
        checks = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError too: a number of thousands of digits
        raise ValueError(f"checks_json is not JSON: {error}") from error
    if not isinstance(checks, dict):
        raise ValueError(f"checks_json is a JSON {type(checks).__name__}, not an object")
    return checks


def describe_misfit(error: ValidationError) -> str:
    """What is wrong with an item's checks: fields and what is expected of them, never their values."""
    complaints = []
    for detail in error.errors(include_url=False, include_input=False)[:3]:
        field = ".".join(("checks", *map(str, detail["loc"])))
        if detail["type"] == "union_tag_invalid":  # pydantic's own words quote the value
            message = f"must be one of {detail.get('ctx', {}).get('expected_tags')}"
        else:
            message = detail["msg"].removeprefix("Value error, ")
        complaints.append(f"{field}: {message}")
    return "; ".join(complaints)
