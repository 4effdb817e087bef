"""A real Redis for each test file that asks for one, and real Celery workers that end with the test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from services.queue.connection import connect
from services.queue.embedded_redis import EmbeddedRedis


@pytest.fixture(autouse=True)
def short_visibility(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead worker's message comes again after two seconds."""
    monkeypatch.setenv("ASSAY_VISIBILITY_TIMEOUT_SECONDS", "2")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    """A client of an empty database."""
    with connect(redis_server.url) as client:
        client.flushall()
        yield client


StartWorker = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start_worker(redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker for a queue and returns once it takes tasks; its log is in `tmp_path`. Killed after the test."""
    workers: list[subprocess.Popen[bytes]] = []

    def start(queue: str) -> subprocess.Popen[bytes]:
        number = len(workers)
        ready = tmp_path / f"ready-{number}.json"
        command = [sys.executable, "-m", "services.queue.worker", queue, "--ready-file", ready]
        with (tmp_path / f"worker-{number}.log").open("wb") as log:
            worker = subprocess.Popen(
                command,
                env={**os.environ, "REDIS_URL": redis_server.url, "ASSAY_EXIT_WITH_PARENT": "1"},
                stdout=log,
                stderr=log,
            )
        workers.append(worker)
        while not ready.exists():
            assert worker.poll() is None, Path(log.name).read_text()
            time.sleep(0.02)
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()
