"""What one item's runs may take, and how they are asked for: first shortly and before others, then in full behind them.

Most programs end within some milliseconds. A run is therefore tried with little time and before all others; only one
that needs more is run again, with its real limits, behind what is new. So an endless loop costs its neighbours 30
ms of a processor and not its whole time. A run that was cut short gives no verdict and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeVar, overload

from sandbox.jobs import Calls, Kind, Program, Trial
from sandbox.results import Ending, Limits, Raised, RunResult, TrialResult
from sandbox.values import BeyondBoundsError
from services.client.sandbox import Result, Run
from services.code.checks import CodeChecks
from services.code.judgement import BadItemError

Job = Program | Calls | Trial
Answer = TypeVar("Answer")
Steps = Generator[list[Run], list[Result], Answer]
"""A judging, step by step: it yields runs that may go side by side, is sent their results in order, and returns."""

_OWN_SHARE = 0.8
"""Of an item's time, what its runs may take; the rest is for waiting and for the way."""
_WALL_FACTOR, _WALL_EXTRA_SECONDS = 3.0, 2.0
"""The wall limit is this loose, so that on a busy machine it is the CPU limit that tells slow code from fast."""
FIRST = Limits(cpu_seconds=0.025, wall_seconds=0.4, output_bytes=64 << 10)
_FIRST_PRIORITY, _FULL_PRIORITY = 5, 4
_MOST_SIDE_BY_SIDE = 16
_LONGEST_TRIED_FIRST = 60.0
"""The CPU limit that a sandbox refuses to exceed, where its operator gave no other. Checks that ask for more are not tried
in short first: quick answers would have a verdict, and slow ones the refusal of the full run, which is no score."""
_LEAST_SECONDS = 0.05
_CUT = frozenset({Ending.CPU_LIMIT, Ending.WALL_LIMIT, Ending.OUTPUT_LIMIT})
_KINDS = {None: None, "files": Kind.FILES, "subprocess": Kind.SUBPROCESS}


class Budget:
    """Of one item."""

    def __init__(self, checks: CodeChecks, seconds: float, trace_id: str = "", caller: str = "") -> None:
        """seconds: the time that the item may take in all. Raises BadItemError where nothing can run in it."""
        self._checks = checks
        self._trace_id = trace_id
        self._caller = caller
        self._own_seconds = _OWN_SHARE * seconds
        if self._own_seconds < _LEAST_SECONDS:
            raise BadItemError(
                "timeout_seconds: it is too short for a single run; give 0.1 or more, or 0 for the default"
            )
        self._kind = Kind.SUBPROCESS if checks.language != "python" else _KINDS[checks.needs]

    @property
    def width(self) -> int:
        """How many jobs can be tried side by side so that all together keep to the budget."""
        if not self._is_tried_first(self._kind):
            return 1
        return max(1, min(_MOST_SIDE_BY_SIDE, int(self._own_seconds / FIRST.wall_seconds)))

    @overload
    def run(self, job: Trial, kind: Kind | None = None) -> Steps[TrialResult]: ...

    @overload
    def run(self, job: Program | Calls, kind: Kind | None = None) -> Steps[RunResult]: ...

    def run(self, job: Job, kind: Kind | None = None) -> Steps[Any]:
        """Runs a job to its end or to its limits. kind: where it is not the one that the checks ask for."""
        (result,) = yield from self.attempt([job], kind)
        return (yield from self.complete(job, result, kind))

    def attempt(self, jobs: Sequence[Job], kind: Kind | None = None) -> Steps[list[Result]]:
        """Tries jobs side by side, no more than `width`. A result may be that of a run that was cut short."""
        if not self._is_tried_first(kind or self._kind):
            return [self._cut(job) for job in jobs]
        wall = min(FIRST.wall_seconds, self._own_seconds / len(jobs))
        limits = Limits(FIRST.cpu_seconds, wall, self._checks.memory_bytes, FIRST.output_bytes)
        runs = [self._asked(job, limits, kind, _FIRST_PRIORITY) for job in jobs]
        results = yield runs
        self._own_seconds -= sum(map(_wall_seconds, results))
        return results

    def complete(self, job: Job, result: Result, kind: Kind | None = None) -> Steps[Result]:
        """The result itself, or that of a run in full where it was cut short."""
        if not _is_cut(result):
            return result
        if self._own_seconds < _LEAST_SECONDS:
            return self._cut(job)
        checks = self._checks
        wall = min(_WALL_FACTOR * checks.cpu_seconds + _WALL_EXTRA_SECONDS, self._own_seconds)
        limits = Limits(checks.cpu_seconds, wall, checks.memory_bytes, _output_bytes(checks))
        (full,) = yield [self._asked(job, limits, kind, _FULL_PRIORITY)]
        self._own_seconds -= _wall_seconds(full)
        return full

    def _is_tried_first(self, kind: Kind | None) -> bool:
        """Not where starting alone may take longer, there is too little time to try twice, or the full run may be refused."""
        worthwhile = 2 * FIRST.cpu_seconds < self._checks.cpu_seconds <= _LONGEST_TRIED_FIRST
        enough = worthwhile and self._own_seconds > FIRST.wall_seconds
        return enough and kind is not Kind.SUBPROCESS

    def _asked(self, job: Job, limits: Limits, kind: Kind | None, priority: int) -> Run:
        return Run(job, limits, kind or self._kind, self._trace_id, self._caller, priority)

    def _cut(self, job: Job) -> Result:
        """What a run comes to that there was no time for."""
        result = RunResult(Ending.WALL_LIMIT, detail="the runs before it took all the time of the item")
        return TrialResult(result, RunResult(Ending.EXITED), in_call=True) if isinstance(job, Trial) else result


def _output_bytes(checks: CodeChecks) -> int:
    """What a program may write: more than the default where the right output is about as long."""
    return max([Limits().output_bytes, *(2 * len(case.stdout.encode()) for case in checks.cases or [])])


def processes(result: Result) -> tuple[RunResult, ...]:
    """The processes of a run, the candidate's first."""
    return (result.candidate, result.checker) if isinstance(result, TrialResult) else (result,)


def _is_cut(result: Result) -> bool:
    """Also where a value was longer than what a first try may answer."""
    raised = [*result.candidate_raised] if isinstance(result, TrialResult) else result.outcomes
    too_long = any(isinstance(each, Raised) and each.type == BeyondBoundsError.__name__ for each in raised)
    return too_long or any(process.ending in _CUT for process in processes(result))


def _wall_seconds(result: Result) -> float:
    return max(process.wall_seconds for process in processes(result))
