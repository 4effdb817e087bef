"""A fork server: an interpreter that has loaded what runs need, seals itself, and from then on only forks.

It never executes, reads or holds anything of a run: sources, inputs and outputs lie in memory files whose descriptors it
hands on to the child and closes. It ends runs at their limits, and all of them when its owner is gone. Started by
`sandbox/server.py`; `sandbox/orders.py` says what the two speak.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import sys
import time

from sandbox import orders
from sandbox.inside import kernel
from sandbox.inside.confine import Confinement, NotPermittedError, confine
from sandbox.inside.process import Processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_TICK_SECONDS = 0.01
"""How often the CPU time of runs is looked at."""
_ORDER_BYTES = 64


class _Running:
    """A run that has not ended."""

    def __init__(self, order: orders.Order, start: float) -> None:
        self.order = order
        self.start = start
        self.deadline = start + order.wall_seconds
        self.cause = orders.BY_ITSELF


class Server:
    """The loop. `processes` knows how a child of this kind is made and ended."""

    def __init__(self, owner: socket.socket, processes: Processes) -> None:
        self._owner = owner
        self._processes = processes
        self._running: dict[int, _Running] = {}
        self._pids: dict[int, int] = {}
        self._next_look = 0.0

    def serve(self, ended: int) -> NoReturn:
        """Serves until the owner closes its end. ended: the descriptor that tells of children that have ended."""
        poll = select.poll()
        poll.register(self._owner, select.POLLIN)
        poll.register(ended, select.POLLIN)
        while True:
            timeout = 1000 * _TICK_SECONDS if self._running else None
            ready = [fd for fd, _ in poll.poll(timeout)]
            if ended in ready:
                os.read(ended, 4096)
                self._collect()
            if self._owner.fileno() in ready:
                self._take()
            now = time.monotonic()
            if self._running and now >= self._next_look:
                self._look(now)

    def _take(self) -> None:
        try:
            data, ancillary, _, _ = self._owner.recvmsg(_ORDER_BYTES, socket.CMSG_LEN(4 * orders.DESCRIPTORS))
        except ConnectionError:
            self._end()
        if not data:
            self._end()
        descriptors = array.array("i")
        for _, _, content in ancillary:
            descriptors.frombytes(content)
        order = orders.unpack(data)
        if isinstance(order, int):
            self._kill(order, orders.ASKED)
            return
        try:
            pid = self._processes.start(order, list(descriptors), self._owner)
        except OSError:
            self._tell(orders.Ended(order.number, 0, orders.FAILED, 0.0, 0.0, 0))
        else:
            self._running[pid] = _Running(order, time.monotonic())
            self._pids[order.number] = pid
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _collect(self) -> None:
        """Reports the runs that have ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._running.pop(pid, None)
            if run is None:
                if self._processes.needs(pid):
                    self._end()
                continue
            del self._pids[run.order.number]
            self._processes.ended(run.order, pid)
            wall, cpu = time.monotonic() - run.start, usage.ru_utime + usage.ru_stime
            if not self._processes.reports_itself or status or run.cause != orders.BY_ITSELF:
                self._tell(orders.Ended(run.order.number, status, run.cause, cpu, wall, 1024 * usage.ru_maxrss))

    def _look(self, now: float) -> None:
        """Ends the runs that are beyond their limits."""
        self._next_look = now + _TICK_SECONDS
        for pid, run in self._running.items():
            if run.cause != orders.BY_ITSELF:
                continue
            if now >= run.deadline + self._processes.grace_seconds:
                self._kill(run.order.number, orders.WALL)
            elif not self._processes.reports_itself and _cpu_seconds(pid) >= run.order.cpu_seconds:
                self._kill(run.order.number, orders.CPU)
            elif self._processes.exceeds(run.order, pid):
                self._kill(run.order.number, orders.MEMORY)

    def _kill(self, number: int, cause: str) -> None:
        pid = self._pids.get(number)
        has_ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if pid is not None and os.waitid(os.P_PID, pid, has_ended) is None:  # else it ended by itself, a moment ago
            self._running[pid].cause = cause
            os.kill(pid, signal.SIGKILL)

    def _tell(self, ended: orders.Ended) -> None:
        try:
            self._owner.sendall(orders.pack_ended(ended))
        except OSError:
            self._end()

    def _end(self) -> NoReturn:
        """The owner is gone, and with it whoever waits for the runs."""
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        for pid, run in self._running.items():
            os.waitpid(pid, 0)
            self._processes.ended(run.order, pid)
        os._exit(0)


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process, by the clock that Linux gives each (`clock_getcpuclockid(3)`)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def main(arguments: list[str]) -> NoReturn:
    """arguments: the descriptor of the owner's socket, and the confinement as `Confinement.to_text` writes it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as an owner may have it, ends would be lost
    owner = socket.socket(fileno=int(arguments[0]))
    confinement = Confinement.from_text(arguments[1])
    try:
        processes = confine(confinement)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        ended = kernel.signal_descriptor(signal.SIGCHLD)
        processes.seal()
    except NotPermittedError as error:
        owner.sendall(f"forbidden\n{error}".encode())
        os._exit(1)
    except Exception as error:
        owner.sendall(f"broken\n{type(error).__name__}: {error}".encode()[: orders.MAX_TEXT_BYTES])
        os._exit(1)
    owner.sendall(confinement.report().encode())
    Server(owner, processes).serve(ended)


if __name__ == "__main__":
    main(sys.argv[1:])
