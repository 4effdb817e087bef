"""Where jobs live: a hash for each job in Redis, a stream with its history, an index by time, and an outbox.

The outbox holds the jobs that a worker must still be told about: storing a job and publishing its message are two
steps, and whoever finds a job in the outbox does the second. A job may be published twice, which its lease makes
harmless; it is never forgotten.

Ended jobs are kept for 30 days; a history holds about the last 5,000 events. Methods raise redis-py's errors while
Redis is away for longer than the client waits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis import Redis

from services.jobs import scripts
from services.jobs.job import (
    NEXT_STATES,
    Job,
    JobEvent,
    JobState,
    LogLine,
    StepMetrics,
    check_config,
    is_job_id,
    new_job_id,
)

KEEP_ENDED_SECONDS = 30 * 24 * 3600
LONGEST_HISTORY = 5000
LONGEST_LINE = 4000

_LONGEST_SHOWN = 100
_INDEX = "assay:jobs"
_OUTBOX = "assay:jobs:outbox"


class JobNotFoundError(LookupError):
    """There is no job of this id, or it ended more than 30 days ago."""


class IdempotencyConflictError(ValueError):
    """The idempotency key belongs to a job with another configuration."""


class StaleTokenError(RuntimeError):
    """Another worker has started the job since: this one must not write any more."""


class IllegalTransitionError(RuntimeError):
    """The job is in a state from which this cannot follow."""


class JobStore:
    """Jobs in Redis. Thread-safe; any number of processes may use it at once."""

    def __init__(self, redis: Redis) -> None:
        """`redis` answers in bytes, as `services.queue.connection.connect` makes it."""
        self._redis = redis
        self._submit = redis.register_script(scripts.SUBMIT)
        self._start = redis.register_script(scripts.START)
        self._settle = redis.register_script(scripts.SETTLE)
        self._cancel = redis.register_script(scripts.CANCEL)
        self._record = redis.register_script(scripts.RECORD)
        self._published = redis.register_script(scripts.PUBLISHED)

    # ---- for those who submit and watch

    def submit(self, config_json: str, idempotency_key: str = "") -> Job:
        """Stores a job and puts it into the outbox, or returns the job that the key belongs to.

        Raises ValueError for a malformed configuration and IdempotencyConflictError where the key's job has another.
        """
        name = check_config(config_json)
        job_id = new_job_id(name)
        keys = [_job(job_id), _events(job_id), _INDEX, _OUTBOX, f"assay:idempotency:{idempotency_key}"]
        args = [int(bool(idempotency_key)), LONGEST_HISTORY, time.time(), job_id, name, config_json]
        known: bytes | None = self._submit(keys=keys, args=args)
        if known is None:
            return self.get(job_id)
        job = self.get(known.decode())
        if _canonical(job.config_json) != _canonical(config_json):
            raise IdempotencyConflictError(
                f"idempotency_key {idempotency_key!r} belongs to job {job.id}, which has another configuration"
            )
        return replace(job, deduplicated=True)

    def get(self, job_id: str) -> Job:
        """The job. Raises JobNotFoundError."""
        fields: Any = self._redis.hgetall(_job(job_id))
        if not fields:
            raise _no_such_job(job_id)
        return _as_job({name.decode(): value.decode() for name, value in fields.items()})

    def list(self, limit: int) -> Sequence[Job]:
        """The newest jobs, newest first, without their configurations."""
        jobs: list[Job] = []
        ids: Any = self._redis.zrevrange(_INDEX, 0, limit - 1)
        for job_id in ids:
            try:
                jobs.append(replace(self.get(job_id.decode()), config_json=""))
            except JobNotFoundError:
                self._redis.zrem(_INDEX, job_id)
        return jobs

    def cancel(self, job_id: str) -> Job:
        """Ends a queued job, asks a running one to stop, leaves an ended one as it is. Raises JobNotFoundError."""
        keys = [_job(job_id), _events(job_id), _OUTBOX]
        _accept(self._cancel(keys=keys, args=[LONGEST_HISTORY, time.time(), KEEP_ENDED_SECONDS]), job_id)
        return self.get(job_id)

    def events(self, job_id: str, after: str = "", count: int = 100) -> Sequence[JobEvent]:
        """At most `count` events after the cursor, oldest first. Raises JobNotFoundError.

        The oldest events of a long history are gone; reading on after a cursor that is gone starts at the oldest left.
        """
        known: Any = self._redis.hmget(_job(job_id), ["name", "submitted_at"])
        if None in known:
            raise _no_such_job(job_id)
        same = {"id": job_id, "name": known[0].decode(), "submitted_at": known[1].decode(), "config_json": ""}
        start = f"({after}" if after else "-"
        entries: Any = self._redis.xrange(_events(job_id), min=start, count=count)
        return [_as_event(same, cursor.decode(), fields) for cursor, fields in entries]

    def state(self, job_id: str) -> JobState:
        """The job's state alone. Raises JobNotFoundError."""
        state: Any = self._redis.hget(_job(job_id), "state")
        if state is None:
            raise _no_such_job(job_id)
        return JobState(state.decode())

    # ---- for those who publish

    def outbox(self) -> Sequence[tuple[str, int]]:
        """Ids of jobs that a worker must be told about, each with the number of attempts so far."""
        waiting: Any = self._redis.hgetall(_OUTBOX)
        return [(job_id.decode(), int(attempts)) for job_id, attempts in waiting.items()]

    def published(self, job_id: str, attempts: int) -> None:
        """The job's message is in its queue. A job that came back to the outbox in the meantime stays there."""
        self._published(keys=[_OUTBOX], args=[job_id, attempts])

    # ---- for the worker that holds the job's lease, and its trainer

    def start(self, job_id: str, token: int, run_dir: str) -> Job:
        """A worker takes the job up; a job left running by a dead worker counts one failure more.

        Raises JobNotFoundError, StaleTokenError, and IllegalTransitionError for a job that has ended.
        """
        allowed = _allowed(JobState.RUNNING)
        args = [LONGEST_HISTORY, allowed, token, time.time(), run_dir]
        _accept(self._start(keys=[_job(job_id), _events(job_id)], args=args), job_id)
        return self.get(job_id)

    def settle(self, job_id: str, token: int, state: JobState, message: str, *, crashed: bool = False) -> None:
        """Ends an attempt: with a final state, or with QUEUED, which puts the job back into the outbox.

        Raises JobNotFoundError, StaleTokenError, IllegalTransitionError.
        """
        keys = [_job(job_id), _events(job_id), _OUTBOX]
        allowed = _allowed(state)
        args = [LONGEST_HISTORY, allowed, token, time.time(), state, message, int(crashed), KEEP_ENDED_SECONDS]
        _accept(self._settle(keys=keys, args=args), job_id)

    def record_step(
        self, job_id: str, token: int, *, step: int, total_steps: int, metrics: Mapping[str, float]
    ) -> None:
        """Progress and metrics of one optimizer step. Raises as `settle` does."""
        self._append(job_id, token, "metrics", [json.dumps(dict(metrics))], step, total_steps)

    def record_lines(self, job_id: str, token: int, lines: Sequence[str]) -> None:
        """Lines of the trainer's log, each cut to 4,000 characters. Raises as `settle` does."""
        self._append(job_id, token, "log", [line[:LONGEST_LINE] for line in lines], "", "")

    def _append(
        self, job_id: str, token: int, kind: str, data: Sequence[str], step: int | str, total_steps: int | str
    ) -> None:
        args = [LONGEST_HISTORY, token, time.time(), kind, step, total_steps, *data]
        _accept(self._record(keys=[_job(job_id), _events(job_id)], args=args), job_id)

    def check(self, job_id: str, token: int) -> None:
        """Raises StaleTokenError where another worker has started the job since, JobNotFoundError where it is gone.

        A trainer calls it before it writes a checkpoint.
        """
        latest = self._redis.hget(_job(job_id), "token")
        if latest is None:
            raise _no_such_job(job_id)
        if latest != str(token).encode():
            raise StaleTokenError(f"another worker has started job {job_id} since")

    def cancel_requested(self, job_id: str) -> bool:
        """Whether somebody asked the job to stop."""
        return self._redis.hget(_job(job_id), "cancel") == b"1"


def _job(job_id: str) -> str:
    if not is_job_id(job_id):
        raise _no_such_job(job_id)
    return f"assay:job:{job_id}"


def _events(job_id: str) -> str:
    return f"assay:job:{job_id}:events"


def _no_such_job(job_id: str) -> JobNotFoundError:
    shown = job_id if len(job_id) <= _LONGEST_SHOWN else f"{job_id[:_LONGEST_SHOWN]}..."
    return JobNotFoundError(f"there is no job {shown!r}")


def _canonical(config_json: str) -> str:
    """Equal for configurations that differ in white space or in the order of keys only."""
    return json.dumps(json.loads(config_json), sort_keys=True)


def _allowed(state: JobState) -> str:
    """The states that `state` may follow, as the scripts want them."""
    return f" {' '.join(before for before, after in NEXT_STATES.items() if state in after)} "


def _accept(answer: bytes, job_id: str) -> None:
    match answer:
        case b"done":
            return
        case b"missing":
            raise _no_such_job(job_id)
        case b"stale":
            raise StaleTokenError(f"another worker has started job {job_id} since")
        case _:
            raise IllegalTransitionError(f"job {job_id} is {answer.decode()}")


def _as_job(fields: Mapping[str, str]) -> Job:
    return Job(
        id=fields["id"],
        name=fields["name"],
        state=JobState(fields["state"]),
        submitted_at=float(fields["submitted_at"]),
        message=fields["message"],
        step=int(fields["step"]),
        total_steps=int(fields["total_steps"]),
        attempts=int(fields["attempts"]),
        failures=int(fields["failures"]),
        started_at=float(fields["started_at"]),
        ended_at=float(fields["ended_at"]),
        run_dir=fields["run_dir"],
        config_json=fields["config_json"],
    )


def _as_event(same: Mapping[str, str], cursor: str, raw: Mapping[bytes, bytes]) -> JobEvent:
    """`same`: the job's fields that never change."""
    fields = {name.decode(): value.decode() for name, value in raw.items()}
    at, kind = float(fields["at"]), fields["kind"]
    if kind == "state":
        return JobEvent(cursor, at, _as_job({**fields, **same}))
    if kind == "metrics":
        return JobEvent(cursor, at, StepMetrics(int(fields["step"]), json.loads(fields["data"])))
    return JobEvent(cursor, at, LogLine(fields["data"]))
