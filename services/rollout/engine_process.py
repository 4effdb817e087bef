"""The transformers engine as the gRPC side has it: a `RolloutEngine` that drives a worker process with the models.

Killing the process would lose its policies, so a caller that goes away is told to it by a file, which the engine looks
for between two tokens. Only an engine that does not react is killed. A process that died is started again by the pool
and loads the policies that were served, canaries included.

Requests to generate and updates take turns, in the order in which they came; a request runs batch by batch. Log-probs
wait for the batch under way and for each other, never for the requests that wait for their turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.rollout.engine import (
    EngineError,
    EngineFault,
    Finished,
    Generation,
    OnHealth,
    RolloutEngine,
    SequenceLogprobs,
    TokenSequence,
    WeightSource,
)
from services.rollout.engine_messages import (
    FINISHED,
    GENERATION,
    SCORED,
    SEQUENCES,
    SERVED,
    SOURCE,
    Limits,
    ServedSource,
)
from services.rollout.turns import Turns
from services.server.errors import CallFailedError, CallTimeoutError, PoolDownError, WorkerDiedError
from services.server.options import ServiceParser, positive
from services.server.pool import WorkerPool

STUCK_SECONDS = 60.0
"""An engine that goes on for this long after a call's time is killed: many times the longest step of a large model."""
UPDATE_SECONDS = 900.0
"""Longest time to load weights."""
UNLIMITED_SECONDS = 3600.0
"""Time of a call whose client set no deadline."""


def add_options(parser: ServiceParser) -> None:
    """The flags of the transformers engine."""
    parser.add_option(
        "--max-policies", type=positive, default=4, help="policies held; the least recently used goes first"
    )
    parser.add_option("--max-batch-sequences", type=positive, default=256, help="sequences that are computed at once")
    parser.add_option(
        "--device", default="auto", help="torch device (cpu, cuda:0); auto: an accelerator if there is one"
    )


async def open_engine(options: argparse.Namespace, on_health: OnHealth) -> RolloutEngine:
    """Starts the engine's process. Raises StartError."""
    # Threads of OpenMP that spin while they wait slow a busy machine down many times over; torch reads this once.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    engine = {
        "max_policies": options.max_policies,
        "max_batch_sequences": options.max_batch_sequences,
        "dtype": options.dtype,
        "device": options.device,
    }
    kwargs = {"engine": engine, "policies": []}
    pool = WorkerPool(
        "services.rollout.engine_host:EngineHost",
        kwargs,
        size=1,
        start_timeout_seconds=UPDATE_SECONDS * options.max_policies,  # a new process loads what was served
        on_health=on_health,
    )
    await pool.start()
    return await EngineProcess.over(pool)


class EngineProcess:
    """A `RolloutEngine` over a pool of one worker, which makes an `EngineHost`."""

    name = "transformers"
    transfer_workers = 0

    def __init__(self, pool: WorkerPool, dtype: str) -> None:
        """pool: started, with the keyword argument `policies`. `close` closes it."""
        self.dtype = dtype
        self._pool = pool
        self._is_closed = False
        self._cancel_files = tempfile.TemporaryDirectory(prefix="assay-rollout-")
        self._served: dict[str, ServedSource] = {}
        self._turns = Turns()
        self._running: set[asyncio.Task[Any]] = set()

    @classmethod
    async def over(cls, pool: WorkerPool) -> EngineProcess:
        """Asks the process for its dtype."""
        return cls(pool, await pool.call("dtype", None, STUCK_SECONDS))

    @property
    def versions(self) -> Mapping[str, int]:
        return {name: served.source.version for name, served in self._served.items()}

    async def update_weights(self, source: WeightSource) -> float:
        if source.transfer:
            message = (
                "transfer is given, and the engine transformers takes weights from their folder only; leave it out"
            )
            raise EngineError(EngineFault.FAILED_PRECONDITION, message)
        return await asyncio.shield(self._keep(self._update(source)))

    async def generate(self, request: Generation, seconds: float | None) -> AsyncGenerator[Finished, None]:
        limits = self._limits(seconds)
        parts: asyncio.Queue[Finished | None] = asyncio.Queue()
        work = self._keep(self._generate(request, limits, parts.put_nowait))
        work.add_done_callback(lambda _: parts.put_nowait(None))
        with _ended_with(work, limits):
            while (finished := await parts.get()) is not None:
                yield finished
        await work

    async def logprobs(
        self, policy: str, sequences: Sequence[TokenSequence], seconds: float | None
    ) -> SequenceLogprobs:
        limits = self._limits(seconds)
        payload = {"policy": policy, "sequences": SEQUENCES.dump_python(list(sequences), mode="json")}
        work = self._keep(self._compute("logprobs", payload, limits))
        with _ended_with(work, limits):
            return SCORED.validate_python(await asyncio.shield(work))

    async def close(self) -> None:
        """Ends the process; calls that still run raise UNAVAILABLE."""
        self._is_closed = True
        await self._pool.close()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._cancel_files.cleanup()

    def _keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that outlives its caller; its error is the caller's, or nobody's."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _limits(self, seconds: float | None) -> Limits:
        seconds = UNLIMITED_SECONDS if seconds is None else seconds
        return Limits(time.time() + seconds, str(Path(self._cancel_files.name) / uuid4().hex))

    async def _update(self, source: WeightSource) -> float:
        async with self._turns.take(urgent=True):
            base = self._served.get(source.base)
            served = ServedSource(source, base.source.version if base is not None else None)
            before = self._served.get(source.policy)
            difference = await self._call("update_weights", SOURCE.dump_python(source, mode="json"), UPDATE_SECONDS)
            if before is not None and before.source.version == source.version:  # sent again
                served = replace(served, base_version=before.base_version)
                if not source.canary:
                    proof = {"canary": before.source.canary, "tolerance": before.source.tolerance}
                    served = replace(served, source=replace(source, **proof))
            self._serve(self._served | {source.policy: served})
        return difference

    async def _generate(self, request: Generation, limits: Limits, deliver: Callable[[Finished], None]) -> None:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._turns.take(limits.seconds_left))
            except TimeoutError:
                message = "the deadline passed before the request's turn"
                raise EngineError(EngineFault.DEADLINE_EXCEEDED, message) from None
            payload = {"request": GENERATION.dump_python(request, mode="json")}
            batches: int = await self._compute("begin", payload, limits)
            for batch in range(batches):
                await self._compute(
                    "sample", {"batch": batch}, limits, lambda part: deliver(FINISHED.validate_python(part))
                )

    async def _compute(
        self, method: str, payload: Mapping[str, Any], limits: Limits, on_part: Callable[[Any], None] | None = None
    ) -> Any:
        payload = {**payload, "limits": asdict(limits)}
        return await self._call(method, payload, limits.seconds_left + STUCK_SECONDS, on_part)

    async def _call(
        self, method: str, payload: Mapping[str, Any], seconds: float, on_part: Callable[[Any], None] | None = None
    ) -> Any:
        if self._is_closed:
            raise EngineError(EngineFault.UNAVAILABLE, "the engine ends")
        try:
            answer = await self._pool.call(method, payload, seconds, on_part=on_part)
        except POOL_ERRORS as error:
            raise _engine_error(error) from error
        self._serve({name: self._served[name] for name in answer["held"] if name in self._served})
        if "fault" in answer:
            raise EngineError(EngineFault(answer["fault"]), answer["message"])
        return answer["result"]

    def _serve(self, served: dict[str, ServedSource]) -> None:
        """Remembers what is held, also for a process that takes the place of this one."""
        if served != self._served:
            self._served = served
            self._pool.kwargs["policies"] = SERVED.dump_python(list(served.values()), mode="json")


@contextmanager
def _ended_with(work: asyncio.Task[Any], limits: Limits) -> Iterator[None]:
    """Tells the engine to end the work where the block ends before it."""
    cancel_file = Path(limits.cancel_file)
    work.add_done_callback(lambda _: cancel_file.unlink(missing_ok=True))
    try:
        yield
    finally:
        if not work.done():
            cancel_file.touch()
            # an engine that hangs does not look for the file: cancelled, the call costs its process
            asyncio.get_running_loop().call_later(STUCK_SECONDS, work.cancel)


POOL_ERRORS = (WorkerDiedError, PoolDownError, CallTimeoutError, CallFailedError)


def _engine_error(error: Exception) -> EngineError:
    match error:
        case WorkerDiedError():
            fault, message = EngineFault.UNAVAILABLE, "the engine's process ended during the call; it is started again"
        case PoolDownError():
            fault, message = (
                EngineFault.UNAVAILABLE,
                "the engine's process cannot be started; the service goes on trying",
            )
        case CallTimeoutError():
            fault, message = EngineFault.DEADLINE_EXCEEDED, "the engine did not end the call in time and was killed"
        case _:
            name = error.type_name if isinstance(error, CallFailedError) else type(error).__name__
            fault, message = EngineFault.INTERNAL, f"the engine raised {name}; see the service's log"
    return EngineError(fault, message)
