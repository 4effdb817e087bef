"""Publishes the jobs that wait in the job store's outbox. The jobs service and the training workers both do it."""

from __future__ import annotations

from celery import Celery

from services.jobs.store import JobStore
from services.queue.queues import TRAIN_TASK, visibility_timeout_seconds

_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0


def publish_outbox(store: JobStore, app: Celery) -> None:
    """Sends each waiting job to the training queue; jobs that were attempted before after a growing pause.

    Raises what Celery and redis-py raise while Redis is away; what was not sent stays in the outbox.
    """
    for job_id, attempts in store.outbox():
        publish_job(app, job_id, pause_seconds=_PAUSE_SECONDS * attempts)
        store.published(job_id, attempts)


def publish_job(app: Celery, job_id: str, pause_seconds: float = 0.0, ticket: str = "") -> None:
    """Sends a job to the training queue, to be taken up after the pause (10 seconds at most).

    ticket: of a message that stands by (`Leases.stand_by`).
    A worker holds a message for the length of its pause, and the pause must end before the message counts as lost.
    """
    longest = min(_LONGEST_PAUSE_SECONDS, visibility_timeout_seconds() / 3)
    app.send_task(
        TRAIN_TASK, kwargs={"job_id": job_id, "ticket": ticket}, countdown=min(pause_seconds, longest) or None
    )
