"""Runs that may start processes: each in a PID namespace of its own, or under a user of its own, below a keeper.

The keeper limits CPU time and memory of the tree as a whole, ends all of it with the program, and tells the owner how it
went; the source never has its socket.
"""

from __future__ import annotations

import os
import resource
import select
import signal

from sandbox import orders
from sandbox.inside import commands, harness, jail, keeper, kernel, namespaces, policy, runs
from sandbox.inside.confine import FILTER, SERVER_FILES, Confinement, NotPermittedError
from sandbox.inside.file_process import FileProcesses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import NoReturn

_PROCESSES = 128


class TreeProcesses(FileProcesses):
    """Raises NotPermittedError where a run could reach processes that are not its own, or leave some behind."""

    reports_itself = True
    grace_seconds = 1.0

    def __init__(self, confinement: Confinement, first_id: int | None, proc: int) -> None:
        super().__init__(confinement, first_id, proc)
        runs.RUNNERS |= {"compile": commands.compile_source, "command": commands.execute}
        if not confinement.has_namespaces and not confinement.has_users:
            raise NotPermittedError(
                "neither namespaces nor users for each run are permitted, so runs could outlive their end"
            )
        self._guard = 0
        kernel.adopt_orphans()
        if not confinement.has_namespaces and first_id is not None:
            self._guard = _guard(range(first_id, first_id + namespaces.IDS))

    def start(self, order: orders.Order, descriptors: list[int], owner: socket) -> int:
        self._owner = owner
        return super().start(order, descriptors, owner)

    def ended(self, order: orders.Order, pid: int) -> None:
        user = self._ids.get(pid)
        if user is not None and not self._confinement.has_namespaces:
            namespaces.end_all_of(user)
        super().ended(order, pid)

    def needs(self, pid: int) -> bool:
        return pid == self._guard

    def exceeds(self, order: orders.Order, pid: int) -> bool:
        return False  # its keeper, which knows the processes, sees to it

    def _become(self, order: orders.Order, user: int | None, descriptors: list[int]) -> NoReturn:
        directory = self._enter_directory(order)
        kernel.die_with_parent()
        if os.getppid() != self._own_pid:
            os._exit(1)
        if self._confinement.has_namespaces:
            self._go_on_as_first_process()
        else:
            kernel.adopt_orphans()
        os.fchdir(self._proc)
        own_pid = int(os.readlink("self"))
        keeper_pid = os.getpid()
        program = os.fork()
        if program == 0:
            os.chdir(directory)
            self._keeper_pid = keeper_pid
            self._become_program(order, user, descriptors, directory)
        for descriptor in (*descriptors, 0, 1, 2):
            os.close(descriptor)
        tree = keeper.Tree(program, own_pid, None if self._confinement.has_namespaces else user)
        kept = keeper.keep(tree, order, self._disk(order, user))
        self._owner.sendall(orders.pack_ended(kept))
        os._exit(0)

    def _go_on_as_first_process(self) -> None:
        """Goes on in a child, the first process of a new PID namespace; this process waits for its end."""
        kernel.unshare(kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC)
        first = os.fork()
        if first:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0x7F)
        kernel.die_with_parent()
        if self._has_jail:
            jail.mount_proc()

    def _become_program(
        self, order: orders.Order, user: int | None, descriptors: list[int], directory: str
    ) -> NoReturn:
        os.setsid()
        self._limit(order, order.cpu_seconds)
        if user is not None:
            namespaces.become(user)
        if user is not None or self._confinement.has_namespaces:
            # Counted for each user: without one of its own the program would share it with everything the owner runs.
            resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))
        kernel.die_with_parent()
        if os.getppid() != self._keeper_pid:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        self._give_up_rights(directory)
        if FILTER in self._confinement.layers:
            kernel.Filter(policy.processes(self._has_jail)).enforce()
        job = self._take_descriptors(descriptors)
        if job[0] == "command":
            # Runtimes reserve far more address space than they use; the keeper limits what is used.
            os.set_inheritable(harness.REPORT, False)
        else:
            self._limit_memory(order)
        runs.run(job)


def _guard(users: range) -> int:
    """Starts a process that waits for the end of this one, however it comes, and then ends all processes of the users:
    programs may have left their keepers, and those die with this process. Its process id.

    It is in a session of its own, since this one's may be killed as a whole.
    """
    server = os.pidfd_open(os.getpid())
    guard = os.fork()
    if guard == 0:
        try:
            os.setsid()
            os.closerange(0, server)
            os.closerange(server + 1, SERVER_FILES)
            select.select([server], [], [])
            namespaces.end_all_of(*users)
        finally:
            os._exit(0)
    os.close(server)
    return guard
