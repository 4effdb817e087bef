"""The gRPC side's handle on the engine, which lives in a worker process of its own.

Killing the process would lose its policies, so a caller that goes away is told to it by a file, which the engine looks
for between two tokens. Only an engine that does not react is killed. A process that died is started again by the pool
and loads the policies that were served.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.rollout.engine import EngineError, EngineFault
from services.server.pool import WorkerPool

STUCK_SECONDS = 60.0
"""An engine that goes on for this long after a call's time is killed: many times the longest step of a large model."""
UPDATE_SECONDS = 900.0
"""Longest time to load weights."""
UNLIMITED_SECONDS = 3600.0
"""Time of a call whose client set no deadline."""


class EngineProcess:
    """Calls of an `EngineHost`, one after another. Every method raises EngineError and the pool's errors."""

    def __init__(self, pool: WorkerPool) -> None:
        """pool: of size 1, with `EngineHost` as its factory; `start` and `close` stay with the caller."""
        self._pool = pool
        self._cancel_files = tempfile.TemporaryDirectory(prefix="assay-rollout-")
        self._served: dict[str, dict[str, Any]] = {}
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def versions(self) -> Mapping[str, int]:
        """The policies that are held, as far as this process knows."""
        return {name: source["version"] for name, source in self._served.items()}

    async def update_weights(self, policy: str, version: int, path: str, sha256: str) -> None:
        """Goes on when the caller is cancelled: the update may have begun and is safe to send again."""
        source = {"policy": policy, "version": version, "path": path, "sha256": sha256}
        await asyncio.shield(self._keep(self._update(source)))

    async def compute(self, method: str, payload: Mapping[str, Any], seconds: float | None) -> Any:
        """Calls `generate` or `logprobs`; the engine ends the work after `seconds`, or when this call is cancelled."""
        cancel_file = Path(self._cancel_files.name) / uuid4().hex
        seconds = UNLIMITED_SECONDS if seconds is None else seconds
        limits = {"deadline": time.time() + seconds, "cancel_file": str(cancel_file)}
        call = self._keep(self._call(method, {**payload, **limits}, seconds + STUCK_SECONDS))
        call.add_done_callback(lambda _call: cancel_file.unlink(missing_ok=True))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if not call.done():
                cancel_file.touch()
            raise

    def close(self) -> None:
        """Removes what lies on the disk."""
        self._cancel_files.cleanup()

    def _keep(self, work: Any) -> asyncio.Task[Any]:
        """A task that outlives its caller; its error is the caller's, or nobody's."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _update(self, source: dict[str, Any]) -> None:
        held = await self._call("update_weights", source, UPDATE_SECONDS)
        self._served[source["policy"]] = source
        self._served = {name: self._served[name] for name in held if name in self._served}
        self._pool.kwargs["policies"] = list(self._served.values())

    async def _call(self, method: str, payload: Mapping[str, Any], seconds: float) -> Any:
        answer = await self._pool.call(method, payload, seconds)
        if "fault" in answer:
            raise EngineError(EngineFault(answer["fault"]), answer["message"])
        return answer["result"]
