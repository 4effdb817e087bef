"""A fork server as its owner holds it: started, given orders, killed, replaced by whoever holds it when it is lost."""

from __future__ import annotations

import array
import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sandbox import orders
from sandbox.jobs import CHECKERS, Kind

_PACKAGE_PARENT = str(Path(__file__).resolve().parent.parent)
_START = "import sys; sys.path.insert(0, sys.argv[1]); from sandbox.inside.forkserver import main; main(sys.argv[2:])"
# glibc gives each thread an arena of 64 MiB, which would use up the address space; threads of OpenBLAS would not survive
# a fork; a fixed seed of hashes makes a program do the same each time.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
# Outside a virtual environment, whose own directory need not be readable for the program's user.
_INTERPRETER: str = sys._base_executable  # pyright: ignore[reportAttributeAccessIssue]
COMMAND = (_INTERPRETER, "-s", "-P", "-S", "-B", "-X", "utf8", "-c", _START, _PACKAGE_PARENT)
_START_SECONDS = 60.0
_BATCH = 64
_LATE_SECONDS = 15.0
"""A server that has not ended a run so long after its wall limit hangs."""


class ServerError(Exception):
    """The server could not be started, or is gone; the message says why.

    forbidden: this machine does not permit what its kind needs, today and tomorrow.
    """

    def __init__(self, reason: str, forbidden: bool = False) -> None:
        super().__init__(reason)
        self.forbidden = forbidden


@dataclass(frozen=True, slots=True)
class Setup:
    """How servers are confined. `without`: layers not to take; `landlock_abi`: the newest to use (both for tests)."""

    without: tuple[str, ...] = ()
    landlock_abi: int | None = None
    packages: str = ""
    """Directory of installed packages that NUMPY, CHECKER_LIBRARY and FILES see, or ""."""
    candidates_socket: str = ""
    """Where a `sandbox.host` starts servers for candidates; "" for here."""
    checkers_socket: str = ""
    """Where another one starts those for test code; "" for here."""

    @classmethod
    def here(cls) -> Setup:
        """Everything that the machine permits, and the packages of this interpreter if numpy is among them."""
        spec = find_spec("numpy")
        return cls(packages=str(Path(spec.origin).parent.parent) if spec and spec.origin else "")


class Server:
    """One fork server. Must be used on the event loop that started it."""

    def __init__(self, kind: Kind, setup: Setup) -> None:
        self.kind = kind
        self.started_runs = 0
        self.layers: tuple[str, ...] = ()
        self.missing: dict[str, str] = {}
        self.compiled: dict[str, str] = {}
        """Of a server for test code: what its processes have compiled, for those after them (`sandbox/trial.py`)."""
        self._setup = setup
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[orders.Ended]] = {}
        self._too_late: dict[int, asyncio.TimerHandle] = {}
        self._is_retired = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def start(self) -> None:
        """Returns when it serves. Raises ServerError where it cannot."""
        self._loop = asyncio.get_running_loop()
        try:
            ours = self._socket = self._connect() or self._spawn()
        except OSError as error:
            raise ServerError(f"it cannot be started: {error}") from None
        ours.setblocking(False)
        try:
            async with asyncio.timeout(_START_SECONDS):
                text = (await self._loop.sock_recv(ours, orders.MAX_TEXT_BYTES)).decode()
        except (TimeoutError, OSError):
            text = "broken\nit did not answer"
        except asyncio.CancelledError:
            self._abandon()
            raise
        word, _, rest = text.partition("\n")
        if word != "ready":
            self._abandon()
            raise ServerError(rest or "it died at its start", forbidden=word == "forbidden")
        found = json.loads(rest)
        self.layers, self.missing = tuple(found["layers"]), found["missing"]
        self._loop.add_reader(ours, self._receive)

    def _confinement(self) -> str:
        """What `sandbox.inside.confine.Confinement` reads."""
        setup = self._setup
        packages = setup.packages if self.kind in (Kind.NUMPY, Kind.CHECKER_LIBRARY, Kind.FILES) else ""
        fields = {"kind": self.kind.value, "without": setup.without, "landlock_abi": setup.landlock_abi}
        return json.dumps(fields | {"packages": packages})

    def _connect(self) -> socket.socket | None:
        """Asks the host for the server; None where it is to be started here. Raises ServerError where no host is there."""
        setup = self._setup
        path = setup.checkers_socket if self.kind in CHECKERS else setup.candidates_socket
        if not path:
            return None
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.connect(path)
            ours.sendall(self._confinement().encode())
        except OSError as error:
            ours.close()
            raise ServerError(f"there is no host at its socket: {error}") from None
        return ours

    def _spawn(self) -> socket.socket:
        """Starts the process; the owner's end of its socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno()), self._confinement()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=ENVIRONMENT,
                start_new_session=True,
            )
        return ours

    @property
    def is_alive(self) -> bool:
        return self._socket is not None

    @property
    def running(self) -> int:
        """How many runs have not ended."""
        return len(self._waiting)

    def submit(
        self, descriptors: Sequence[int], cpu: float, wall: float, memory_bytes: int, file_bytes: int
    ) -> tuple[int, asyncio.Future[orders.Ended]]:
        """Starts a run; its number, and what will be known at its end. The future fails with ServerError where the
        server is lost. The descriptors (`orders.DESCRIPTORS` says which) stay the caller's. Raises ServerError."""
        number = next(self._numbers)
        order = orders.pack_order(orders.Order(number, cpu, wall, memory_bytes, file_bytes))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self._send(order, rights)
        future: asyncio.Future[orders.Ended] = self._loop.create_future()
        self._waiting[number] = future
        self._too_late[number] = self._loop.call_later(wall + _LATE_SECONDS, self.lose, "it did not end a run in time")
        self.started_runs += 1
        return number, future

    def kill(self, number: int) -> None:
        """Ends a run with its whole process tree; does nothing once it has ended."""
        if number in self._waiting:
            with suppress(ServerError):
                self._send(orders.pack_kill(number), [])

    def _send(self, data: bytes, rights: list[tuple[int, int, array.array[int]]]) -> None:
        if self._socket is None:
            raise ServerError("it is gone")
        try:
            self._socket.sendmsg([data], rights)
        except OSError as error:  # a full queue of orders included: a server that takes none is lost
            self.lose(f"it takes no orders: {error}")
            raise ServerError("it takes no orders") from None

    def _receive(self) -> None:
        for _ in range(_BATCH):
            if self._socket is None:
                return None
            try:
                data = self._socket.recv(256)
            except BlockingIOError:
                return None
            except OSError:
                data = b""
            if not data:
                return self.lose("it died")
            ended = orders.unpack_ended(data)
            future = self._waiting.pop(ended.number, None)
            if future is None:
                continue
            self._too_late.pop(ended.number).cancel()
            if not future.done():
                future.set_result(ended)
            if self._is_retired and not self._waiting:
                return self.lose("it was replaced")
        return None

    def retire(self) -> None:
        """Ends the server with the last of the runs that it has; it must be given no more."""
        self._is_retired = True
        if not self._waiting:
            self.lose("it was replaced")

    def lose(self, reason: str) -> None:
        """Kills the server with all its runs, and fails what waits for them."""
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._abandon()
        for timer in self._too_late.values():
            timer.cancel()
        self._too_late.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ServerError(reason))

    def _abandon(self) -> None:
        process, self._process = self._process, None
        ours, self._socket = self._socket, None
        if ours is not None:
            ours.close()
        if process is not None:
            # The session of the server's own; what has left it is in its PID namespace, or dies with its parent.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def pid(self) -> int:
        """The process id of the outermost process, 0 where there is none, or a host has started it."""
        return self._process.pid if self._process else 0
