"""Makes the process of a run out of a fork server: what happens between the fork and the first line of the source."""

from __future__ import annotations

import gc
import os
import resource
import sys
from _signal import SIG_UNBLOCK, SIGCHLD, pthread_sigmask  # pyright: ignore[reportMissingImports]
from collections import deque

from sandbox import frames, orders
from sandbox.inside import descriptors, harness, kernel, landlock, namespaces, policy, runs
from sandbox.inside.confine import FILTER, SERVER_FILES, Confinement, restrict_paths
from sandbox.inside.preload import Sealed
from sandbox.inside.zygote import JOB, OPEN_FILES, THREADS, ZYGOTE, Terms, Zygote, is_possible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import NoReturn

_LEAST_CPU_SECONDS = 1


class Processes:
    """How the runs of one server are made. Subclasses differ in what a run may do to files and processes."""

    reports_itself = False
    """Whether a run's process tells the owner itself how the run ended."""
    grace_seconds = 0.0
    """How much later than at its wall limit the server ends a run, where the run's own keeper should have."""

    def __init__(self, confinement: Confinement, first_id: int | None, proc: int) -> None:
        """first_id: the first of the users that runs get, None where they get none. proc: for `subprocess`, a directory of
        processes that shows this one and all that come of it; else -1."""
        self._proc = proc
        self._confinement = confinement
        self._free_ids = deque([] if first_id is None else range(first_id, first_id + namespaces.IDS))
        self._ids: dict[int, int] = {}
        self._own_pid = os.getpid()
        self._memory_bytes = confinement.memory_bytes

    def seal(self) -> None:
        """Takes the layers that hold for the server itself, the last thing before it serves."""

    def start(self, order: orders.Order, descriptors: list[int], owner: socket) -> int:
        """Forks; returns the child's process id. Raises OSError.

        A child that cannot be confined says so to the owner, whose socket it has until it is.
        """
        if self._confinement.has_users and not self._free_ids:
            raise OSError("no user left")
        user = self._free_ids.popleft() if self._free_ids else None
        try:
            pid = self._fork(order, user, descriptors, owner)
        except OSError:
            if user is not None:
                self._free_ids.append(user)
            raise
        if user is not None:
            self._ids[pid] = user
        return pid

    def _fork(self, order: orders.Order, user: int | None, descriptors: list[int], owner: socket) -> int:
        self._prepare(order, user)
        pid = kernel.fork()
        if pid == 0:
            try:
                self._become(order, user, descriptors)
            finally:
                try:
                    owner.sendall(orders.pack_ended(orders.Ended(order.number, 0, orders.FAILED, 0.0, 0.0, 0)))
                finally:
                    os._exit(1)
        if pid < 0:
            raise OSError("fork")
        return pid

    def _prepare(self, order: orders.Order, user: int | None) -> None:
        """What has to be there before the run's process is."""

    def ended(self, order: orders.Order, pid: int) -> None:
        """Cleans up after a run's process."""
        user = self._ids.pop(pid, None)
        if user is not None:
            self._free_ids.append(user)

    def needs(self, pid: int) -> bool:
        """Whether the server must not go on without a child of it that is no run."""
        return False

    def exceeds(self, order: orders.Order, pid: int) -> bool:
        """Whether a run takes up more of the disk than it may."""
        return False

    def _become(self, order: orders.Order, user: int | None, descriptors: list[int]) -> NoReturn:
        raise NotImplementedError

    def _take_descriptors(self, descriptors: list[int]) -> list[str]:
        """Reads the job, puts the run's descriptors where the run has them, and closes all others."""
        job, stdin, stdout, stderr, report, *peer = descriptors
        fields = frames.split_job(os.pread(job, os.lseek(job, 0, os.SEEK_END), 0))
        os.dup2(report, harness.REPORT, inheritable=False)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        for descriptor in peer:
            os.dup2(descriptor, harness.PEER, inheritable=False)
        os.closerange(3, harness.PEER if peer else harness.REPORT)
        os.closerange(harness.REPORT + 1, SERVER_FILES)
        return fields

    def _limit(self, order: orders.Order, cpu_seconds: float) -> None:
        """Limits of each process of the run. CPU time is the server's to limit, exactly; the kernel, which counts whole
        seconds, kills a process whose server does not."""
        seconds = _kernel_seconds(cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes, order.file_bytes))
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))

    def _limit_memory(self, order: orders.Order) -> None:
        space = self._memory_bytes + order.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (space, space))

    def _settle(self, user: int | None) -> None:
        """Takes the run's own user, and ends with the server."""
        if user is not None:
            # Counted for each user: without one of its own the run would share it with everything the owner runs.
            resource.setrlimit(resource.RLIMIT_NPROC, (THREADS, THREADS))
            namespaces.become(user)
        kernel.die_with_parent()
        if os.getppid() != self._own_pid:
            os._exit(1)
        pthread_sigmask(SIG_UNBLOCK, (SIGCHLD,))  # the C function: `signal` makes enums of what it returns


class SealedProcesses(Processes):
    """Runs that cannot open anything: everything they can have is loaded before the first of them."""

    def seal(self) -> None:
        Sealed.tell = staticmethod(lambda name: harness.report("wants", name))
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__name__ != "PathFinder"]  # pyright: ignore[reportAttributeAccessIssue]
        sys.meta_path.append(Sealed())  # pyright: ignore[reportArgumentType]
        descriptors.install()
        without = self._confinement.without
        has_zygote = ZYGOTE not in without and is_possible()
        self._zygote = Zygote(self._confinement.has_users, FILTER not in without) if has_zygote else None
        kernel.forbid_tracing()
        confinement = self._confinement
        confinement.take(landlock.LANDLOCK, lambda: restrict_paths(confinement))
        capabilities = (kernel.CAP_SETUID, kernel.CAP_SETGID, kernel.CAP_KILL) if self._free_ids else ()
        kernel.keep_capabilities(*capabilities)
        freeze()
        confinement.take(FILTER, kernel.Filter(policy.sealed()).enforce)
        confinement.check_filter()
        if self._zygote is not None:
            self._zygote.start(self._begin)

    def _fork(self, order: orders.Order, user: int | None, descriptors: list[int], owner: socket) -> int:
        if self._zygote is None:
            return super()._fork(order, user, descriptors, owner)
        seconds = _kernel_seconds(order.cpu_seconds)
        space = self._memory_bytes + order.memory_bytes
        return self._zygote.fork(Terms(seconds, order.file_bytes, space, user), descriptors)

    def needs(self, pid: int) -> bool:
        return self._zygote is not None and pid == self._zygote.pid

    def _become(self, order: orders.Order, user: int | None, descriptors: list[int]) -> NoReturn:
        self._limit(order, order.cpu_seconds)
        self._settle(user)
        if FILTER in self._confinement.layers:
            kernel.Filter(policy.own(os.getpid())).enforce()
        job = self._take_descriptors(descriptors)
        self._limit_memory(order)
        runs.run(job)

    def _begin(self) -> NoReturn:
        """What a run's process does first of all in Python."""
        if os.getppid() != self._own_pid:  # the server ended before this process was told to end with it
            os._exit(1)
        data = os.pread(JOB, os.lseek(JOB, 0, os.SEEK_END), 0)
        os.close(JOB)
        runs.run(frames.split_job(data))


def _kernel_seconds(cpu_seconds: float) -> int:
    return int(cpu_seconds) + 1 + _LEAST_CPU_SECONDS


def freeze() -> None:
    """Takes what the server has loaded out of the garbage collector's sight, which would write to all of it."""
    gc.collect()
    gc.disable()
    gc.freeze()
