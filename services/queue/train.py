"""The training task: takes a job's lease, runs the trainer for it, and writes down how the attempt ended.

Each delivery is one attempt. An attempt that crashed or was interrupted puts the job back into the outbox, and the next
one goes on from the last checkpoint, under a new token. What the trainer's exit codes mean is in `trainer/__main__.py`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from services.jobs.job import Job, JobState
from services.jobs.store import IllegalTransitionError, JobNotFoundError, JobStore, StaleTokenError
from services.queue.lease import Lease, Leases
from services.queue.trainer_process import TrainerProcess, trainer_command

DONE = 0
BAD_JOB = 2
INTERRUPTED = 75

_LOOK_SECONDS = 0.25
_CANCEL_LOOK_SECONDS = 1.0
_LONGEST_MESSAGE = 2000

log = structlog.get_logger()


@dataclass(frozen=True)
class TrainingWorker:
    """What a training worker works with."""

    store: JobStore
    leases: Leases
    redis_url: str
    send_again: Callable[[str, str], None]
    """Sends a job's message again with a ticket, to be looked at after a pause."""
    publish: Callable[[], None]
    """Sends what waits in the outbox."""
    stopping: threading.Event
    """Set when the worker was told to end."""
    grace_seconds: float = 60.0
    """How long a trainer that was asked to stop may write its checkpoint."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended."""

    state: JobState
    message: str
    crashed: bool = False


def train(worker: TrainingWorker, job_id: str, ticket: str) -> None:
    """One delivery of a job, with the message's ticket (`Leases.stand_by`).

    Returns when its message may be acknowledged; raises while Redis is away for long.
    """
    key = f"job:{job_id}"
    with worker.leases.hold(key) as lease:
        if lease is None:
            goes_on = worker.leases.stand_by(key, ticket, lambda fresh: worker.send_again(job_id, fresh))
            log.info("another worker has the job", job_id=job_id, stands_by=goes_on)
            return
        run_dir = runs_dir() / job_id
        try:
            job = worker.store.start(job_id, lease.token, str(run_dir))
        except (JobNotFoundError, IllegalTransitionError) as error:
            log.info("nothing to do for this delivery", job_id=job_id, reason=str(error))
            return
        try:
            ending = _attempt_or_crash(worker, job, lease, run_dir)
            worker.store.settle(job_id, lease.token, ending.state, ending.message, crashed=ending.crashed)
        except StaleTokenError:
            log.warning("another worker has taken the job over", job_id=job_id, token=lease.token)
            return
    log.info("attempt ended", job_id=job_id, attempt=job.attempts, state=ending.state, message=ending.message)
    if ending.state == JobState.QUEUED:
        worker.publish()


def runs_dir() -> Path:
    """Where runs are kept: `ASSAY_RUNS_DIR`, by default `runs` below the current directory. Absolute."""
    return Path(os.environ.get("ASSAY_RUNS_DIR") or "runs").resolve()


def _attempt_or_crash(worker: TrainingWorker, job: Job, lease: Lease, run_dir: Path) -> Ending:
    """Whatever goes wrong in the worker itself ends the attempt: raised, it would leave the job RUNNING for ever."""
    try:
        return _attempt(worker, job, lease, run_dir)
    except (StaleTokenError, RedisError):
        raise
    except Exception as error:
        log.exception("attempt failed", job_id=job.id)
        return _crashed(f"the worker failed with {type(error).__name__}: {error}", job)


def _attempt(worker: TrainingWorker, job: Job, lease: Lease, run_dir: Path) -> Ending:
    if job.failures >= job.max_attempts:
        return Ending(JobState.FAILED, f"given up: {job.failures} attempts ended with a dead worker or a crash")
    environment = {
        "ASSAY_JOB_ID": job.id,
        "ASSAY_JOB_TOKEN": str(lease.token),
        "ASSAY_EXIT_WITH_PARENT": "1",
        "REDIS_URL": worker.redis_url,
    }
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        part = run_dir / "job.json.part"
        part.write_text(job.config_json, encoding="utf-8")
        part.replace(run_dir / "job.json")
        process = TrainerProcess(trainer_command(run_dir), environment, run_dir / "trainer.log")
    except OSError as error:
        # worth another attempt: a full disk may have room again
        return _crashed(f"cannot start the trainer: {error.strerror}: {error.filename or run_dir}", job)
    with process:
        asked_to_stop = _follow(worker, job.id, lease, process)
        code = process.wait()
        _pass_lines_on(worker.store, job.id, lease, process)
    if worker.store.cancel_requested(job.id) and code != DONE:
        return Ending(JobState.CANCELLED, "stopped on request")
    if asked_to_stop and code < 0:
        return Ending(JobState.QUEUED, "the worker shuts down; the trainer did not write a checkpoint in time")
    return _ending(code, process.last_error_line[:_LONGEST_MESSAGE], job)


def _follow(worker: TrainingWorker, job_id: str, lease: Lease, process: TrainerProcess) -> bool:
    """Passes the trainer's lines on until it ends; whether it was asked to stop. Raises StaleTokenError."""
    kill_at = cancel_look_at = float("inf")
    cancel_look_at = 0.0
    while process.running():
        if lease.lost.is_set():
            raise StaleTokenError(f"the lease of job {job_id} is lost")
        now = time.monotonic()
        stop = worker.stopping.is_set()
        if now >= cancel_look_at:
            stop = worker.store.cancel_requested(job_id) or stop
            cancel_look_at = now + _CANCEL_LOOK_SECONDS
        if stop and kill_at == float("inf"):
            process.interrupt()
            kill_at = now + worker.grace_seconds
        if now >= kill_at:
            process.kill()
        _pass_lines_on(worker.store, job_id, lease, process)
        time.sleep(_LOOK_SECONDS)
    return kill_at != float("inf")


def _pass_lines_on(store: JobStore, job_id: str, lease: Lease, process: TrainerProcess) -> None:
    if lines := process.take_lines():
        store.record_lines(job_id, lease.token, lines)


def _ending(code: int, last_error_line: str, job: Job) -> Ending:
    """What an exit code means for the job."""
    if code == DONE:
        return Ending(JobState.SUCCEEDED, "")
    if code == BAD_JOB:
        return Ending(JobState.FAILED, last_error_line or "the trainer refused the job")
    if code == INTERRUPTED:
        return Ending(JobState.QUEUED, "interrupted; goes on from its last checkpoint")
    how = f"died by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
    return _crashed(f"the trainer {how} in attempt {job.attempts}: {last_error_line}".rstrip(": "), job)


def _crashed(message: str, job: Job) -> Ending:
    """Back to the queue, or the end after as many crashes as the job may have."""
    state = JobState.QUEUED if job.failures + 1 < job.max_attempts else JobState.FAILED
    return Ending(state, message, crashed=True)
