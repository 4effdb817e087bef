"""The embedded Redis: loopback and password, data that survives, no second server on the same data, no orphan."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry

from services.queue import embedded_redis
from services.queue.connection import RedisAddressError, check_redis_url, connect, redis_url, shown
from services.queue.embedded_redis import EmbeddedRedis, EmbeddedRedisError

SECRET = "s3cret-of-the-test"


def test_data_survives_a_kill(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        client = connect(server.url)
        client.set("key", b"value")
        address = server.address
        os.kill(server.pid, signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        server.start()
        assert server.address == address
        assert client.get("key") == b"value"


def test_a_password_is_asked_for_and_is_in_no_file(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, password=SECRET) as server:
        with pytest.raises(AuthenticationError):
            Redis(port=server.port, retry=Retry(NoBackoff(), 0)).ping()
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert SECRET.encode() not in command
    for file in tmp_path.rglob("*"):
        assert SECRET.encode() not in file.read_bytes()


def test_listens_on_the_loopback_interface_only(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        rows = Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]
        listening = {row.split()[1] for row in rows if row.split()[3] == "0A"}
        assert f"0100007F:{server.port:04X}" in listening
        assert f"00000000:{server.port:04X}" not in listening


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "_STOP_SECONDS", 0.2)
    with EmbeddedRedis(tmp_path), pytest.raises(EmbeddedRedisError, match="another redis-server uses"):
        EmbeddedRedis(tmp_path, port=_free_port()).start()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EmbeddedRedisError, match="ended with 1"):
            EmbeddedRedis(tmp_path, port=taken.getsockname()[1]).start()


def test_without_the_wheel_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedRedisError, match="REDIS_URL"):
        embedded_redis.server_binary()


def test_a_binary_that_cannot_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text("not a program")
    monkeypatch.setattr(embedded_redis, "server_binary", lambda: binary)
    with pytest.raises(EmbeddedRedisError, match=r"ended with 1: PermissionError: .*"):
        EmbeddedRedis(tmp_path / "state", port=_free_port()).start()


def test_as_a_process_it_leaves_no_server_behind_when_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "services.queue.embedded_redis", "--port", "0", "--ready-file", ready]
    command += ["--state-dir", tmp_path / "state"]
    process = subprocess.Popen(command, env={**os.environ, "ASSAY_REDIS_PASSWORD": SECRET})
    try:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.02)
        address = json.loads(ready.read_text())["address"]
        server = _children(process.pid)[0]
        assert connect(f"redis://:{SECRET}@{address}/0").ping()
    finally:
        process.kill()
        process.wait()
    while Path(f"/proc/{server}/cmdline").exists() and Path(f"/proc/{server}/cmdline").read_bytes():
        time.sleep(0.02)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@host:1/0",
        f"redis://:{SECRET}/@host:1/0",
        f"redis://:pass:{SECRET}/x@host/0",
        f"redis://:{SECRET}@:1/0",
        f"redis://:{SECRET}@host:1/zero",
        f"redis://:{SECRET}@host:99999/0",
        f"redis://:{SECRET}@host:0/0",
        SECRET,
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(RedisAddressError) as error:
        check_redis_url(url)
    assert SECRET not in str(error.value) and error.value.__cause__ is None


def test_a_missing_url_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(RedisAddressError, match="assay up"):
        redis_url()


def test_a_url_is_shown_without_its_password() -> None:
    assert shown(f"redis://user:{SECRET}@host:7000/2") == "redis://host:7000/2"
    assert shown("redis://host") == "redis://host:6379/0"


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
