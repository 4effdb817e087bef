"""Takes items through the worker pool: chunks them, and tries a failed chunk's items alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.server.errors import CallFailedError, CallTimeoutError, PoolDownError, WorkerDiedError
from services.server.pool import WorkerPool
from services.verdicts import ErrorReason, ItemError, Outcome, Verdict

Fields = Mapping[str, Any]
"""An item as `ScorerHost.score` takes it; `timeout_seconds` is set."""

Deliver = Callable[[str, Outcome], None]
"""Called with an item's id and its outcome, once for each item, as soon as there is one."""


class Grader:
    """Scores items in the workers of a pool whose factory is `host_scorer`."""

    def __init__(self, pool: WorkerPool, batch_size: int) -> None:
        self._pool = pool
        self._batch_size = batch_size

    async def grade(self, items: Sequence[Fields], deliver: Deliver) -> None:
        """Delivers one outcome for each item; their ids are unique.

        Cancelling it ends its items in the workers, or the workers where they run one chunk at a time.
        """
        size = self._batch_size
        if len(items) <= size:
            await self._grade_chunk(items, deliver)
            return
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(items), size):
                group.create_task(self._grade_chunk(items[start : start + size], deliver))

    async def _grade_chunk(self, chunk: Sequence[Fields], deliver: Deliver) -> None:
        """A chunk that fails is tried again item by item, so that only the guilty item goes without a verdict."""
        failure = await self._run(chunk, deliver)
        if failure is None:
            return
        guilty_unknown = len(chunk) > 1 and failure.reason is not ErrorReason.UNAVAILABLE
        if guilty_unknown or failure.reason is ErrorReason.WORKER_DIED:
            async with asyncio.TaskGroup() as group:
                for item in chunk:
                    group.create_task(self._grade_alone(item, deliver))
        else:
            for item in chunk:
                deliver(item["id"], failure)

    async def _grade_alone(self, item: Fields, deliver: Deliver) -> None:
        failure = await self._run([item], deliver)
        if failure is not None:
            deliver(item["id"], failure)

    async def _run(self, chunk: Sequence[Fields], deliver: Deliver) -> ItemError | None:
        """Delivers the chunk's outcomes, or returns why there are none."""
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
        for item, answer in zip(chunk, answers, strict=True):
            deliver(item["id"], _outcome(answer))
        return None


def _outcome(answer: Mapping[str, Any]) -> Outcome:
    if "reason" in answer:
        return ItemError(ErrorReason(answer["reason"]), answer["message"])
    return Verdict(answer["components"], answer["label"], answer["evidence"], answer["repeatable"])
