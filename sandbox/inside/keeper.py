"""Watches a program from the first moment to the end of the last process that it started.

The keeper is the trusted parent of the program. Where a PID namespace is in force it is the namespace's first process,
and the kernel ends everything with it; elsewhere it adopts orphans, and ends all processes of the run's user. It enforces
the limits of the tree as a whole. It ends with its server, which the kernel sees to.
"""

from __future__ import annotations

import os
import resource
import select
import time

from sandbox import orders
from sandbox.inside import kernel, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.inside.disk import Disk

_SIGKILL, _SIGCHLD = 9, 17
_TICK_SECONDS = 0.01
"""How often the whole tree is looked at."""
_MOST_TASKS = 256
"""Processes and threads, should the kernel's own limit not bind, as it does not bind root."""
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def keep(tree: Tree, order: orders.Order, disk: Disk | None) -> orders.Ended:
    """Waits until the program ends or is beyond its limits, then ends everything it started; what there is to tell.

    disk: what is to be counted there, if anything.
    """
    start = time.monotonic()
    ended = kernel.signal_descriptor(_SIGCHLD)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    cause, status = orders.BY_ITSELF, None
    while status is None and cause == orders.BY_ITSELF:
        left = start + order.wall_seconds - time.monotonic()
        if poll.poll(1000 * max(0.0, min(left, _TICK_SECONDS))):
            os.read(ended, 4096)
        status = tree.reap()
        if status is None:
            cause = orders.WALL if left <= 0 else tree.look(order, disk)
    wall = time.monotonic() - start
    last = tree.end()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = last if status is None else status
    cpu = max(usage.ru_utime + usage.ru_stime, tree.seen_seconds)
    return orders.Ended(order.number, status, cause, cpu, wall, usage.ru_maxrss * 1024)


class Tree:
    """The program and all its descendants.

    program: its process id. own_pid: this process as the working directory numbers it, which must be a /proc that shows
    it. user: whose processes are all of this tree, None where it is a PID namespace.
    """

    def __init__(self, program: int, own_pid: int, user: int | None) -> None:
        self._program = program
        self._own_pid = own_pid
        self._user = user
        self._seen: dict[tuple[int, str], float] = {}
        """CPU seconds that each process was last seen to have used, by its number and when it began."""

    @property
    def seen_seconds(self) -> float:
        """CPU time that processes were seen to use, those included that nobody waited for, whose time the kernel forgets."""
        return sum(self._seen.values())

    def reap(self) -> int | None:
        """Collects the processes that have ended. Returns the program's wait status once it is among them."""
        status = None
        while True:
            try:
                pid, pid_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return status
            if pid == 0:
                return status
            if pid == self._program:
                status = pid_status

    def look(self, order: orders.Order, disk: Disk | None) -> str:
        """The limit that the tree is beyond, or BY_ITSELF."""
        pids, tasks = _descendants(self._own_pid)
        if tasks > _MOST_TASKS:
            return orders.MEMORY
        if max(self._cpu_seconds(pids), self.seen_seconds) >= order.cpu_seconds:
            return orders.CPU
        if sum(map(_resident, pids)) >= order.memory_bytes and self._shared_once(pids) >= order.memory_bytes:
            return orders.MEMORY
        return orders.MEMORY if disk is not None and disk.is_full(pids) else orders.BY_ITSELF

    def end(self) -> int:
        """Kills and collects every descendant. Returns the program's wait status, 0 where it was collected before."""
        program_status = 0
        while True:
            try:
                if self._user is None:
                    os.kill(-1, _SIGKILL)
                else:
                    namespaces.end_all_of(self._user)
                pid, status = os.waitpid(-1, 0)
            except (ChildProcessError, ProcessLookupError):
                return program_status
            if pid == self._program:
                program_status = status

    def _cpu_seconds(self, pids: list[int]) -> float:
        """CPU seconds of every descendant, living or collected."""
        seconds = 0.0
        for pid in pids:
            try:
                with open(f"{pid}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            own, of_children = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            # What is finer than a tick is known of the first thread only.
            self._seen[pid, fields[19]] = max(own / _CLOCK_TICKS, _first_thread_seconds(pid))
            seconds += (own + of_children) / _CLOCK_TICKS
        collected = resource.getrusage(resource.RUSAGE_CHILDREN)
        return seconds + collected.ru_utime + collected.ru_stime

    def _shared_once(self, pids: list[int]) -> int:
        """Memory of every living descendant in bytes, where pages that several have count once.

        In a user namespace the kernel does not tell of processes that were forked and run no other program: there what a
        fork of the server has from the start is left out, and other shared pages count for each.
        """
        total = 0
        from_the_start = _resident(self._own_pid)
        for pid in pids:
            try:
                total += _private(pid)
            except PermissionError:
                total += max(0, _resident(pid) - from_the_start)
            except (FileNotFoundError, ProcessLookupError):
                continue
        return total


def _descendants(pid: int) -> tuple[list[int], int]:
    """Process ids below `pid`, which may be gone by now, and how many threads all of them have."""
    found: list[int] = []
    tasks = 0
    open_ends = [pid]
    while open_ends:
        parent = open_ends.pop()
        try:
            threads = os.listdir(f"{parent}/task")
            for thread in threads:
                with open(f"{parent}/task/{thread}/children") as file:
                    children = list(map(int, file.read().split()))
                found += children
                open_ends += children
            tasks += len(threads)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found, tasks


def _first_thread_seconds(pid: int) -> float:
    try:
        with open(f"{pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _private(pid: int) -> int:
    with open(f"{_living_task(pid)}/smaps_rollup") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith("Pss_Anon:"))


def _resident(pid: int) -> int:
    """Memory that is not of files; 0 where the process is gone."""
    resident, shared = _pages(f"{pid}")
    if resident == 0:
        resident, shared = _pages(_living_task(pid))
    return (resident - shared) * _PAGE_BYTES


def _living_task(pid: int) -> str:
    """Where to look at a process: its first thread may have ended, and tells nothing then."""
    try:
        paths = [f"{pid}/task/{thread}" for thread in os.listdir(f"{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        paths = []
    return next((path for path in paths if _pages(path)[0]), f"{pid}")


def _pages(path: str) -> tuple[int, int]:
    try:
        with open(f"{path}/statm") as file:
            resident, shared = map(int, file.read().split()[1:3])
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    return resident, shared
