"""A scorer inside its worker process: checks the scorer, the items it gets and the outcomes it returns.

The gRPC process never imports the scorer; it learns what it needs from `ScorerHost.describe`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from services.server.errors import StartError
from services.server.worker import make
from services.verdicts import (
    AsyncScorer,
    Component,
    ErrorReason,
    Item,
    ItemError,
    Outcome,
    Scorer,
    check_outcome,
    describe_misfit,
    parse_checks,
)

MAX_BATCH = 512
MAX_CONCURRENCY = 4096
MAX_ITEM_SECONDS = 600.0
MAX_EVIDENCE_CHARACTERS = 4096
"""Of one verdict, all its evidence together; the rest is cut, so that 512 verdicts fit a message."""
MAX_MESSAGE_CHARACTERS = 500
MAX_LABEL_CHARACTERS = 64


class WrongCountError(Exception):
    """The scorer returned something other than one outcome for each item; the items are then tried one by one."""


def host_scorer(scorer: str, kwargs: Mapping[str, Any], version: str | None = None) -> ScorerHost | AsyncScorerHost:
    """What a scorer's worker pool makes in each of its processes.

    version: what the service says of itself; a worker that would judge by another one, because a model's files were
        replaced meanwhile, must not. None for the first worker.
    Raises StartError where the scorer cannot be made, is no scorer or has another version.
    """
    made = make(scorer, kwargs)
    check_scorer(scorer, made)
    if version not in (None, made.version):
        raise StartError(f"{scorer!r} has version {made.version!r}, this service serves {version!r}: start it again")
    return AsyncScorerHost(made) if inspect.iscoroutinefunction(made.score) else ScorerHost(made)


class _Host:
    """What hosts of both kinds of scorers do."""

    def __init__(self, scorer: Scorer | AsyncScorer) -> None:
        """scorer: one that `check_scorer` lets pass."""
        self._described = scorer
        self._components = {component.name: component for component in scorer.components}

    def describe(self, _payload: None) -> dict[str, Any]:
        """Everything about the scorer that its service tells or needs, of JSON's types."""
        scorer = self._described
        components = [
            {name: getattr(component, name) for name in ("name", "doc", "low", "high", "higher_is_better")}
            for component in scorer.components
        ]
        return {
            "name": scorer.name,
            "version": scorer.version,
            "components": components,
            "checks_schema": scorer.checks.model_json_schema(),
            "batch_size": scorer.batch_size,
            "timeout_seconds": scorer.timeout_seconds,
            "cacheable": getattr(scorer, "cacheable", False),
        }

    def _item(self, fields: Mapping[str, Any]) -> Item | ItemError:
        fields = dict(fields)
        try:
            checks = parse_checks(fields.pop("options_json", "")) | parse_checks(fields.pop("checks_json"))
            self._described.checks.model_validate(checks)
        except ValidationError as error:
            return ItemError(ErrorReason.INVALID_ITEM, describe_misfit(error))
        except ValueError as error:
            return ItemError(ErrorReason.INVALID_ITEM, str(error))
        return Item(checks=checks, **fields)

    def _read(self, payload: Sequence[Mapping[str, Any]]) -> list[Item | ItemError]:
        return [self._item(fields) for fields in payload]

    def _write(self, read: Sequence[Item | ItemError], answers: object) -> list[dict[str, Any]]:
        """answers: what the scorer returned for those of `read` that are items."""
        checked = iter(self._checked(answers, len(_items(read))))
        return [_plain(each if isinstance(each, ItemError) else next(checked)) for each in read]

    def _checked(self, outcomes: object, count: int) -> list[Outcome]:
        if not isinstance(outcomes, Sequence) or len(outcomes) != count:
            got = f"{len(outcomes)} outcomes" if isinstance(outcomes, Sequence) else type(outcomes).__name__
            complaint = f"the scorer returned {got} for {count} items"
            if count > 1:
                raise WrongCountError(complaint)
            return [ItemError(ErrorReason.SCORER_FAILED, complaint)]
        return [check_outcome(outcome, self._components) for outcome in outcomes]


class ScorerHost(_Host):
    """A scorer's, which runs one chunk at a time."""

    def __init__(self, scorer: Scorer) -> None:
        """scorer: one that `check_scorer` lets pass."""
        super().__init__(scorer)
        self._scorer = scorer

    def score(self, payload: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One outcome for each item, in order: a verdict's three fields, or an error's two.

        payload: items with the fields of `Item`, but `checks_json` (text) for `checks`, and perhaps `options_json`: checks
            that hold where these do not say otherwise.
        """
        read = self._read(payload)
        items = _items(read)
        return self._write(read, self._scorer.score(items) if items else [])


class AsyncScorerHost(_Host):
    """An async scorer's, which runs chunks side by side."""

    def __init__(self, scorer: AsyncScorer) -> None:
        """scorer: one that `check_scorer` lets pass."""
        super().__init__(scorer)
        self._scorer = scorer
        self.concurrency = scorer.concurrency

    async def score(self, payload: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As `ScorerHost.score`."""
        read = self._read(payload)
        items = _items(read)
        return self._write(read, await self._scorer.score(items) if items else [])


def _items(read: Sequence[Item | ItemError]) -> list[Item]:
    return [each for each in read if isinstance(each, Item)]


def check_scorer(path: str, scorer: Any) -> None:
    """Raises StartError unless the object is a scorer; `path` is how the message calls it."""
    requirements = {
        "name": ("a name", lambda value: isinstance(value, str) and bool(value)),
        "version": ("a text", lambda value: isinstance(value, str)),
        "components": ("a list of services.verdicts.Component with unique names and low < high", _are_components),
        "checks": ("a pydantic model class", lambda value: isinstance(value, type) and issubclass(value, BaseModel)),
        "batch_size": (
            f"a whole number, 1 to {MAX_BATCH}",
            lambda value: type(value) is int and 1 <= value <= MAX_BATCH,
        ),
        "timeout_seconds": (
            f"a number of seconds, more than 0, at most {MAX_ITEM_SECONDS:g}",
            lambda value: type(value) in (int, float) and 0 < value <= MAX_ITEM_SECONDS,
        ),
        "score": ("a method that takes a list of items", callable),
    }
    if hasattr(scorer, "cacheable"):
        requirements["cacheable"] = ("true or false", lambda value: type(value) is bool)
    if inspect.iscoroutinefunction(getattr(scorer, "score", None)):
        requirements["concurrency"] = (
            f"a whole number, 1 to {MAX_CONCURRENCY}",
            lambda value: type(value) is int and 1 <= value <= MAX_CONCURRENCY,
        )
    missing = [name for name in requirements if not hasattr(scorer, name)]
    if missing:
        raise StartError(f"{path!r} is not a scorer: it has no {', '.join(missing)}")
    for name, (wanted, is_right) in requirements.items():
        if not is_right(getattr(scorer, name)):
            raise StartError(f"{path!r} is not a scorer: {name} must be {wanted}")


def _are_components(value: Any) -> bool:
    if not isinstance(value, Sequence) or not value or not all(isinstance(one, Component) for one in value):
        return False
    in_order = all(math.isfinite(one.low) and math.isfinite(one.high) and one.low < one.high for one in value)
    return in_order and len({one.name for one in value}) == len(value)


def _plain(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, ItemError):
        return {"reason": outcome.reason.value, "message": _text(outcome.message, MAX_MESSAGE_CHARACTERS)}
    return {
        "components": {name: float(value) for name, value in outcome.components.items()},
        "label": _text(outcome.label, MAX_LABEL_CHARACTERS),
        "evidence": _cut(outcome.evidence),
        "repeatable": outcome.repeatable,
    }


def _text(text: str, limit: int) -> str:
    """At most `limit` characters, without lone surrogates, which protobuf refuses."""
    return text[:limit].encode("utf-8", "replace").decode("utf-8")


def _cut(evidence: Mapping[str, str]) -> dict[str, str]:
    """The evidence, as much of it as fits `MAX_EVIDENCE_CHARACTERS`."""
    room = MAX_EVIDENCE_CHARACTERS
    kept = {}
    for name, text in evidence.items():
        if room <= len(name):
            break
        kept[_text(name, room)] = _text(text, room - len(name))
        room -= len(name) + len(text)
    return kept
