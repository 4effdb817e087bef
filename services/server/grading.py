"""Takes items through the worker pool: chunks them, tries a failed chunk's items alone, keeps the call's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from services.server.errors import CallFailedError, CallTimeoutError, PoolDownError, WorkerDiedError
from services.server.pool import WorkerPool
from services.verdicts import ErrorReason, ItemError, Outcome, Verdict

LATE = ItemError(ErrorReason.DEADLINE, "the call's deadline passed before this item had a verdict")

Fields = Mapping[str, Any]
"""An item as `ScorerHost.score` takes it; `timeout_seconds` is set."""


class Grader:
    """Scores items in the workers of a pool whose factory is `host_scorer`."""

    def __init__(self, pool: WorkerPool, batch_size: int) -> None:
        self._pool = pool
        self._batch_size = batch_size

    async def grade(self, items: Sequence[Fields], seconds: float | None) -> list[Outcome]:
        """One outcome for each item, in order. What has none after `seconds` gets a DEADLINE error.

        Cancelling it ends its items in the workers, or the workers where they run one chunk at a time.
        """
        outcomes: dict[str, Outcome] = {}
        size = self._batch_size
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for start in range(0, len(items), size):
                    group.create_task(self._grade_chunk(items[start : start + size], outcomes))
        except TimeoutError:
            pass
        return [outcomes.get(item["id"], LATE) for item in items]

    async def _grade_chunk(self, chunk: Sequence[Fields], outcomes: dict[str, Outcome]) -> None:
        """A chunk that fails is tried again item by item, so that only the guilty item goes without a verdict."""
        failure = await self._run(chunk, outcomes)
        if failure is None:
            return
        guilty_unknown = len(chunk) > 1 and failure.reason is not ErrorReason.UNAVAILABLE
        if guilty_unknown or failure.reason is ErrorReason.WORKER_DIED:
            async with asyncio.TaskGroup() as group:
                for item in chunk:
                    group.create_task(self._grade_alone(item, outcomes))
        else:
            outcomes.update((item["id"], failure) for item in chunk)

    async def _grade_alone(self, item: Fields, outcomes: dict[str, Outcome]) -> None:
        failure = await self._run([item], outcomes)
        if failure is not None:
            outcomes[item["id"]] = failure

    async def _run(self, chunk: Sequence[Fields], outcomes: dict[str, Outcome]) -> ItemError | None:
        """Adds the chunk's outcomes, or returns why there are none."""
        # Not the sum: one item that hangs would then hold the others up for all their times together.
        seconds = max(item["timeout_seconds"] for item in chunk)
        try:
            answers = await self._pool.call("score", chunk, seconds, weight=len(chunk))
        except CallTimeoutError:
            return ItemError(ErrorReason.DEADLINE, f"no verdict within {seconds:g} seconds in a worker")
        except WorkerDiedError:
            return ItemError(ErrorReason.WORKER_DIED, "the worker process died under this item, twice, once alone")
        except CallFailedError as error:
            return ItemError(ErrorReason.SCORER_FAILED, f"the scorer raised {error.type_name}")
        except PoolDownError:
            return ItemError(ErrorReason.UNAVAILABLE, "no worker process is alive; the service tries to start one")
        outcomes.update((item["id"], _outcome(answer)) for item, answer in zip(chunk, answers, strict=True))
        return None


def _outcome(answer: Mapping[str, Any]) -> Outcome:
    if "reason" in answer:
        return ItemError(ErrorReason(answer["reason"]), answer["message"])
    return Verdict(answer["components"], answer["label"], answer["evidence"])
