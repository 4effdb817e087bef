"""What is kept of each run: one log line and the counters. Never the source, the values or the output."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from sandbox.results import Ending, Limits, RunResult
from services.server.logs import get_logger
from services.server.metrics import BUCKETS

_RUNS = Counter(
    "assay_sandbox_runs_total", "Runs that ended, by kind (program, session) and ending.", ["kind", "ending"]
)
_WALL = Histogram("assay_sandbox_run_seconds", "Time of a run on the wall, by kind.", ["kind"], buckets=BUCKETS)
_CPU = Histogram("assay_sandbox_cpu_seconds", "CPU time of a run, by kind.", ["kind"], buckets=BUCKETS)


def record(kind: str, name: str, trace_id: str, limits: Limits, result: RunResult, **more: float) -> None:
    """Logs and counts a run that has ended.

    kind: "program" or "session". name: the program's id. more: further figures for the log line.
    """
    _RUNS.labels(kind, result.ending.value).inc()
    _WALL.labels(kind).observe(result.wall_seconds)
    _CPU.labels(kind).observe(result.cpu_seconds)
    log = get_logger()
    failed = result.ending is Ending.INFRASTRUCTURE
    # The only detail that is the sandbox's own and quotes nothing of the program's.
    detail = {"detail": result.detail} if failed else {}
    (log.error if failed else log.info)(
        "run ended",
        kind=kind,
        run=name,
        trace_id=trace_id,
        ending=result.ending.value,
        exit_code=result.exit_code,
        cpu_seconds=round(result.cpu_seconds, 4),
        wall_seconds=round(result.wall_seconds, 4),
        peak_memory_bytes=result.peak_memory_bytes,
        output_bytes=len(result.stdout) + len(result.stderr),
        cpu_limit=limits.cpu_seconds,
        wall_limit=limits.wall_seconds,
        memory_limit=limits.memory_bytes,
        **detail,
        **more,
    )
