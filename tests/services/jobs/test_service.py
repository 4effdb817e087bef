"""The jobs service as a process, over a real socket and a real Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from redis import Redis

from protos.gen.assay.v1 import jobs_pb2, jobs_pb2_grpc
from services.client.channel import ServiceError, ServiceUnavailableError, open_channel
from services.client.jobs import JobsClient
from services.jobs.job import Job, JobState, LogLine
from services.jobs.store import JobStore
from services.queue.embedded_redis import EmbeddedRedis

CONFIG = {"job": {"name": "run"}, "optim": {"lr": 1e-3}}
SECRET = "s3cret-of-the-test"


class JobsService:
    """The service as a child process, which can be killed and started again on its port."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.port = 0
        self._ready, self._redis_url = folder / "ready.json", redis_url
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "services.jobs", "--port", str(self.port), "--metrics-port", "0"]
        self.process = subprocess.Popen(
            [*command, "--ready-file", self._ready, "--log-level", "warning"],
            env={**os.environ, "REDIS_URL": self._redis_url, "ASSAY_EXIT_WITH_PARENT": "1"},
        )
        while not self._ready.exists():
            assert self.process.poll() is None
            time.sleep(0.02)
        self.address = json.loads(self._ready.read_text())["address"]
        self.port = int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._ready.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def service(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsService]:
    service = JobsService(tmp_path_factory.mktemp("jobs"), redis_server.url)
    yield service
    service.kill()


@pytest.fixture
def client(service: JobsService) -> Iterator[JobsClient]:
    with JobsClient(service.address) as client:
        yield client


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis)


def test_a_submitted_job_is_stored_and_its_message_sent(client: JobsClient, redis: Redis) -> None:
    job = client.submit(CONFIG)
    assert (job.name, job.state, job.config, job.deduplicated) == ("run", JobState.QUEUED, CONFIG, False)
    assert client.get(job.id) == job
    while not redis.llen("training"):
        time.sleep(0.02)
    time.sleep(1.2)
    assert redis.llen("training") == 1, "published once"
    assert client.submit(CONFIG).id != job.id
    assert [listed.id for listed in client.list()][-1] == job.id
    assert len(client.list(limit=1)) == 1


def test_two_submissions_with_one_key_are_one_job(client: JobsClient, redis: Redis) -> None:
    barrier = threading.Barrier(16)

    def submit(_: int) -> Job:
        barrier.wait()
        return client.submit(CONFIG, "key")

    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(submit, range(16)))
    assert len({job.id for job in jobs}) == 1
    assert sum(not job.deduplicated for job in jobs) == 1
    with pytest.raises(ServiceError, match=r"'key' belongs to job run-.* another configuration") as refused:
        client.submit({**CONFIG, "optim": {"lr": 2e-3}}, "key")
    assert refused.value.code is grpc.StatusCode.ALREADY_EXISTS


def test_cancel(client: JobsClient, store: JobStore) -> None:
    queued, running = client.submit(CONFIG), client.submit(CONFIG)
    store.start(running.id, 1, "")
    assert client.cancel(queued.id).state == JobState.CANCELLED
    assert client.cancel(running.id).state == JobState.RUNNING
    assert store.cancel_requested(running.id)
    store.settle(running.id, 1, JobState.CANCELLED, "stopped on request")
    assert client.cancel(running.id).state == JobState.CANCELLED


@pytest.mark.parametrize(
    ("method", "request_", "code", "says"),
    [
        ("Submit", jobs_pb2.SubmitRequest(config_json="{"), "INVALID_ARGUMENT", "config_json is not JSON"),
        ("Submit", jobs_pb2.SubmitRequest(config_json='{"job": {}}'), "INVALID_ARGUMENT", "job.name"),
        (
            "Submit",
            jobs_pb2.SubmitRequest(config_json='{"job": {"name": "a"}}', idempotency_key="k" * 129),
            "INVALID_ARGUMENT",
            "idempotency_key",
        ),
        (
            "Submit",
            jobs_pb2.SubmitRequest(config_json='{"job": {"name": "a", "x": "' + "y" * 2**20 + '"}}'),
            "INVALID_ARGUMENT",
            "1048576",
        ),
        ("Get", jobs_pb2.GetJobRequest(id="nobody"), "NOT_FOUND", "nobody"),
        ("Cancel", jobs_pb2.CancelJobRequest(id="nobody"), "NOT_FOUND", "nobody"),
        # a store's key of another kind, and an id whose error would not fit gRPC's trailers
        ("Get", jobs_pb2.GetJobRequest(id="tiny:events"), "NOT_FOUND", "tiny:events"),
        ("Get", jobs_pb2.GetJobRequest(id="x" * 100_000), "NOT_FOUND", "xxx..."),
        ("List", jobs_pb2.ListJobsRequest(limit=1001), "INVALID_ARGUMENT", "limit is 1001"),
        ("Watch", jobs_pb2.WatchRequest(id="nobody"), "NOT_FOUND", "nobody"),
        ("Watch", jobs_pb2.WatchRequest(id="nobody", after="yesterday"), "INVALID_ARGUMENT", "after"),
        ("Watch", jobs_pb2.WatchRequest(id="nobody", after=f"{2**64}-0"), "INVALID_ARGUMENT", "after"),
    ],
)
def test_bad_requests_are_refused_by_name(
    service: JobsService, method: str, request_: Any, code: str, says: str
) -> None:
    with open_channel(service.address) as channel, pytest.raises(grpc.RpcError) as refused:
        answer = getattr(jobs_pb2_grpc.JobsStub(channel), method)(request_)
        list(answer if method == "Watch" else [])
    assert refused.value.code().name == code  # pyright: ignore[reportAttributeAccessIssue]
    assert says in refused.value.details()  # pyright: ignore[reportAttributeAccessIssue]


def test_watch_tells_everything_until_the_end_and_goes_on_from_a_cursor(client: JobsClient, store: JobStore) -> None:
    job = client.submit(CONFIG)

    def work() -> None:
        store.start(job.id, 1, "/runs")
        for step in range(1, 251):
            store.record_step(job.id, 1, step=step, total_steps=250, metrics={"loss/total": 1 / step})
        store.record_lines(job.id, 1, ["the end"])
        store.settle(job.id, 1, JobState.SUCCEEDED, "")

    worker = threading.Timer(0.3, work)
    worker.start()
    events = list(client.watch(job.id))
    worker.join()
    states = [event.what.state for event in events if isinstance(event.what, Job)]
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]
    assert len(events) == 3 + 250 + 1
    assert events == list(store.events(job.id, count=1000))
    assert list(client.watch(job.id, after=events[100].cursor)) == events[101:]
    assert list(client.watch(job.id, after=events[-1].cursor)) == [], "nothing follows the end"


def test_a_live_jobs_history_can_be_read_without_waiting(client: JobsClient, store: JobStore) -> None:
    job = client.submit(CONFIG)
    store.start(job.id, 1, "")
    store.record_lines(job.id, 1, ["so far"])
    events = [event.what for event in client.watch(job.id, history_only=True)]
    assert [what.line for what in events if isinstance(what, LogLine)] == ["so far"]
    assert not client.get(job.id).state.final


def test_a_watcher_outlives_a_restart_of_the_service_and_of_redis(
    service: JobsService, client: JobsClient, store: JobStore, redis_server: EmbeddedRedis
) -> None:
    job = client.submit(CONFIG)
    store.start(job.id, 1, "")
    seen: list[Any] = []
    watcher = threading.Thread(target=lambda: seen.extend(event.what for event in client.watch(job.id)))
    watcher.start()
    store.record_lines(job.id, 1, ["before"])
    service.kill()
    store.record_lines(job.id, 1, ["between"])
    redis_server.stop()
    service.start()
    time.sleep(0.5)
    redis_server.start()
    store.record_lines(job.id, 1, ["after"])
    store.settle(job.id, 1, JobState.SUCCEEDED, "")
    watcher.join(30)
    assert [what.line for what in seen if isinstance(what, LogLine)] == ["before", "between", "after"]
    assert isinstance(seen[-1], Job) and seen[-1].state is JobState.SUCCEEDED


def test_while_redis_is_away_the_service_says_so(
    service: JobsService, redis: Redis, redis_server: EmbeddedRedis
) -> None:
    redis_server.stop()
    try:
        with (
            JobsClient(service.address, patience_seconds=0.1) as client,
            pytest.raises(ServiceUnavailableError) as away,
        ):
            client.list()
        assert "the job store is away" in str(away.value)
    finally:
        redis_server.start()
    with JobsClient(service.address) as client:
        job = client.submit(CONFIG)
    while not redis.llen("training"):
        time.sleep(0.02)
    assert job.state is JobState.QUEUED


@pytest.mark.parametrize("url", ["", f"redis://:{SECRET}@/0"])
def test_without_a_usable_redis_url_the_service_refuses_to_start(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.jobs", "--port", "0"],
        env={**os.environ, "REDIS_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "REDIS_URL" in done.stderr and SECRET not in done.stderr
