"""Redis as the manifest starts it, on a real server: it wants the password, keeps its data, and its probes tell the truth."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import BusyLoadingError, ConnectionError
from redis.retry import Retry

from services.queue.embedded_redis import server_binary

PASSWORD = "6f1d0c"


@pytest.fixture
def container(base):
    [redis] = [document for document in base if document.kind == "StatefulSet"]
    return redis.main


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def verdicts(base):
    [redis] = [document for document in base if document.kind == "Deployment" and document.name == "verdicts"]
    return redis.main


@contextmanager
def running(container, data: Path, port: int) -> Iterator[Redis]:
    """The manifest's command, in `data` for /data and on a port of its own."""
    changed = {"/data": str(data), "/tmp": str(data), "$(REDIS_PASSWORD)": PASSWORD}
    arguments = [changed.get(argument, argument) for argument in container["args"]]
    command = [str(server_binary().with_name(container["command"][0])), *arguments, "--port", str(port)]
    server = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL, cwd=data)
    try:
        retry = Retry(ConstantBackoff(0.05), 200)
        yield Redis(port=port, password=PASSWORD, retry=retry, retry_on_error=[ConnectionError, BusyLoadingError])
    finally:
        server.kill()  # not asked to save anything first
        server.wait()


def probe(container, name: str, port: int, password: str) -> int:
    """Exit code of a probe's command, as the kubelet runs it."""
    binaries = server_binary().parent
    # redis-cli has no variable for the port
    command = [part.replace("redis-cli", f"{binaries}/redis-cli -p {port}") for part in container[name]["exec"]["command"]]
    environment = {"PATH": os.environ["PATH"], "REDIS_PASSWORD": password}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_redis_keeps_what_it_was_given_and_wants_the_password(container, tmp_path):
    port = free_port()
    with running(container, tmp_path, port) as redis:
        redis.set("job", "queued")
        assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with pytest.raises(AuthenticationError):
            Redis(port=port).get("job")
    with running(container, tmp_path, port) as redis:
        assert redis.get("job") == b"queued"


def test_redis_of_the_verdicts_forgets_the_oldest_and_wants_the_password(verdicts, tmp_path):
    port = free_port()
    with running(verdicts, tmp_path, port) as redis:
        redis.set("verdict", "right")
        assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        with pytest.raises(AuthenticationError):
            Redis(port=port).get("verdict")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_tell_whether_redis_answers(container, tmp_path, name):
    port = free_port()
    with running(container, tmp_path, port) as redis:
        redis.ping()
        assert probe(container, name, port, PASSWORD) == 0
        assert probe(container, name, port, "another") != 0
    assert probe(container, name, port, PASSWORD) != 0
