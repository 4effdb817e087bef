"""The Celery application: two queues on Redis, delivered at least once, JSON only.

A message is acknowledged when its task has ended. When a worker dies, its messages become visible again after the
visibility time-out; a task that takes longer than that is delivered a second time while the first still runs. Tasks
therefore hold a lease (`services.queue.lease`) and carry a key that makes the second delivery harmless. Results are
no business of Celery: tasks write them to Redis under their key.
"""

from __future__ import annotations

from celery import Celery

from services.queue.queues import COLLECT_TASK, ROLLOUTS, TRAIN_TASK, TRAINING, visibility_timeout_seconds


def make_app(url: str) -> Celery:
    """An application on the Redis at `url`. Workers register their tasks with it; producers send by task name."""
    app = Celery("assay", broker=url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=ROLLOUTS,
        task_routes={COLLECT_TASK: {"queue": ROLLOUTS}, TRAIN_TASK: {"queue": TRAINING}},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_publish_retry_policy={
            "max_retries": 20,
            "interval_start": 0.05,
            "interval_step": 0.1,
            "interval_max": 0.5,
        },
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # With it on, kombu 5.7 kills a worker that loses Redis while it holds messages: closing the channel wants to
        # put them back over a connection whose address is forgotten by then (AttributeError).
        worker_enable_remote_control=False,
        broker_transport_options={
            "visibility_timeout": visibility_timeout_seconds(),
            # looks for dead workers' messages every second; with the defaults they wait for more than a minute
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            # a worker killed during that look leaves its mutex behind, and with the default nobody looks for 5 minutes
            "unacked_mutex_expire": 5,
            "socket_connect_timeout": 5.0,
        },
    )
    return app
