"""Tells the job service how a run goes, and asks whether this process may still write.

A trainer that the queue started has a fencing token. When another worker has taken the job over, the token is stale:
this process then writes nothing more and ends (`Superseded`). A trainer started by hand has no job and tells nobody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import structlog

from services.jobs.store import JobNotFoundError, JobStore, StaleTokenError
from services.queue.connection import connect, redis_url

log = structlog.get_logger()


class Superseded(Exception):
    """Another worker has taken the job over."""


class Progress:
    """Progress of one attempt at a job. Methods raise `Superseded` where another attempt has begun."""

    def __init__(self, store: JobStore | None, job_id: str, token: int) -> None:
        self._store = store
        self._token = token
        self.job_id = job_id

    @property
    def attempt(self) -> int:
        """A number that grows with every attempt at the job."""
        return self._token

    def step(self, step: int, total_steps: int, values: Mapping[str, float]) -> None:
        """Metrics of one optimizer step, and a line in the log."""
        log.info("step", step=step, total_steps=total_steps, loss=values.get("loss/total"), reward=values.get("reward/total"))
        if self._store is not None:
            try:
                self._store.record_step(
                    self.job_id, self._token, step=step, total_steps=total_steps, metrics=values
                )
            except (StaleTokenError, JobNotFoundError) as error:
                raise Superseded(str(error)) from None

    def check(self) -> None:
        """Call it before a checkpoint is written."""
        if self._store is not None:
            try:
                self._store.check(self.job_id, self._token)
            except (StaleTokenError, JobNotFoundError) as error:
                raise Superseded(str(error)) from None


def progress_from_environment() -> Progress:
    """Progress of the job that `ASSAY_JOB_ID` and `ASSAY_JOB_TOKEN` name; without them, of a run of its own."""
    job_id = os.environ.get("ASSAY_JOB_ID", "")
    if not job_id:
        return Progress(None, f"local-{os.getpid()}", 0)
    return Progress(JobStore(connect(redis_url())), job_id, int(os.environ["ASSAY_JOB_TOKEN"]))
