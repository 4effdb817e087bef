"""Runs that may use files: an empty directory of their own, and the system's and the interpreter's files to read.

In a jail the directory is a file system in memory that goes with the process. Elsewhere it is one of the machine's, which
Landlock keeps the run in; what the run takes up there is counted while it goes on (`disk.py`).
"""

from __future__ import annotations

import os
import tempfile

from sandbox import orders, scratch
from sandbox.inside import jail, kernel, landlock, policy, runs
from sandbox.inside.confine import FILTER, Confinement, NotPermittedError, landlock_abi, restrict_paths
from sandbox.inside.disk import Disk, number_of
from sandbox.inside.process import Processes, freeze

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_LEAST_ABI = 3
"""Before it Landlock lets files be emptied."""


class FileProcesses(Processes):
    """Raises NotPermittedError where neither a jail nor Landlock keeps a run from other files."""

    def __init__(self, confinement: Confinement, first_id: int | None, proc: int) -> None:
        super().__init__(confinement, first_id, proc)
        self._has_jail = jail.JAIL in confinement.layers
        confinement.take(landlock.LANDLOCK, lambda: landlock_abi(confinement))
        self._has_landlock = landlock.LANDLOCK in confinement.layers
        if not self._has_jail and not (self._has_landlock and landlock_abi(confinement) >= _LEAST_ABI):
            raise NotPermittedError(
                f"neither namespaces nor Landlock of ABI {_LEAST_ABI} are permitted, so a run could change others' files"
            )
        self._directories: dict[int, str] = {}

    def seal(self) -> None:
        freeze()
        self._confinement.take(FILTER, lambda: None)
        kernel.forbid_tracing()

    def _prepare(self, order: orders.Order, user: int | None) -> None:
        if not self._has_jail:
            directory = self._directories[order.number] = str(scratch.make())
            if user is not None:
                os.chown(directory, user, user)

    def ended(self, order: orders.Order, pid: int) -> None:
        directory = self._directories.pop(order.number, "")
        if directory and kernel.fork() == 0:  # elsewhere: a hostile directory takes long to remove
            try:
                scratch.remove(directory)
            finally:
                os._exit(0)
        super().ended(order, pid)

    def exceeds(self, order: orders.Order, pid: int) -> bool:
        disk = self._disk(order, self._ids.get(pid))
        return disk is not None and disk.is_full([number_of(pid)])

    def _disk(self, order: orders.Order, user: int | None) -> Disk | None:
        """What is to be counted; None where the run's directory is a file system of its own."""
        directory = self._directories.get(order.number)
        return Disk(directory, user, order.file_bytes) if directory else None

    def _enter_directory(self, order: orders.Order) -> str:
        """Makes the run's directory the working directory; its path."""
        directory = self._directories.get(order.number)
        tempfile.tempdir = directory or jail.WORK_DIRECTORY
        if directory is None:
            jail.mount_work_directory()
            return jail.WORK_DIRECTORY
        os.chdir(directory)
        return directory

    def _give_up_rights(self, directory: str) -> None:
        """Takes the layers that are the same for one process and for many, but for the filter."""
        kernel.keep_capabilities()
        if not self._has_jail:
            kernel.permit_looking()
        if self._has_landlock:
            restrict_paths(self._confinement, directory)

    def _become(self, order: orders.Order, user: int | None, descriptors: list[int]) -> NoReturn:
        directory = self._enter_directory(order)
        self._limit(order, order.cpu_seconds)
        self._settle(user)
        self._give_up_rights(directory)
        if FILTER in self._confinement.layers:
            kernel.Filter(policy.files(self._has_jail)).enforce()
            kernel.Filter(policy.own(os.getpid())).enforce()
        job = self._take_descriptors(descriptors)
        self._limit_memory(order)
        runs.run(job)
