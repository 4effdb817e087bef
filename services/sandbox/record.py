"""What is kept of each run: one log line and the counters. Never the source, the values or the output."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from sandbox.jobs import Calls, Program, Trial
from sandbox.results import Ending, Limits, RunResult, TrialResult
from services.sandbox.wire import Run
from services.server.logs import get_logger
from services.server.metrics import BUCKETS

_RUNS = Counter(
    "assay_sandbox_runs_total",
    "Processes that ended, by job (program, calls, candidate, checker), kind of process and ending.",
    ["job", "kind", "ending"],
)
_TAMPERED = Counter(
    "assay_sandbox_tampered_total", "Processes that attacked the sandbox, by what gave them away.", ["how"]
)
_WALL = Histogram("assay_sandbox_run_seconds", "Time of a process on the wall, by kind.", ["kind"], buckets=BUCKETS)
_CPU = Histogram("assay_sandbox_cpu_seconds", "CPU time of a process, by kind.", ["kind"], buckets=BUCKETS)
_OVERHEAD = Histogram(
    "assay_sandbox_overhead_seconds", "Time of a run that was neither waiting nor the process's own.", buckets=BUCKETS
)
_TOOK = Histogram("assay_sandbox_took_seconds", "Time from admission to the end of a run.", buckets=BUCKETS)
_OVERSHOOT = Histogram(
    "assay_sandbox_overshoot_seconds",
    "How far beyond its limit a process was when it was ended, by limit.",
    ["limit"],
    buckets=BUCKETS,
)
_STARVED_SHARE = Histogram(
    "assay_sandbox_cpu_share",
    "CPU time by time on the wall of processes that computed for 0.1 s or more; low on a crowded machine.",
    buckets=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
)
_COMPUTED_SECONDS = 0.1
_JOBS = {Program: "program", Calls: "calls", Trial: "trial"}


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that a run waited for its slot, and that it then took."""

    waited: float
    took: float


def record(name: str, run: Run, result: RunResult | TrialResult, timing: Timing, layers: tuple[str, ...]) -> None:
    """Logs and counts a run that has ended. name: its id. layers: what confined it."""
    if isinstance(result, TrialResult):
        processes = {"candidate": result.candidate, "checker": result.checker}
        more = {"calls": result.calls, "executed": result.executed, "finished": result.finished}
    else:
        processes = {_JOBS[type(run.job)]: result}
        more = {"calls": len(result.outcomes)} if isinstance(run.job, Calls) else {}
    for job, process in processes.items():
        _count(job, process)
        _count_overshoot(process, run.limits)
    _TOOK.observe(timing.waited + timing.took)
    _OVERHEAD.observe(max(0.0, timing.took - max(process.wall_seconds for process in processes.values())))
    failed = any(process.ending is Ending.INFRASTRUCTURE for process in processes.values())
    log = get_logger()
    (log.error if failed else log.info)(
        "run ended",
        run=name,
        trace_id=run.trace_id,
        caller=run.caller,
        source_sha256=_digest(run.job.source),
        **_input(run.job),
        layers=layers,
        wait_seconds=round(timing.waited, 4),
        took_seconds=round(timing.took, 4),
        cpu_limit=run.limits.cpu_seconds,
        wall_limit=run.limits.wall_seconds,
        memory_limit=run.limits.memory_bytes,
        processes={job: _fields(process) for job, process in processes.items()},
        **more,
    )


def _count(job: str, process: RunResult) -> None:
    kind = process.kind or "none"
    _RUNS.labels(job, kind, process.ending.value).inc()
    _WALL.labels(kind).observe(process.wall_seconds)
    _CPU.labels(kind).observe(process.cpu_seconds)
    if process.cpu_seconds >= _COMPUTED_SECONDS:
        _STARVED_SHARE.observe(min(1.0, process.cpu_seconds / process.wall_seconds))
    if process.ending is Ending.TAMPERED:
        _TAMPERED.labels("system call" if process.exit_code < 0 else "protocol").inc()


def _count_overshoot(process: RunResult, limits: Limits) -> None:
    if process.ending is Ending.CPU_LIMIT:
        _OVERSHOOT.labels("cpu").observe(max(0.0, process.cpu_seconds - limits.cpu_seconds))
    elif process.ending is Ending.WALL_LIMIT:
        _OVERSHOOT.labels("wall").observe(max(0.0, process.wall_seconds - limits.wall_seconds))


def _fields(process: RunResult) -> dict[str, object]:
    fields: dict[str, object] = {
        "kind": process.kind,
        "ending": process.ending.value,
        "exit_code": process.exit_code,
        "cpu_seconds": round(process.cpu_seconds, 4),
        "wall_seconds": round(process.wall_seconds, 4),
        "peak_memory_bytes": process.peak_memory_bytes,
        "output_bytes": len(process.stdout) + len(process.stderr),
    }
    if process.ending in (Ending.INFRASTRUCTURE, Ending.TAMPERED):
        fields["detail"] = process.detail  # the sandbox's own words, which quote nothing of the program's
    return fields


def _input(job: Program | Calls | Trial) -> dict[str, str]:
    if isinstance(job, Program):
        return {"stdin_sha256": hashlib.sha256(job.stdin).hexdigest()}
    return {"test_sha256": _digest(job.test)} if isinstance(job, Trial) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
