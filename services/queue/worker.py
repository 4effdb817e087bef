"""`python -m services.queue.worker rollouts|training`: a Celery worker for one queue.

Tasks run in threads: they wait for services and for the trainer, and gRPC does not survive a fork. SIGTERM ends the
worker once its tasks have ended; a training task then asks its trainer to write a checkpoint and puts the job back.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning, Reject, SecurityWarning
from kombu.exceptions import OperationalError
from pydantic import ValidationError

from services.client.rollout import RolloutClient
from services.jobs.store import JobStore
from services.queue.app import make_app
from services.queue.collect import Collector, collect
from services.queue.collection import CollectionRequest, Collections
from services.queue.connection import UNREACHABLE, RedisAddressError, connect, redis_url
from services.queue.group import Shared
from services.queue.lease import Leases
from services.queue.loop_thread import LoopThread
from services.queue.outbox import publish_job, publish_outbox
from services.queue.queues import COLLECT_TASK, ROLLOUTS, TRAIN_TASK, TRAINING, lease_seconds
from services.queue.ready_file import write_ready_file
from services.queue.shared_calls import Logprobs, Scorers
from services.queue.train import TrainingWorker, train
from services.server.logs import LEVELS, configure_logs
from services.server.parent import watch_parent

log = structlog.get_logger()

# collecting is waiting: while some tasks wait for their scores, the policy must have others to sample for
_TASKS_AT_ONCE = {ROLLOUTS: 16, TRAINING: 1}
_BLOCKING_CALLS = 512
_PATIENCE_SECONDS = 60.0


def main() -> None:
    """Runs a worker until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m services.queue.worker", description=__doc__)
    parser.add_argument("queue", choices=[ROLLOUTS, TRAINING], help="the queue to work on")
    parser.add_argument("--concurrency", type=int, help="tasks at once; by default 16 for rollouts and 1 for training")
    parser.add_argument("--ready-file", type=Path, help="file to write name and pid to, as JSON, once it takes tasks")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="least level that is logged")
    options = parser.parse_args()
    concurrency = options.concurrency or _TASKS_AT_ONCE[options.queue]
    if concurrency < 1:
        parser.error(f"--concurrency is {options.concurrency}; it must be at least 1")
    configure_logs(f"worker-{options.queue}", options.log_level)
    watch_parent()
    try:
        url = redis_url()
        app = make_app(url)
    except (RedisAddressError, ValueError) as error:
        parser.error(str(error))
    stopping = _prepare(options.queue, options.ready_file)
    if options.queue == TRAINING:
        register_training(app, url, stopping)
    else:
        register_rollouts(app, url)
    worker: Any = app.Worker(
        hostname=f"{options.queue}-{os.getpid()}@{socket.gethostname()}",
        pool_cls="threads",
        concurrency=concurrency,
        queues=[options.queue],
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def register_training(app: Celery, url: str, stopping: threading.Event) -> None:
    """Adds the training task to a worker's application."""
    redis = connect(url, _PATIENCE_SECONDS)
    store = JobStore(redis)
    worker = TrainingWorker(
        store=store,
        leases=Leases(redis, lease_seconds()),
        redis_url=url,
        send_again=lambda job_id, ticket: publish_job(app, job_id, pause_seconds=float("inf"), ticket=ticket),
        publish=lambda: _publish(store, app),
        stopping=stopping,
    )

    @app.task(name=TRAIN_TASK)
    def train_task(job_id: str, ticket: str) -> None:
        try:
            train(worker, job_id, ticket)
        except UNREACHABLE as error:
            raise Reject(f"Redis is away: {type(error).__name__}", requeue=True) from error


def register_rollouts(app: Celery, url: str) -> None:
    """Adds the collection task to a worker's application."""
    redis = connect(url, _PATIENCE_SECONDS)
    collections = Collections(redis, app)
    rollout = RolloutClient()
    shared = Shared(Scorers(), Logprobs(rollout))
    collector = Collector(collections, Leases(redis, lease_seconds()), rollout, LoopThread(_BLOCKING_CALLS), shared)

    @app.task(name=COLLECT_TASK)
    def collect_task(request: dict[str, Any], ticket: str) -> None:
        try:
            collect(collector, CollectionRequest.model_validate(request), ticket)
        except ValidationError as error:
            # a message of another release: whoever sent it gives up after its own time-out
            problems = [{"field": each["loc"], "problem": each["type"]} for each in error.errors(include_input=False)]
            log.error("request refused", problems=problems)
        except UNREACHABLE as error:
            raise Reject(f"Redis is away: {type(error).__name__}", requeue=True) from error


def _publish(store: JobStore, app: Celery) -> None:
    try:
        publish_outbox(store, app)
    except (*UNREACHABLE, OperationalError) as error:
        # the jobs service publishes what is left, as soon as Redis is back
        log.warning("outbox not published", reason=type(error).__name__)


def _prepare(queue: str, ready_file: Path | None) -> threading.Event:
    """Settles Celery's logs and signals; the event is set when the worker was told to end."""
    stopping = threading.Event()
    # a line for each message received and each task done: the tasks have better ones
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Celery complains about root because of pickle, which is off, and about a default of its next version
    warnings.filterwarnings("ignore", category=SecurityWarning)
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

    @signals.setup_logging.connect(weak=False)
    def keep_our_logs(**_: Any) -> None: ...

    @signals.worker_shutting_down.connect(weak=False)
    def stop(**_: Any) -> None:
        stopping.set()

    @signals.worker_ready.connect(weak=False)
    def ready(**_: Any) -> None:
        log.info("taking tasks", queue=queue)
        if ready_file:
            write_ready_file(ready_file, f"worker-{queue}")

    return stopping


if __name__ == "__main__":
    main()
