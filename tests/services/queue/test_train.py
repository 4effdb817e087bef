"""The training task with real workers, a real Redis and real processes. The trainer is a stub (`stub_trainer.py`)."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from services.jobs.job import Job, JobState, LogLine
from services.jobs.store import JobStore
from services.queue.app import make_app
from services.queue.embedded_redis import EmbeddedRedis
from services.queue.outbox import publish_job, publish_outbox

STUB = [sys.executable, str(Path(__file__).parent / "stub_trainer.py")]


class Queue:
    """A test's view of the training queue."""

    def __init__(self, redis: Redis, server: EmbeddedRedis) -> None:
        self.store = JobStore(redis)
        self.app = make_app(server.url)

    def submit(self, max_attempts: int = 3, **stub: object) -> str:
        config = {"job": {"name": "stub", "max_attempts": max_attempts}, "stub": stub}
        job = self.store.submit(json.dumps(config))
        publish_outbox(self.store, self.app)
        return job.id

    def wait(self, job_id: str, until: Callable[[Job], bool]) -> Job:
        while not until(job := self.store.get(job_id)):
            time.sleep(0.05)
        return job

    def ended(self, job_id: str) -> Job:
        return self.wait(job_id, lambda job: job.state.final)

    def log(self, job_id: str) -> list[str]:
        return [event.what.line for event in self.store.events(job_id, count=5000) if isinstance(event.what, LogLine)]

    def states(self, job_id: str) -> list[str]:
        return [event.what.state for event in self.store.events(job_id, count=5000) if isinstance(event.what, Job)]


@pytest.fixture
def queue(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("ASSAY_TRAINER_COMMAND", shlex.join(STUB))
    monkeypatch.setenv("ASSAY_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return Queue(redis, redis_server)


def steps(job: Job) -> list[int]:
    return [int(line.split()[0]) for line in (Path(job.run_dir) / "steps.txt").read_text().splitlines()]


def test_a_job_runs_to_its_end(queue: Queue, start_worker, tmp_path: Path) -> None:
    job_id = queue.submit(steps=3)
    start_worker("training")
    job = queue.ended(job_id)
    assert (job.state, job.message, job.step, job.total_steps, job.attempts) == (JobState.SUCCEEDED, "", 3, 3, 1)
    assert job.run_dir == str(tmp_path / "runs" / job_id)
    assert json.loads((Path(job.run_dir) / "job.json").read_text()) == job.config
    assert queue.log(job_id) == ["goes on from step 0", "all done"]
    assert "all done" in (Path(job.run_dir) / "trainer.log").read_text()
    assert queue.states(job_id) == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_what_becomes_of_refused_crashing_and_cancelled_jobs(queue: Queue, start_worker) -> None:
    start_worker("training")
    refused = queue.submit(refuse=True)
    twice = queue.submit(crashes=2, steps=4)
    thrice = queue.submit(crashes=3, steps=4, crash_code=-signal.SIGKILL)
    job = queue.ended(refused)
    assert (job.state, job.attempts) == (JobState.FAILED, 1)
    assert job.message == "loss.terms[0].type: unknown term 'grop'; known: grpo"
    job = queue.ended(twice)
    assert (job.state, job.attempts, job.failures, steps(job)) == (JobState.SUCCEEDED, 3, 2, [1, 2, 3, 4])
    assert queue.log(twice).count("RuntimeError: out of luck") == 2
    job = queue.ended(thrice)
    assert (job.state, job.attempts) == (JobState.FAILED, 3)
    assert job.message == "the trainer died by SIGKILL in attempt 3: RuntimeError: out of luck"
    assert steps(job) == [1, 2, 3]


def test_cancel_stops_a_running_job_with_a_checkpoint_and_a_queued_one_at_once(queue: Queue, start_worker) -> None:
    start_worker("training")
    running = queue.submit(steps=10_000, step_seconds=0.05)
    queue.wait(running, lambda job: job.step >= 2)
    queued = queue.submit(steps=1)
    assert queue.store.cancel(queued).state == JobState.CANCELLED
    queue.store.cancel(running)
    job = queue.ended(running)
    assert (job.state, job.message) == (JobState.CANCELLED, "stopped on request")
    assert "stopped with a checkpoint" in queue.log(running)
    after = queue.submit(steps=1)
    assert queue.ended(after).state == JobState.SUCCEEDED
    assert queue.store.get(queued).attempts == 0, "the message of a cancelled job does nothing"


def test_a_killed_worker_takes_its_trainer_along_and_the_job_goes_on(queue: Queue, start_worker) -> None:
    worker = start_worker("training")
    job_id = queue.submit(steps=20, step_seconds=0.1)
    job = queue.wait(job_id, lambda job: job.step >= 3)
    trainer = int((Path(job.run_dir) / "pid.txt").read_text())
    worker.kill()
    worker.wait()
    start_worker("training")
    wait_gone(trainer)
    job = queue.ended(job_id)
    assert (job.state, job.attempts, job.failures) == (JobState.SUCCEEDED, 2, 1)
    assert steps(job) == list(range(1, 21)), "every step once"


def test_a_worker_that_is_told_to_end_puts_its_job_back(queue: Queue, start_worker) -> None:
    worker = start_worker("training")
    job_id = queue.submit(steps=20, step_seconds=0.1)
    queue.wait(job_id, lambda job: job.step >= 3)
    worker.terminate()
    assert worker.wait() == 0
    job = queue.store.get(job_id)
    assert (job.state, job.failures) == (JobState.QUEUED, 0)
    assert "stopped with a checkpoint" in queue.log(job_id)
    start_worker("training")
    job = queue.ended(job_id)
    assert (job.state, job.attempts, steps(job)) == (JobState.SUCCEEDED, 2, list(range(1, 21)))


def test_redis_may_restart_while_a_job_runs(queue: Queue, start_worker, redis_server: EmbeddedRedis) -> None:
    worker = start_worker("training")
    job_id = queue.submit(steps=30, step_seconds=0.1)
    queue.wait(job_id, lambda job: job.step >= 3)
    os.kill(redis_server.pid, signal.SIGKILL)
    time.sleep(1.0)
    redis_server.stop()
    redis_server.start()
    job = queue.ended(job_id)
    assert (job.state, job.attempts, steps(job)) == (JobState.SUCCEEDED, 1, list(range(1, 31)))
    assert queue.ended(queue.submit(steps=1)).state == JobState.SUCCEEDED, "the same worker takes the next job"
    assert worker.poll() is None


def test_a_second_delivery_stands_by_while_the_first_runs(queue: Queue, start_worker, redis: Redis) -> None:
    start_worker("training")
    start_worker("training")
    job_id = queue.submit(steps=30, step_seconds=0.1)
    queue.wait(job_id, lambda job: job.step >= 1)
    publish_job(queue.app, job_id)
    other = queue.submit(steps=1)
    assert queue.ended(other).state == JobState.SUCCEEDED, "the copy that stands by does not occupy the second worker"
    job = queue.ended(job_id)
    assert (job.state, job.attempts, steps(job)) == (JobState.SUCCEEDED, 1, list(range(1, 31)))
    while redis.llen("training") or redis.hlen("unacked"):
        time.sleep(0.05)


def test_a_worker_that_slept_through_its_lease_writes_nothing(queue: Queue, start_worker, tmp_path: Path) -> None:
    sleeper = start_worker("training")
    job_id = queue.submit(steps=30, step_seconds=0.1)
    queue.wait(job_id, lambda job: job.step >= 1)
    os.kill(sleeper.pid, signal.SIGSTOP)
    start_worker("training")
    queue.wait(job_id, lambda job: job.attempts == 2)
    os.kill(sleeper.pid, signal.SIGCONT)
    job = queue.ended(job_id)
    assert (job.state, job.attempts, steps(job)) == (JobState.SUCCEEDED, 2, list(range(1, 31)))
    while "another worker has taken the job over" not in (tmp_path / "worker-0.log").read_text():
        time.sleep(0.05)
    assert queue.store.get(job_id) == job


def wait_gone(pid: int) -> None:
    """Until the process has ended; one that its parent did not wait for yet has."""
    while (
        Path(f"/proc/{pid}/stat").exists()
        and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ):
        time.sleep(0.02)
