"""Takes the judgings of many items to the sandbox at once: few calls, each item's deadline kept, nobody hurt by another.

What several items ask for at the same time goes in one call. What failed with others is tried again alone, so that it
is the guilty one that goes without a verdict; so is what the sandbox failed under. Full runs, which may take long, go
alone from the start, and only some at a time: were all endless loops of a batch sent at once, most would spend their
items' time in the sandbox's queue. Until it is its turn, an item's time stands still.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import grpc

from sandbox.jobs import Calls, Program, Trial
from sandbox.results import Ending
from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.sandbox import AsyncSandboxClient, Result, Run
from services.code.budget import FIRST, Steps, processes
from services.code.judgement import BadItemError
from services.sandbox.bounds import ANSWER_BYTES, MAX_RUNS, answer_bytes
from services.server.call_time import extend
from services.verdicts import ErrorReason, ItemError

Answer = TypeVar("Answer")

_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.1
_REQUEST_CHARACTERS = 4 << 20
"""Of a call's sources and inputs; a message holds so many even where each is four bytes."""
_TICK_SECONDS = 1.0
"""How often a call that waits for a turn says so to whoever watches its time."""
_PATIENCE = 10.0
"""For how many times its own time an item waits for a turn. A sandbox that hangs must not keep its callers for ever."""
_LATE = ItemError(ErrorReason.DEADLINE, "the sandbox was too busy to run the item in its time")


@dataclass(eq=False, slots=True)
class _Seat(Generic[Answer]):
    """An item at the desk until it has its outcome."""

    steps: Steps[Answer]
    deadline: float
    results: list[Result | None] = field(default_factory=list)
    outcome: Answer | ItemError | None = None
    waits: bool = False
    """For its turn, and its time stands still."""
    patience: float = 0.0
    """Seconds for which its time may yet stand still."""


@dataclass(eq=False, slots=True)
class _Errand:
    """A run of an item on its way."""

    seat: _Seat
    place: int
    run: Run
    alone: bool = False
    attempts: int = 0
    due: float = 0.0

    @property
    def is_full(self) -> bool:
        return self.run.limits.wall_seconds > FIRST.wall_seconds


class Desk(Generic[Answer]):
    """For one chunk of items."""

    def __init__(self, client: AsyncSandboxClient, turns: asyncio.Semaphore) -> None:
        """turns: for full runs; all desks that one sandbox serves may share them."""
        self._client = client
        self._turns = turns
        self._seats: list[_Seat[Answer]] = []
        self._errands: list[_Errand] = []
        self._under_way: dict[asyncio.Task[list[Result]], list[_Errand]] = {}

    async def judge(self, judgings: Sequence[tuple[Steps[Answer], float]]) -> list[Answer | ItemError]:
        """The outcomes, in order. Each judging comes with its deadline (`time.monotonic`). Cancelling it ends the runs."""
        now = time.monotonic()
        self._seats = [_Seat(steps, deadline, patience=_PATIENCE * (deadline - now)) for steps, deadline in judgings]
        self._latest = max(deadline for _, deadline in judgings)
        for seat in self._seats:
            self._advance(seat)
        try:
            while any(seat.outcome is None for seat in self._seats):
                self._send()
                await self._receive()
        finally:
            for execution in self._under_way:
                execution.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
        return [seat.outcome for seat in self._seats if seat.outcome is not None]

    def _advance(self, seat: _Seat[Answer]) -> None:
        """Hands the results to the judging, which asks for more runs or comes to its end."""
        try:
            results = [result for result in seat.results if result is not None]
            runs = seat.steps.send(results) if results else next(seat.steps)
        except StopIteration as end:
            seat.outcome = end.value
            return
        except BadItemError as error:
            seat.outcome = ItemError(ErrorReason.INVALID_ITEM, str(error))
            return
        seat.results = [None] * len(runs)
        for place, run in enumerate(runs):
            self._errands.append(_Errand(seat, place, run))

    def _close(self, seat: _Seat[Answer], error: ItemError) -> None:
        if seat.outcome is None:
            seat.outcome = error
            seat.steps.close()

    def _send(self) -> None:
        """Sends what is due; where the time left is less than a run may take, its item is too late."""
        now = time.monotonic()
        waiting: list[_Errand] = []
        batch: list[_Errand] = []
        for errand in self._errands:
            if errand.seat.deadline - now < errand.run.limits.wall_seconds:
                self._close(errand.seat, _LATE)
            elif errand.due > now:
                waiting.append(errand)
            elif errand.is_full:
                self._under_way[asyncio.create_task(self._in_turn(errand))] = [errand]
            elif errand.alone:
                self._start([errand], now)
            else:
                batch.append(errand)
        self._errands = waiting
        for part in _parts([errand for errand in batch if errand.seat.outcome is None]):
            self._start(part, now)

    def _start(self, errands: list[_Errand], now: float) -> None:
        seconds = max(errand.seat.deadline for errand in errands) - now
        execution = self._client.execute([errand.run for errand in errands], seconds)
        self._under_way[asyncio.create_task(execution)] = errands

    async def _in_turn(self, errand: _Errand) -> list[Result]:
        seat = errand.seat
        turn = asyncio.ensure_future(self._turns.acquire())
        try:
            while not turn.done():
                start = time.monotonic()
                seat.waits = seat.patience > 0.0
                await asyncio.wait([turn], timeout=_TICK_SECONDS)
                self._put_off(seat, min(time.monotonic() - start, seat.patience))
            seat.waits = False
            return await self._client.execute([errand.run], max(0.0, seat.deadline - time.monotonic()))
        finally:
            seat.waits = False
            if not turn.cancel() and not turn.cancelled():
                self._turns.release()

    def _put_off(self, seat: _Seat[Answer], seconds: float) -> None:
        """An item's deadline, and with it that of the call that this is."""
        seat.patience -= seconds
        seat.deadline += seconds
        if seat.deadline > self._latest:
            extend(seat.deadline - self._latest)
            self._latest = seat.deadline

    async def _receive(self) -> None:
        """Waits until a call is done, a pause is over or an item is late."""
        times = [seat.deadline for seat in self._seats if seat.outcome is None and not seat.waits]
        times += [errand.due for errand in self._errands]
        if not times and not self._under_way:
            return
        left = max(0.0, min(times) - time.monotonic()) if times else None
        if self._under_way:
            done, _ = await asyncio.wait(self._under_way, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for execution in done:
                self._take(execution)
        else:
            await asyncio.sleep(left or 0.0)
        now = time.monotonic()
        for seat in self._seats:
            if seat.outcome is None and not seat.waits and seat.deadline <= now:
                self._close(seat, _LATE)

    def _take(self, execution: asyncio.Task[list[Result]]) -> None:
        """Hands out what a call came to."""
        errands = self._under_way.pop(execution)
        try:
            results = execution.result()
        except ServiceUnavailableError as error:
            late = error.code is grpc.StatusCode.DEADLINE_EXCEEDED
            reason = ErrorReason.DEADLINE if late else ErrorReason.UNAVAILABLE
            for errand in errands:
                self._again(errand, ItemError(reason, str(error)), error.retry_after_seconds)
        except ServiceError as error:
            for errand in errands:
                self._refused(errand, error, alone=len(errands) == 1)
        else:
            for errand, result in zip(errands, results, strict=True):
                self._answered(errand, result)

    def _answered(self, errand: _Errand, result: Result) -> None:
        failed = [process for process in processes(result) if process.ending is Ending.INFRASTRUCTURE]
        if failed:
            message = f"the sandbox failed under the item: {failed[0].detail}"
            self._again(errand, ItemError(ErrorReason.UNAVAILABLE, message))
            return
        seat = errand.seat
        seat.results[errand.place] = result
        if seat.outcome is None and None not in seat.results:
            self._advance(seat)

    def _refused(self, errand: _Errand, error: ServiceError, alone: bool) -> None:
        """What was refused with others goes alone: one run that is not as it must be has the whole call refused."""
        if not alone:
            errand.alone = True
            self._errands.append(errand)
        elif error.code is grpc.StatusCode.INVALID_ARGUMENT:
            message = f"the sandbox refuses the item's checks: {error.details}"
            self._close(errand.seat, ItemError(ErrorReason.INVALID_ITEM, message))
        else:
            self._close(errand.seat, ItemError(ErrorReason.SCORER_FAILED, str(error)))

    def _again(self, errand: _Errand, failure: ItemError, hint_seconds: float | None = None) -> None:
        """Tries a run again after a pause that doubles, and alone: judging changes nothing, so it may be done anew."""
        errand.attempts += 1
        pause = (hint_seconds or 0.0) + _FIRST_PAUSE_SECONDS * 2.0 ** (errand.attempts - 1)
        errand.due = time.monotonic() + pause
        errand.alone = True
        if errand.attempts == _ATTEMPTS or errand.due >= errand.seat.deadline:
            self._close(errand.seat, failure)
        else:
            self._errands.append(errand)


def _parts(errands: Sequence[_Errand]) -> list[list[_Errand]]:
    """The runs of as few calls as may hold them."""
    parts: list[list[_Errand]] = []
    room = characters = 0
    for errand in errands:
        room -= answer_bytes(errand.run)
        characters -= _length(errand.run)
        if not parts or len(parts[-1]) == MAX_RUNS or room < 0 or characters < 0:
            parts.append([])
            room = ANSWER_BYTES - answer_bytes(errand.run)
            characters = _REQUEST_CHARACTERS - _length(errand.run)
        parts[-1].append(errand)
    return parts


def _length(run: Run) -> int:
    match run.job:
        case Program(source, stdin):
            return len(source) + len(stdin)
        case Calls(source, calls):
            return len(source) + sum(len(call.args) + len(call.kwargs) for call in calls)
        case Trial(source, test):
            return len(source) + len(test)
