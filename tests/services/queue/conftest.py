"""A real Redis for each test file, and real Celery workers, which tests of one file share until one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from services.queue.connection import connect
from services.queue.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="module")
def module_environment() -> Iterator[pytest.MonkeyPatch]:
    """Environment of a file's tests and workers. A dead worker's message comes again after two seconds."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ASSAY_VISIBILITY_TIMEOUT_SECONDS", "2")
        yield environment


@pytest.fixture(scope="module")
def redis_server(
    tmp_path_factory: pytest.TempPathFactory, module_environment: pytest.MonkeyPatch
) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    """A client of an empty database."""
    with connect(redis_server.url) as client:
        client.flushall()
        yield client


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Workers:
    """Workers of a file's tests."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder, self._redis_url = folder, redis_url
        self._started: list[Worker] = []

    def one(self, queue: str) -> Worker:
        """The only living worker, started where there is none."""
        living = [worker for worker in self._started if worker.process.poll() is None]
        for worker in living[1:]:
            worker.kill()
        return living[0] if living else self.another(queue)

    def another(self, queue: str) -> Worker:
        """A new worker; returns once it takes tasks."""
        number = len(self._started)
        ready, log_file = self._folder / f"ready-{number}.json", self._folder / f"{number}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.queue.worker", queue, "--ready-file", ready],
                env={**os.environ, "REDIS_URL": self._redis_url, "ASSAY_EXIT_WITH_PARENT": "1"},
                stdout=log,
                stderr=log,
            )
        worker = Worker(process, log_file)
        self._started.append(worker)
        while not ready.exists():
            assert process.poll() is None, worker.log
            time.sleep(0.02)
        return worker

    def kill_all(self) -> None:
        for worker in self._started:
            worker.process.send_signal(signal.SIGCONT)
            worker.kill()


@pytest.fixture(scope="module")
def workers(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("workers"), redis_server.url)
    yield workers
    workers.kill_all()
