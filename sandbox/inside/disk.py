"""What a run takes up of the machine's disk, counted where no file system of its own bounds it.

Files without a name count like others, be they open or only mapped. They are looked at as the run's own user: that needs
no privilege, whatever rights the server has been left. What cannot be looked at counts as too much.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import cache

from sandbox import scratch
from sandbox.inside import kernel
from sandbox.inside.syscalls import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_FILES = 4096
_MAX_BYTES = 64 << 20


class Disk:
    """The directory of one run, and whose it is.

    user: the run's own, None where it has the server's. file_bytes: how long a file of the run may be.
    """

    def __init__(self, directory: str, user: int | None, file_bytes: int) -> None:
        self._directory = directory
        self._user = user
        self._file_bytes = file_bytes

    def is_full(self, pids: Iterable[int]) -> bool:
        """Whether there is more of the run than there may be. pids: its processes, as /proc numbers them."""
        with _looking_as(self._user):
            try:
                nameless: dict[int, int] = {}
                for pid in pids:
                    nameless |= self._nameless(pid)
            except PermissionError:
                return True
            return scratch.exceeds(self._directory, _MAX_FILES, _MAX_BYTES - sum(nameless.values()))

    def _nameless(self, pid: int) -> dict[int, int]:
        """Bytes of the files that a process has and nobody can name, by their number. Raises PermissionError."""
        for task in _list(f"/proc/{pid}/task"):  # they share their descriptors; the first of them may have ended
            path = f"/proc/{pid}/task/{task}"
            with suppress(FileNotFoundError, ProcessLookupError):
                was_confined = False
                while True:
                    try:
                        return self._mapped(path) | self._open(path)
                    except PermissionError:
                        if not _is_confined(path):  # it is about to begin, or has ended
                            break
                        if was_confined:
                            raise
                        was_confined = True
        return {}

    def _open(self, path: str) -> dict[int, int]:
        found = {}
        for name in os.listdir(f"{path}/fd"):
            with suppress(FileNotFoundError):
                status = os.stat(f"{path}/fd/{name}")
                if status.st_nlink == 0 and status.st_dev != _memory_device():
                    found[status.st_ino] = 512 * status.st_blocks
        return found

    def _mapped(self, path: str) -> dict[int, int]:
        """Those that are mapped, as long as they may be: nothing tells how long they are."""
        mapped = _nameless_mapped(path)
        if mapped:  # less the interpreter's, should that have been replaced since the server began
            mapped -= _nameless_mapped("/proc/self")
        return dict.fromkeys(mapped, self._file_bytes)


def _nameless_mapped(path: str) -> set[int]:
    """By their number. Raises ProcessLookupError where the thread has ended."""
    number = _memory_device()
    memory = f"{os.major(number):02x}:{os.minor(number):02x}".encode()
    with open(f"{path}/maps", "rb") as file:
        lines = file.readlines()
    if not lines:
        raise ProcessLookupError(path)
    nameless = [line.split(None, 5) for line in lines if line.endswith(b" (deleted)\n")]
    return {int(line[4]) for line in nameless if line[3] != memory}


@cache
def _memory_device() -> int:
    """The device of memory files, among them a run's input and output, and of memory that processes share."""
    descriptor = os.memfd_create("")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def number_of(child: int) -> int:
    """The number that /proc, which may be of an outer namespace, has for a child of this process; 0 where it is gone."""
    own = os.readlink("/proc/self")
    if int(own) == os.getpid():
        return child
    for name in _list(f"/proc/{own}/task/{own}/children", is_file=True):
        if _status(f"/proc/{name}").get("NSpid", "0").split()[-1] == str(child):
            return int(name)
    return 0


def _list(path: str, is_file: bool = False) -> list[str]:
    with suppress(FileNotFoundError, ProcessLookupError):
        if not is_file:
            return os.listdir(path)
        with open(path) as file:
            return file.read().split()
    return []


def _is_confined(path: str) -> bool:
    """Whether a process is under a filter, and alive."""
    status = _status(path)
    return status.get("Seccomp") == "2" and "VmSize" in status


def _status(path: str) -> dict[str, str]:
    with suppress(FileNotFoundError, ProcessLookupError), open(f"{path}/status", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    return {}


@contextmanager
def _looking_as(user: int | None) -> Iterator[None]:
    """Looks up files and processes as a user. Needs the right to be any, unless it is None."""
    if user is None:
        yield
        return
    parent, own_user, own_group = os.getppid(), os.geteuid(), os.getegid()
    kernel.syscall(NUMBERS["setfsgid"], user)
    kernel.syscall(NUMBERS["setfsuid"], user)
    try:
        yield
    finally:
        kernel.syscall(NUMBERS["setfsuid"], own_user)
        kernel.syscall(NUMBERS["setfsgid"], own_group)
        kernel.die_with_parent()  # which the kernel forgets with every change of a user
        if os.getppid() != parent:
            os._exit(1)
