"""The job store: idempotent submission, legal transitions, fenced writes, a history that can be read on."""

from __future__ import annotations

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from services.jobs.job import Job, JobState, LogLine, StepMetrics
from services.jobs.store import (
    IdempotencyConflictError,
    IllegalTransitionError,
    JobNotFoundError,
    JobStore,
    StaleTokenError,
)
from services.queue.embedded_redis import EmbeddedRedis

CONFIG = json.dumps({"job": {"name": "Tiny run"}, "optim": {"lr": 1e-3}})


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis)


def states(store: JobStore, job: Job) -> list[JobState]:
    return [event.what.state for event in store.events(job.id) if isinstance(event.what, Job)]


def test_a_submitted_job_waits_in_queue_and_outbox(store: JobStore) -> None:
    job = store.submit(CONFIG)
    assert job.id.startswith("tiny-run-")
    assert (job.name, job.state, job.config_json, job.attempts) == ("Tiny run", JobState.QUEUED, CONFIG, 0)
    assert [job_id for job_id, _ in store.outbox()] == [job.id]
    assert store.get(job.id) == job
    assert states(store, job) == [JobState.QUEUED]


def test_two_submissions_with_one_key_are_one_job(store: JobStore) -> None:
    first = store.submit(CONFIG, "key")
    second = store.submit(json.dumps(json.loads(CONFIG), indent=2, sort_keys=True), "key")
    assert second.id == first.id and second.deduplicated and not first.deduplicated
    assert store.submit(CONFIG).id != first.id, "no key, no deduplication"
    assert store.submit(CONFIG, "other").id != first.id


@pytest.mark.parametrize("other", [{"lr": 2e-3}, {"lr": True}])
def test_one_key_with_another_configuration_is_refused(store: JobStore, other: dict[str, float]) -> None:
    first = store.submit(json.dumps({"job": {"name": "a"}, "optim": {"lr": 1}}), "key")
    with pytest.raises(IdempotencyConflictError, match=first.id):
        store.submit(json.dumps({"job": {"name": "a"}, "optim": other}), "key")
    assert len(store.list(10)) == 1


@pytest.mark.parametrize("question", ["get", "state", "cancel", "events", "cancel_requested"])
def test_the_key_of_something_else_is_no_job(store: JobStore, question: str) -> None:
    job = store.submit(CONFIG)
    with pytest.raises(JobNotFoundError, match=f"{job.id}:events"):
        getattr(store, question)(f"{job.id}:events")


def test_sixteen_threads_with_one_key_make_one_job(store: JobStore) -> None:
    barrier = threading.Barrier(16)

    def submit(_: int) -> Job:
        barrier.wait()
        return store.submit(CONFIG, "key")

    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(submit, range(16)))
    assert len({job.id for job in jobs}) == 1
    assert sum(not job.deduplicated for job in jobs) == 1
    assert len(store.list(100)) == len(store.outbox()) == 1


def test_the_list_is_newest_first_without_configurations(store: JobStore, redis: Redis) -> None:
    ids = [store.submit(CONFIG).id for _ in range(3)]
    assert [job.id for job in store.list(2)] == [ids[2], ids[1]]
    assert {job.config_json for job in store.list(3)} == {""}
    redis.delete(f"assay:job:{ids[1]}")
    assert [job.id for job in store.list(3)] == [ids[2], ids[0]]
    assert redis.zcard("assay:jobs") == 2, "a job that was forgotten leaves the index"


def test_a_run_from_start_to_success(store: JobStore, redis: Redis) -> None:
    job = store.submit(CONFIG, "key")
    started = store.start(job.id, 7, "/runs/x")
    assert (started.state, started.attempts, started.run_dir) == (JobState.RUNNING, 1, "/runs/x")
    store.record_step(job.id, 7, step=3, total_steps=9, metrics={"loss/total": 0.5, "loss/kl": math.inf})
    store.record_lines(job.id, 7, ["one", "x" * 5000])
    store.settle(job.id, 7, JobState.SUCCEEDED, "done")
    ended = store.get(job.id)
    assert (ended.state, ended.message, ended.step, ended.total_steps) == (JobState.SUCCEEDED, "done", 3, 9)
    assert ended.submitted_at <= ended.started_at <= ended.ended_at
    events = store.events(job.id)
    assert [type(event.what) for event in events] == [Job, Job, StepMetrics, LogLine, LogLine, Job]
    assert events[2].what == StepMetrics(3, {"loss/total": 0.5, "loss/kl": math.inf})
    assert events[4].what == LogLine("x" * 4000)
    for key in (f"assay:job:{job.id}", f"assay:job:{job.id}:events", "assay:idempotency:key"):
        assert redis.ttl(key) > 0, "ended jobs are forgotten in the end"


def test_the_history_is_read_on_after_a_cursor(store: JobStore) -> None:
    job = store.submit(CONFIG)
    store.start(job.id, 1, "")
    store.record_lines(job.id, 1, [str(number) for number in range(10)])
    events = store.events(job.id)
    for place, event in enumerate(events):
        assert store.events(job.id, after=event.cursor) == events[place + 1 :]
    assert store.events(job.id, count=3) == events[:3]


def test_a_long_history_forgets_its_oldest_events(store: JobStore, redis: Redis) -> None:
    job = store.submit(CONFIG)
    store.start(job.id, 1, "")
    for _ in range(12):
        store.record_lines(job.id, 1, ["line"] * 500)
    assert 5000 <= redis.xlen(f"assay:job:{job.id}:events") < 5500
    store.settle(job.id, 1, JobState.SUCCEEDED, "")
    assert isinstance(store.events(job.id, count=10_000)[-1].what, Job)


def test_a_stale_token_writes_nothing(store: JobStore) -> None:
    job = store.submit(CONFIG)
    store.start(job.id, 1, "old")
    store.check(job.id, 1)
    taken_over = store.start(job.id, 2, "new")
    assert (taken_over.attempts, taken_over.failures, taken_over.run_dir) == (2, 1, "new")
    before = store.get(job.id), store.events(job.id)
    for write in (
        lambda: store.record_step(job.id, 1, step=5, total_steps=6, metrics={}),
        lambda: store.record_lines(job.id, 1, ["late"]),
        lambda: store.settle(job.id, 1, JobState.SUCCEEDED, ""),
        lambda: store.start(job.id, 1, "old"),
        lambda: store.start(job.id, 2, "again"),
        lambda: store.check(job.id, 1),
    ):
        with pytest.raises(StaleTokenError):
            write()
    assert (store.get(job.id), store.events(job.id)) == before


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_nothing_follows_a_final_state(store: JobStore, state: JobState) -> None:
    job = store.submit(CONFIG)
    store.start(job.id, 1, "")
    store.settle(job.id, 1, state, "")
    before = store.get(job.id)
    for write in (
        lambda: store.start(job.id, 2, ""),
        lambda: store.settle(job.id, 1, JobState.QUEUED, ""),
        lambda: store.record_lines(job.id, 1, ["late"]),
    ):
        with pytest.raises(IllegalTransitionError, match=state):
            write()
    assert store.cancel(job.id) == before


def test_a_queued_job_cannot_succeed(store: JobStore) -> None:
    job = store.submit(CONFIG)
    store.start(job.id, 1, "")
    store.settle(job.id, 1, JobState.QUEUED, "interrupted")
    with pytest.raises(IllegalTransitionError, match="QUEUED"):
        store.settle(job.id, 1, JobState.SUCCEEDED, "")


def test_a_job_given_back_is_in_the_outbox_and_counts_crashes_only(store: JobStore) -> None:
    job = store.submit(CONFIG)
    (entry,) = store.outbox()
    store.published(*entry)
    assert not store.outbox()
    store.start(job.id, 1, "")
    store.settle(job.id, 1, JobState.QUEUED, "the worker shuts down")
    assert store.get(job.id).failures == 0
    store.published(*entry)
    assert [job_id for job_id, _ in store.outbox()] == [job.id], "an old publication does not take the new entry out"
    assert store.start(job.id, 2, "").failures == 0
    store.settle(job.id, 2, JobState.QUEUED, "crashed", crashed=True)
    assert store.get(job.id).failures == 1
    assert store.start(job.id, 3, "").attempts == 3


def test_cancel_ends_a_queued_job_and_asks_a_running_one(store: JobStore) -> None:
    queued, running = store.submit(CONFIG), store.submit(CONFIG)
    store.start(running.id, 1, "")
    assert store.cancel(queued.id).state == JobState.CANCELLED
    assert [job_id for job_id, _ in store.outbox()] == [running.id]
    assert not store.cancel_requested(running.id)
    assert store.cancel(running.id).state == JobState.RUNNING
    assert store.cancel_requested(running.id)
    assert states(store, queued) == [JobState.QUEUED, JobState.CANCELLED]


def test_unknown_jobs_are_named(store: JobStore) -> None:
    for call in (
        lambda: store.get("nobody"),
        lambda: store.cancel("nobody"),
        lambda: store.events("nobody"),
        lambda: store.start("nobody", 1, ""),
        lambda: store.check("nobody", 1),
        lambda: store.record_lines("nobody", 1, [""]),
    ):
        with pytest.raises(JobNotFoundError, match="nobody"):
            call()


def test_jobs_survive_a_restart_of_redis(store: JobStore, redis_server: EmbeddedRedis) -> None:
    job = store.submit(CONFIG, "key")
    redis_server.stop()
    redis_server.start()
    assert store.get(job.id) == job
    assert store.submit(CONFIG, "key").id == job.id
    assert store.start(job.id, 1, "").state == JobState.RUNNING, "scripts are sent again to a new server"
