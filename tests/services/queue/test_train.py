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
from typing import Any

import pytest
from redis import Redis

from services.jobs.job import Job, JobState, LogLine
from services.jobs.store import JobStore
from services.queue.app import make_app
from services.queue.embedded_redis import EmbeddedRedis
from services.queue.outbox import publish_job, publish_outbox

HOURS = 1_000_000
"""Steps of a job that a test ends itself."""
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
            assert not job.state.final, f"{job.state}, at step {job.step}: {job.message}"
            time.sleep(0.05)
        return job

    def ended(self, job_id: str) -> Job:
        return self.wait(job_id, lambda job: job.state.final)

    def stopped(self, job_id: str) -> Job:
        """The job after it was cancelled, for jobs that would go on for hours."""
        self.store.cancel(job_id)
        return self.ended(job_id)

    def log(self, job_id: str) -> list[str]:
        return [event.what.line for event in self.store.events(job_id, count=5000) if isinstance(event.what, LogLine)]

    def states(self, job_id: str) -> list[str]:
        return [event.what.state for event in self.store.events(job_id, count=5000) if isinstance(event.what, Job)]


@pytest.fixture(scope="module")
def runs(module_environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of all tests of this file, made by the stub."""
    runs = tmp_path_factory.mktemp("runs")
    module_environment.setenv("ASSAY_TRAINER_COMMAND", shlex.join(STUB))
    module_environment.setenv("ASSAY_RUNS_DIR", str(runs))
    module_environment.setenv("PYTHONPATH", str(Path(__file__).parents[3]), prepend=os.pathsep)
    return runs


@pytest.fixture
def queue(runs: Path, redis: Redis, redis_server: EmbeddedRedis) -> Queue:
    return Queue(redis, redis_server)


def steps(job: Job) -> list[int]:
    return [int(line.split()[0]) for line in (Path(job.run_dir) / "steps.txt").read_text().splitlines()]


def test_what_becomes_of_good_refused_and_crashing_jobs(queue: Queue, workers: Any, runs: Path) -> None:
    good = queue.submit(steps=3)
    refused = queue.submit(refuse=True)
    twice = queue.submit(crashes=2, steps=4)
    too_often = queue.submit(crashes=2, steps=4, crash_code=-signal.SIGKILL, max_attempts=2)
    workers.one("training")

    job = queue.ended(good)
    assert (job.state, job.message, job.step, job.total_steps, job.attempts) == (JobState.SUCCEEDED, "", 3, 3, 1)
    assert job.run_dir == str(runs / good)
    assert json.loads((Path(job.run_dir) / "job.json").read_text()) == job.config
    assert queue.log(good) == ["goes on from step 0", "all done"]
    assert "all done" in (Path(job.run_dir) / "trainer.log").read_text()
    assert queue.states(good) == ["QUEUED", "RUNNING", "SUCCEEDED"]

    job = queue.ended(refused)
    assert (job.state, job.attempts) == (JobState.FAILED, 1)
    assert job.message == "loss.terms[0].type: unknown term 'grop'; known: grpo"

    job = queue.ended(twice)
    assert (job.state, job.attempts, job.failures, steps(job)) == (JobState.SUCCEEDED, 3, 2, [1, 2, 3, 4])
    assert queue.log(twice).count("RuntimeError: out of luck") == 2

    job = queue.ended(too_often)
    assert (job.state, job.attempts, steps(job)) == (JobState.FAILED, 2, [1, 2])
    assert job.message == "the trainer died by SIGKILL in attempt 2: RuntimeError: out of luck"


def test_a_worker_that_fails_itself_ends_the_attempt(
    queue: Queue, workers: Any, runs: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    workers.kill_all()  # those of other tests have the right command, and would take these jobs at once
    monkeypatch.setenv("ASSAY_TRAINER_COMMAND", "python 'unbalanced")
    blocked = queue.submit(max_attempts=1)
    (runs / blocked).write_text("no directory")
    confused = queue.submit(max_attempts=2)
    worker = workers.another("training")
    request.addfinalizer(worker.kill)
    job = queue.ended(blocked)
    assert (job.state, job.message) == (
        JobState.FAILED,
        f"cannot start the trainer: File exists: {runs / blocked}",
    )
    job = queue.ended(confused)
    assert (job.state, job.attempts, job.failures) == (JobState.FAILED, 2, 2)
    assert job.message == "the worker failed with ValueError: No closing quotation"


def test_cancel_stops_a_running_job_with_a_checkpoint_and_a_queued_one_at_once(queue: Queue, workers: Any) -> None:
    workers.one("training")
    running = queue.submit(steps=HOURS, step_seconds=0.05)
    queue.wait(running, lambda job: job.step >= 2)
    queued = queue.submit(steps=1)
    assert queue.store.cancel(queued).state == JobState.CANCELLED
    job = queue.stopped(running)
    assert (job.state, job.message) == (JobState.CANCELLED, "stopped on request")
    assert "stopped with a checkpoint" in queue.log(running)
    after = queue.submit(steps=1)
    assert queue.ended(after).state == JobState.SUCCEEDED
    assert queue.store.get(queued).attempts == 0, "the message of a cancelled job does nothing"


def test_a_killed_worker_takes_its_trainer_along_and_the_job_goes_on(queue: Queue, workers: Any) -> None:
    worker = workers.one("training")
    job_id = queue.submit(steps=HOURS, step_seconds=0.05)
    job = queue.wait(job_id, lambda job: job.step >= 3)
    trainer = int((Path(job.run_dir) / "pid.txt").read_text())
    worker.kill()
    wait_gone(trainer)
    before = len(steps(job))
    workers.one("training")
    queue.wait(job_id, lambda job: job.step >= before + 2)
    job = queue.stopped(job_id)
    assert (job.state, job.attempts, job.failures) == (JobState.CANCELLED, 2, 1)
    assert steps(job) == list(range(1, job.step + 1)), "every step once"


def test_a_worker_that_is_told_to_end_puts_its_job_back(queue: Queue, workers: Any) -> None:
    worker = workers.one("training")
    job_id = queue.submit(steps=HOURS, step_seconds=0.05)
    queue.wait(job_id, lambda job: job.step >= 3)
    worker.process.terminate()
    assert worker.process.wait() == 0
    before = queue.store.get(job_id)
    assert (before.state, before.failures) == (JobState.QUEUED, 0)
    assert "stopped with a checkpoint" in queue.log(job_id)
    workers.one("training")
    queue.wait(job_id, lambda job: job.step >= before.step + 2)
    job = queue.stopped(job_id)
    assert (job.attempts, job.failures, steps(job)) == (2, 0, list(range(1, job.step + 1)))


def test_redis_may_restart_while_a_job_runs(queue: Queue, workers: Any, redis_server: EmbeddedRedis) -> None:
    worker = workers.one("training")
    job_id = queue.submit(steps=30, step_seconds=0.1)
    queue.wait(job_id, lambda job: job.step >= 3)
    os.kill(redis_server.pid, signal.SIGKILL)
    time.sleep(1.0)
    redis_server.stop()
    redis_server.start()
    job = queue.ended(job_id)
    assert (job.state, job.attempts, steps(job)) == (JobState.SUCCEEDED, 1, list(range(1, 31)))
    assert queue.ended(queue.submit(steps=1)).state == JobState.SUCCEEDED, "the same worker takes the next job"
    assert worker.process.poll() is None


def test_a_second_delivery_stands_by_and_takes_over(queue: Queue, workers: Any, redis: Redis) -> None:
    first = workers.one("training")
    job_id = queue.submit(steps=HOURS, step_seconds=0.05)
    queue.wait(job_id, lambda job: job.step >= 1)
    second = workers.another("training")
    publish_job(queue.app, job_id)
    while '"stands_by": true' not in second.log:
        time.sleep(0.02)
    other = queue.submit(steps=1)
    assert queue.ended(other).state == JobState.SUCCEEDED, "the copy that stands by does not occupy the second worker"
    before = queue.store.get(job_id)
    assert before.attempts == 1
    first.kill()
    queue.wait(job_id, lambda job: job.attempts == 2 and job.step >= before.step + 2)
    job = queue.stopped(job_id)
    assert (job.attempts, steps(job)) == (2, list(range(1, job.step + 1)))
    while redis.llen("training") or redis.hlen("unacked"):
        time.sleep(0.05)


def test_a_worker_that_slept_through_its_lease_ends_its_trainer_and_writes_nothing(queue: Queue, workers: Any) -> None:
    sleeper = workers.one("training")
    job_id = queue.submit(silent=True)
    job = queue.wait(job_id, lambda job: (Path(job.run_dir) / "pid.txt").exists() if job.run_dir else False)
    old_trainer = int((Path(job.run_dir) / "pid.txt").read_text())
    sleeper.process.send_signal(signal.SIGSTOP)
    workers.another("training")
    running = queue.wait(job_id, lambda job: job.attempts == 2)
    sleeper.process.send_signal(signal.SIGCONT)
    while "another worker has taken the job over" not in sleeper.log:
        time.sleep(0.05)
    wait_gone(old_trainer)
    assert queue.store.get(job_id) == running
    assert queue.stopped(job_id).attempts == 2


def wait_gone(pid: int) -> None:
    """Until the process has ended; one that its parent did not wait for yet has."""
    while (
        Path(f"/proc/{pid}/stat").exists()
        and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ):
        time.sleep(0.02)
