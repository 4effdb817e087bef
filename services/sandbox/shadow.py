"""Runs a small share of programs a second time, when nobody waits, and counts how often something else comes out.

What differs tells of programs that are not deterministic, of limits that are too tight for the machine, and of faults of
the sandbox: all of them noise in a reward. Nobody's answer waits for it or is changed by it.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from prometheus_client import Counter

from sandbox.jobs import Trial
from sandbox.pool import Sandbox
from sandbox.results import Ending, RunResult, TrialResult
from services.sandbox.slots import Slots
from services.sandbox.wire import Run
from services.server.logs import get_logger

_SECOND_RUNS = Counter(
    "assay_sandbox_second_runs_total", "Runs done a second time, by whether the same came out.", ["same"]
)
_LAST = -1
"""Behind every priority that a caller can ask for."""
_LIMITS = frozenset({Ending.CPU_LIMIT, Ending.WALL_LIMIT, Ending.MEMORY_LIMIT, Ending.OUTPUT_LIMIT})


class Shadow:
    """share: of the runs, how many are done again, 0 to 1. One at a time: under load there are fewer."""

    def __init__(self, sandbox: Sandbox, slots: Slots, share: float) -> None:
        self._sandbox = sandbox
        self._slots = slots
        self._share = share
        self._due = 0.0
        self._under_way: asyncio.Task[None] | None = None

    def consider(self, run: Run, result: RunResult | TrialResult) -> None:
        """Does the run again, now and then. Not where it met a limit: its judge may have set that to be met."""
        if {process.ending for process in _processes(result)} & {*_LIMITS, Ending.INFRASTRUCTURE}:
            return
        self._due += self._share
        if self._due >= 1.0 and (self._under_way is None or self._under_way.done()):
            self._due = 0.0
            self._under_way = asyncio.create_task(self._again(run, result))

    async def _again(self, run: Run, first: RunResult | TrialResult) -> None:
        async with self._slots.slot("shadow", _LAST):
            if isinstance(run.job, Trial):
                second = await self._sandbox.trial(run.job, run.limits, run.kind)
            else:
                second = await self._sandbox.run(run.job, run.limits, run.kind)
        if any(process.ending is Ending.INFRASTRUCTURE for process in _processes(second)):
            return
        same = _essence(first) == _essence(second)
        _SECOND_RUNS.labels("yes" if same else "no").inc()
        if not same:
            digest = hashlib.sha256(run.job.source.encode("utf-8", "surrogatepass")).hexdigest()
            endings = [[process.ending.value for process in _processes(each)] for each in (first, second)]
            get_logger().warning(
                "second run differs", trace_id=run.trace_id, source_sha256=digest, first=endings[0], second=endings[1]
            )


def _processes(result: RunResult | TrialResult) -> tuple[RunResult, ...]:
    return (result.candidate, result.checker) if isinstance(result, TrialResult) else (result,)


def _essence(result: RunResult | TrialResult) -> Any:
    """What a judge looks at."""
    if isinstance(result, TrialResult):
        return result.finished, result.executed, result.candidate.ending, result.checker.ending
    return result.ending, result.stdout, result.outcomes
