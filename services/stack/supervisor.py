"""Starts a stack in the order of its needs, keeps it up, and leaves nothing behind.

Another shell finds a running stack by `stack.json` in its state directory. A lock beside it, held for as long as the
supervisor lives, says whether the file is true; every process ends by itself when the supervisor is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

from redis.exceptions import RedisError

from services.queue.connection import RedisAddressError, check_redis_url, connect, shown
from services.queue.queues import ROLLOUTS, TRAINING
from services.stack.child import Child
from services.stack.spec import REDIS, ServiceSpec, StackError, default_services, redis_spec, worker_spec

_LOOK_SECONDS = 0.05

OnEvent = Callable[[str, str], None]
"""Gets the name of a process and what became of it: `starting`, `serving`, `died`, `stopped`."""


@dataclass(frozen=True, slots=True)
class RunningStack:
    """What other shells need to know of a running stack; the content of `stack.json`."""

    pid: int
    """Of the supervisor."""
    redis_url: str
    """With its password: never shown."""
    runs_dir: str
    addresses: Mapping[str, str]
    metrics_addresses: Mapping[str, str]
    pids: Mapping[str, int]
    logs: Mapping[str, str]


def running_stack(state_dir: Path) -> RunningStack | None:
    """The stack whose supervisor lives and whose processes all serve, or None."""
    try:
        with (state_dir / "stack.lock").open("rb") as lock:
            if _take(lock.fileno(), fcntl.LOCK_SH):
                return None
        return RunningStack(**json.loads((state_dir / "stack.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None


class Stack:
    """Redis, services and workers as child processes. A context manager: what it starts ends with the block."""

    def __init__(
        self,
        services: Sequence[ServiceSpec] | None = None,
        workers: Sequence[str] = (ROLLOUTS, TRAINING),
        *,
        state_dir: Path,
        runs_dir: Path,
        redis_url: str | None = None,
        on_event: OnEvent = lambda name, event: None,
        start_seconds: float = 180.0,
    ) -> None:
        """
        services: None for all that come with the project.
        workers: the queues that get a worker.
        state_dir: for logs, `stack.json` and the embedded Redis's data; one stack at a time.
        runs_dir: where training jobs write.
        redis_url: of a Redis that runs already; None takes `REDIS_URL`, and embeds one where that is not set.
        on_event: is told of every change, from the thread that starts the stack and from the one that looks after it.
        start_seconds: how long each process may take until it serves.
        Raises ValueError for names that appear twice and needs that nobody meets, StackError for a malformed Redis URL.
        """
        self._state_dir, self._runs_dir = state_dir.resolve(), runs_dir.resolve()
        self._on_event, self._start_seconds = on_event, start_seconds
        self._password = secrets.token_urlsafe(24)
        self._given_redis_url = redis_url or os.environ.get("REDIS_URL") or ""
        if self._given_redis_url:
            try:
                check_redis_url(self._given_redis_url)
            except RedisAddressError as error:
                raise StackError(str(error)) from None
        specs = _specs(
            services, workers, None if self._given_redis_url else redis_spec(self._state_dir, self._password)
        )
        self._children = {spec.name: Child(spec, self._state_dir) for spec in specs}
        self._lock_file: int | None = None
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep_up, name="stack", daemon=True)

    @property
    def addresses(self) -> Mapping[str, str]:
        """`host:port` of everything that listens, by name. Addresses stay the same when a service is started again."""
        return MappingProxyType(
            {name: child.ready.address for name, child in self._children.items() if child.ready and child.ready.address}
        )

    @property
    def redis_url(self) -> str:
        """With its password: for clients, never for a log. Known once Redis serves."""
        if self._given_redis_url:
            return self._given_redis_url
        return f"redis://:{self._password}@{self.addresses[REDIS]}/0"

    @property
    def restarts(self) -> Mapping[str, int]:
        """How often each process had to be started again."""
        return MappingProxyType({name: child.restarts for name, child in self._children.items()})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once everything serves. Raises StackError, after it has ended what it had started."""
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            self._lock()
        except OSError as error:
            raise StackError(f"cannot keep state in {self._state_dir}: {error.strerror}") from None
        try:
            self._check_given_redis()
            while not all(child.ready for child in self._children.values()):
                for child in self._children.values():
                    self._advance(child)
                    if child.restarts:
                        raise StackError(_why(child))
                time.sleep(_LOOK_SECONDS)
            self._keeper.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends everything, dependents first, each with its grace; what does not end is killed. May be called twice."""
        self._stopping.set()
        try:
            if self._keeper.is_alive():
                self._keeper.join()
            while any(child.alive for child in self._children.values()):
                for child in self._children.values():
                    if not any(
                        other.alive and child.spec.name in other.spec.needs for other in self._children.values()
                    ):
                        child.ask_to_end()
                    if child.look_ended() is not None:
                        self._on_event(child.spec.name, "stopped")
                time.sleep(_LOOK_SECONDS)
        finally:
            # also when a second Ctrl-C comes in between
            for child in self._children.values():
                child.kill()
            self._unlock()

    def _check_given_redis(self) -> None:
        if not self._given_redis_url:
            return
        try:
            with connect(self._given_redis_url, patience_seconds=3.0) as redis:
                redis.ping()
        except RedisError as error:
            raise StackError(
                f"Redis at {shown(self._given_redis_url)} does not answer: {type(error).__name__}"
            ) from None

    def _keep_up(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            for child in self._children.values():
                # a stack.json that cannot be written (a full disk) must not end the supervision; its addresses stay true
                with contextlib.suppress(OSError):
                    self._advance(child)

    def _advance(self, child: Child) -> None:
        """Does what is to be done for one process now."""
        name = child.spec.name
        code = child.look_ended()
        if code is not None:
            self._died(child, f"ended with code {code}")
        elif child.look_ready():
            self._on_event(name, "serving")
            self._write_stack_file()
        elif child.alive and not child.ready and child.seconds_since_start > self._start_seconds:
            child.kill()
            self._died(child, f"did not serve within {self._start_seconds:g} seconds")
        elif child.due and all(self._children[need].ready for need in child.spec.needs):
            self._on_event(name, "starting")
            try:
                child.start(self._environment())
            except OSError as error:
                self._died(child, f"could not be started: {error.strerror}: {error.filename}")

    def _died(self, child: Child, how: str) -> None:
        child.plan_restart(how)
        self._on_event(child.spec.name, "died")

    def _environment(self) -> dict[str, str]:
        """What every process is told: where the others are, and to end with the supervisor."""
        environment = {f"ASSAY_{name.upper()}_ADDRESS": address for name, address in self.addresses.items()}
        if self._given_redis_url or REDIS in self.addresses:
            environment["REDIS_URL"] = self.redis_url
        return {
            # several processes share the machine: more threads in each would only fight
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "OMP_WAIT_POLICY": "PASSIVE",
            "ASSAY_RUNS_DIR": str(self._runs_dir),
            "ASSAY_EXIT_WITH_PARENT": "1",
            **environment,
        }

    def _write_stack_file(self) -> None:
        """Once everything serves, and again when a process got another pid."""
        ready = {name: child.ready for name, child in self._children.items() if child.ready}
        if len(ready) < len(self._children):
            return
        content = RunningStack(
            pid=os.getpid(),
            redis_url=self.redis_url,
            runs_dir=str(self._runs_dir),
            addresses=dict(self.addresses),
            metrics_addresses={name: it.metrics_address for name, it in ready.items() if it.metrics_address},
            pids={name: it.pid for name, it in ready.items()},
            logs={name: str(child.log) for name, child in self._children.items()},
        )
        part = self._state_dir / "stack.json.part"
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(json.dumps(asdict(content), indent=2), encoding="utf-8")
        part.replace(self._state_dir / "stack.json")

    def _lock(self) -> None:
        descriptor = os.open(self._state_dir / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take(descriptor, fcntl.LOCK_EX):
            pid = os.pread(descriptor, 20, 0).decode() or "another process"
            os.close(descriptor)
            raise StackError(
                f"a stack runs already in {self._state_dir} (supervisor {pid}): stop it, or use another state directory"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._lock_file = descriptor
        (self._state_dir / "stack.json").unlink(missing_ok=True)

    def _unlock(self) -> None:
        if self._lock_file is not None:
            with contextlib.suppress(FileNotFoundError):
                (self._state_dir / "stack.json").unlink()
            os.close(self._lock_file)
            self._lock_file = None


def _specs(
    services: Sequence[ServiceSpec] | None, workers: Sequence[str], redis: ServiceSpec | None
) -> list[ServiceSpec]:
    """Everything that runs, Redis first and workers last. Raises ValueError."""
    chosen = [*([redis] if redis else []), *(default_services() if services is None else services)]
    chosen += [worker_spec(queue, [spec.name for spec in chosen]) for queue in workers]
    names = [spec.name for spec in chosen]
    if len(set(names)) < len(names):
        raise ValueError(f"two processes of the stack are called {max(names, key=names.count)!r}")
    for spec in chosen:
        if unmet := set(spec.needs) - {*names, REDIS}:
            raise ValueError(
                f"{spec.name} needs {min(unmet)!r}, which is not in the stack; there are {', '.join(names)}"
            )
    # a Redis that runs elsewhere need not be waited for
    return [replace(spec, needs=tuple(need for need in spec.needs if need in names)) for spec in chosen]


def _take(descriptor: int, kind: int) -> bool:
    """Takes a lock without waiting; False where another process holds it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _why(child: Child) -> str:
    return f"{child.spec.name} {child.last_end}; the end of {child.log}:\n{child.last_lines()}"
