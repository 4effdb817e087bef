"""Worker processes that can be killed: all computing happens in them, never in a gRPC process.

    pool = WorkerPool("services.rollout.engine:Engine", {"device": "cpu"}, size=1)
    await pool.start()                                            # raises StartError, which `serve` reports
    with pool.admit(len(prompts)):                                # raises PoolFullError; see services.server.intake
        tokens = await pool.call("generate", {...}, timeout_seconds=60)

The import path names a class or function; each worker process calls it with the keyword arguments and then answers
calls of the object's methods. A method takes one argument and returns one value, both of JSON's types.

Calls are answered one at a time, and one that runs out of its time costs its worker: the process and everything it started
are killed and another one is started; so does one that is cancelled, unless it ends within `WITHDRAWAL_SECONDS`. There a
method may be a generator: what it yields arrives at `on_part` as it is yielded, and what it returns is the result. An object
with a number `concurrency` gets its calls in an asyncio loop, as many at once; there a method may be a coroutine function,
such a call is cancelled in the worker, and the process is killed only where it does not answer that within
`WITHDRAWAL_SECONDS`.
There is no fork and no shared memory; the processes talk over a private socket pair.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.server.errors import (
    CallFailedError,
    CallTimeoutError,
    PoolDownError,
    StartError,
    WorkerDiedError,
)
from services.server.frames import encode_frame
from services.server.intake import Intake
from services.server.logs import get_logger
from services.server.metrics import QUEUE_LENGTH, WORKER_RESTARTS, WORKERS_READY
from services.server.worker_process import Call, WorkerProcess

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0


class WorkerPool:
    """`size` worker processes and the calls that wait for them, first come, first served."""

    def __init__(
        self,
        factory: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        size: int,
        limit: int = 4096,
        start_timeout_seconds: float = 300.0,
        on_health: Callable[[bool], Awaitable[None]] | None = None,
    ) -> None:
        """
        factory: import path `package.module:Name` of what makes the object.
        kwargs: its keyword arguments, of JSON's types. Read at every start of a worker: put there what a new worker
            has to come back with.
        limit: how much `admit` lets in.
        start_timeout_seconds: longest time to import, construct and load models.
        on_health: awaited with False when no worker is alive and none can be started, with True when one is back.
        """
        self.factory = factory
        self.kwargs: dict[str, Any] = dict(kwargs or {})
        self.size = size
        self._start_timeout_seconds = start_timeout_seconds
        self._on_health = on_health
        self._intake = Intake(limit)
        self._numbers = itertools.count(1)
        self._alone: deque[Call] = deque()
        self._waiting: deque[Call] = deque()
        self._workers: set[WorkerProcess] = set()
        self._ready: set[WorkerProcess] = set()
        self._broken: set[int] = set()
        self._supervisors: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Starts the workers and returns when all are ready. Raises StartError where one cannot be made."""
        try:
            async with asyncio.TaskGroup() as group:
                launches = [group.create_task(self._launch()) for _ in range(self.size)]
        except BaseException as failure:
            await self.close()
            raise (failure.exceptions[0] if isinstance(failure, BaseExceptionGroup) else failure) from None
        for slot, launch in enumerate(launches):
            self._supervisors.append(asyncio.create_task(self._supervise(slot, launch.result())))

    async def close(self) -> None:
        """Kills the workers. Calls that still run or wait raise WorkerDiedError or PoolDownError."""
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        self._refuse_waiting()
        workers = list(self._workers)
        for worker in workers:
            worker.kill("closed")
        await asyncio.gather(*(worker.reaped.wait() for worker in workers))

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [worker.pid for worker in self._workers if not worker.gone.is_set()]

    @contextmanager
    def admit(self, count: int = 1) -> Iterator[None]:
        """Takes in `count` items for as long as the block runs.

        Raises PoolFullError when that would be more than `limit` (an empty pool takes in any number), PoolDownError
        when there are no workers.
        """
        if len(self._broken) == self.size:
            raise PoolDownError
        with self._intake.admit(count):
            yield

    async def call(
        self,
        method: str,
        payload: Any,
        timeout_seconds: float,
        weight: int = 1,
        on_part: Callable[[Any], None] | None = None,
    ) -> Any:
        """Calls `method(payload)` in the worker with the least under way, and returns its result.

        The time counts from the moment a worker takes the call, not from the queue. Cancelling leaves the queue, or ends
        the call in its worker. A call whose worker died or was killed while others ran there too is done again with
        nothing else in its worker. Raises CallTimeoutError, WorkerDiedError, CallFailedError and, while waiting,
        PoolDownError.

        weight: its share of what a worker with `concurrency` takes at once; a worker that is free takes any weight.
        on_part: gets what a method that is a generator yields.
        """
        number = next(self._numbers)
        frame = encode_frame({"call": number, "method": method, "payload": payload, "seconds": timeout_seconds})
        try:
            return await self._attempt(Call(number, frame, weight, on_part=on_part), timeout_seconds)
        except WorkerDiedError as death:
            if not death.shared:
                raise
        return await self._attempt(Call(number, frame, weight, alone=True), timeout_seconds)

    async def _attempt(self, call: Call, timeout_seconds: float) -> Any:
        if len(self._broken) == self.size:
            raise PoolDownError
        (self._alone if call.alone else self._waiting).append(call)
        self._dispatch()
        try:
            with QUEUE_LENGTH.track_inprogress():
                worker = await call.worker
            await _until_late(call, timeout_seconds)
        except asyncio.CancelledError:
            if call.worker.done() and not call.worker.cancelled() and call.worker.exception() is None:
                call.worker.result().withdraw(call, "cancelled")
            raise
        if call.reply.done():
            return _result(call.reply.result())
        await asyncio.shield(worker.withdraw(call, "timeout"))
        death = call.reply.exception()
        if isinstance(death, WorkerDiedError) and death.shared:  # it may be another call that held the worker up
            raise death
        raise CallTimeoutError

    def _dispatch(self) -> None:
        """Sends what the workers have room for, first come, first served.

        Calls that must be alone go before the others. Where they wait and none of them runs, the worker with the least
        under way gets nothing new until it is free.
        """
        ready = [worker for worker in self._ready if not worker.gone.is_set()]
        for worker in ready:
            if (call := _first(self._alone)) is not None and worker.has_room(call):
                worker.send(self._alone.popleft())
        kept_free = None
        if _first(self._alone) is not None and not any(worker.is_alone for worker in ready):
            kept_free = min(ready, key=lambda worker: worker.load, default=None)
        while (call := _first(self._waiting)) is not None:
            fit = [worker for worker in ready if worker is not kept_free and worker.has_room(call)]
            if not fit:
                return
            min(fit, key=lambda worker: worker.load).send(self._waiting.popleft())

    def _refuse_waiting(self) -> None:
        for queue in (self._alone, self._waiting):
            while (call := _first(queue)) is not None:
                queue.popleft()
                call.worker.set_exception(PoolDownError())

    async def _supervise(self, slot: int, worker: WorkerProcess) -> None:
        """Keeps one worker alive. Pauses grow only while workers end without having done anything."""
        failures = 0
        while True:
            self._ready.add(worker)
            self._dispatch()
            with WORKERS_READY.track_inprogress():
                await worker.gone.wait()
            self._ready.discard(worker)
            WORKER_RESTARTS.labels(worker.cause).inc()
            await worker.reaped.wait()  # its memory is free before the next one loads
            get_logger().warning("worker ended", cause=worker.cause, exit_code=worker.exit_code, worker_pid=worker.pid)
            failures = failures + 1 if worker.calls == 0 else 0
            while True:
                await asyncio.sleep(_pause_seconds(failures))
                try:
                    worker = await self._launch()
                    break
                except StartError as error:
                    failures += 1
                    get_logger().error("worker cannot start", error=str(error), attempt=failures)
                    await self._mark(slot, broken=True)
            await self._mark(slot, broken=False)

    async def _mark(self, slot: int, *, broken: bool) -> None:
        was_down = len(self._broken) == self.size
        (self._broken.add if broken else self._broken.discard)(slot)
        is_down = len(self._broken) == self.size
        if is_down:
            self._refuse_waiting()
        if was_down != is_down and self._on_health is not None:
            await self._on_health(not is_down)

    async def _launch(self) -> WorkerProcess:
        """A worker that is ready for calls. Raises StartError."""
        level = logging.getLevelName(logging.getLogger().getEffectiveLevel()).lower()
        hello = encode_frame({"call": 0, "factory": self.factory, "kwargs": self.kwargs, "log_level": level})
        try:
            worker = await WorkerProcess.spawn(on_answer=self._dispatch, on_reaped=self._workers.discard)
        except OSError as error:
            raise StartError(f"cannot start a worker process: {error}") from error
        self._workers.add(worker)
        made = Call(0, hello)
        worker.send(made)
        try:
            async with asyncio.timeout(self._start_timeout_seconds):
                worker.concurrency = _result(await asyncio.shield(made.reply))
        except BaseException as error:
            worker.kill("start")
            raise _why_not_started(self.factory, self._start_timeout_seconds, error) from None
        worker.calls = 0
        return worker


async def _until_late(call: Call, seconds: float) -> None:
    """Waits for the reply, or until the call's time is over, to which its worker may have added."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not call.reply.done() and (left := start + seconds + call.more_seconds - loop.time()) > 0:
        await asyncio.wait([call.reply], timeout=left)


def _first(queue: deque[Call]) -> Call | None:
    """The first that still waits; those before it, whose callers left, are dropped."""
    while queue and queue[0].worker.done():
        queue.popleft()
    return queue[0] if queue else None


def _why_not_started(factory: str, seconds: float, error: BaseException) -> BaseException:
    match error:
        case CallFailedError():
            return StartError(error.message)
        case WorkerDiedError():
            return StartError(f"{factory!r}: the worker process ended while it imported or made it; see the log above")
        case TimeoutError():
            return StartError(f"{factory!r} was not ready within {seconds:g} seconds")
    return error


def _pause_seconds(failures: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1), LONGEST_PAUSE_SECONDS) if failures else 0.0


def _result(reply: dict[str, Any]) -> Any:
    if "error" in reply:
        raise CallFailedError(reply["error"]["type"], reply["error"]["message"])
    return reply["result"]
