"""The process that sealed runs are forked from. It runs no Python after its start, so that its pages stay shared.

The server sends it the list of system calls with which a run's process begins, and the run's descriptors. The zygote forks
a child of the *server's*, which makes those calls, tells the server its process id and goes on in Python.
`sandbox/inside/machine.py` says why.
"""

from __future__ import annotations

import array
import ctypes
import os
import resource
import signal
import socket
import struct
from collections import namedtuple

from sandbox.inside import kernel, policy
from sandbox.inside.bpf import PID_OF_OWN
from sandbox.inside.confine import SERVER_FILES
from sandbox.inside.harness import PEER, REPORT
from sandbox.inside.machine import RECORD_BYTES, Call, Machine, assemble
from sandbox.inside.syscalls import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

Terms = namedtuple("Terms", "cpu_seconds file_bytes address_space_bytes user")
"""What differs between runs. user: None where runs have none of their own."""

ZYGOTE = "zygote"
"""What a server can be told to do without, as without a layer: it forks by itself then."""
OPEN_FILES = REPORT + 1
THREADS = 256
_SERVER, JOB, _STDIN, _STDOUT, _STDERR, _REPORT, _PEER = range(3, 10)
"""Descriptors of the zygote and of a run's process as it begins. Of them `JOB` alone is left when Python begins."""
_ANSWER_SECONDS = 10.0
_PAGE = 1 << 12
_MOST_BYTES = _PAGE
"""Of the calls that are sent for a run, with the limits that they name."""

_CLONE_PARENT, _CLOSE_ON_EXEC, _NO_SIGNAL, _CLOSE_RECEIVED = 0x8000, 0o2000000, 0x4000, 0x40000000
_PR_SET_PDEATHSIG, _SECCOMP_SET_MODE_FILTER, _UNBLOCK = 1, 1, 1
_LIMIT = struct.Struct("=QQ")


class Beginning:
    """The calls with which a run's process begins: its limits, user, filter and descriptors. Raises OSError.

    Made before the server is sealed; the lists lie where they are in every process that is forked from it.
    """

    def __init__(self, has_users: bool, has_filter: bool) -> None:
        self.machine = Machine()
        self._area = ctypes.create_string_buffer(3 * _PAGE)
        self._result = ctypes.create_string_buffer(4)
        self.result = ctypes.addressof(self._result)
        """What a list comes to: the process id of the run's process, or `-errno` of what failed."""
        self.zygote, self._always, self.run = (ctypes.addressof(self._area) + _PAGE * page for page in range(3))
        """Where the lists lie: the zygote's, what all runs begin with, and what is sent for one."""
        self.failed = self._always - 2 * RECORD_BYTES
        self._filter = kernel.Filter(policy.own(PID_OF_OWN))
        self._mask = ctypes.create_string_buffer(struct.pack("=Q", 1 << (signal.SIGCHLD - 1)), 8)
        self._few = ctypes.create_string_buffer(_LIMIT.pack(OPEN_FILES, OPEN_FILES), _LIMIT.size)
        self.place(self.failed, [Call("sendto", _SERVER, self.result, 4, _NO_SIGNAL), Call("exit_group", 1)])
        self.place(self._always, self._for_all(has_users, has_filter))

    def place(self, address: int, calls: Sequence[Call], last: int = 0) -> None:
        """Writes a list to where it belongs."""
        records = assemble(calls, address, last)
        ctypes.memmove(address, records, len(records))

    def _must(self, name: str, *arguments: int) -> Call:
        return Call(name, *arguments, result=self.result, failure=self.failed)

    def _for_all(self, has_users: bool, has_filter: bool) -> list[Call]:
        calls = [self._must("prlimit64", 0, resource.RLIMIT_NOFILE, ctypes.addressof(self._few))]
        calls.append(self._must("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL))
        calls.append(self._must("rt_sigprocmask", _UNBLOCK, ctypes.addressof(self._mask), 0, 8))
        # The C library keeps the process id, too, and forks of its own would write it there.
        pids = [*kernel.thread_id_addresses(), *(self._filter.places(PID_OF_OWN) if has_filter else ())]
        calls += [Call("getpid", result=place) for place in pids]
        if has_filter:
            calls.append(self._must("seccomp", _SECCOMP_SET_MODE_FILTER, 0, self._filter.address))
        calls += [Call("dup2", old, new) for new, old in enumerate((_STDIN, _STDOUT, _STDERR))]
        calls.append(Call("dup3", _REPORT, REPORT, _CLOSE_ON_EXEC))
        calls += [Call("close", descriptor) for descriptor in range(_STDIN, _PEER + 1)]  # `close_range` needs Linux 5.9
        calls.append(Call("getpid", result=self.result))
        return [*calls, self._must("sendto", _SERVER, self.result, 4, _NO_SIGNAL), Call("close", _SERVER)]

    def list_for(self, terms: Terms, has_peer: bool) -> bytes:
        """What is sent for a run: its calls, and the limits that they name behind them."""
        limits = {
            resource.RLIMIT_CPU: terms.cpu_seconds,
            resource.RLIMIT_FSIZE: terms.file_bytes,
            resource.RLIMIT_AS: terms.address_space_bytes,
        }
        if terms.user is not None:
            # Counted for each user: without one of its own the run would share it with everything the owner runs.
            limits[resource.RLIMIT_NPROC] = THREADS
        calls = [self._must("prlimit64", 0, which) for which in limits]
        if terms.user is not None:
            calls += [self._must(name, *[terms.user] * 3) for name in ("setresgid", "setresuid")]
        if has_peer:
            calls.append(Call("dup3", _PEER, PEER, _CLOSE_ON_EXEC))
        values = self.run + len(calls) * RECORD_BYTES
        for index in range(len(limits)):
            calls[index].arguments[2] = values + index * _LIMIT.size
        return assemble(calls, self.run, self._always) + b"".join(
            _LIMIT.pack(value, value) for value in limits.values()
        )


def is_possible() -> bool:
    """Whether a process can be made a child of its maker's parent. gVisor makes it its maker's, and does not say so."""
    results, result = os.pipe()
    ends, end = os.pipe()
    parent = os.getpid()
    maker = kernel.fork()
    if maker == 0:
        try:
            os.close(end)
            if kernel.syscall(NUMBERS["clone"], _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0) == 0:
                os.write(result, bytes([os.getppid() == parent]))
            else:
                os.read(ends, 1)  # lives on until the other has looked
        finally:
            os._exit(0)
    os.close(result)
    found = os.read(results, 1) == b"\1"
    for descriptor in (results, ends, end):
        os.close(descriptor)
    for _ in range(1 + found):
        os.wait()
    return found


class Zygote:
    """As the server holds it."""

    def __init__(self, has_users: bool, has_filter: bool) -> None:
        """Made before the server is sealed. Raises OSError."""
        self.pid = 0
        self._beginning = Beginning(has_users, has_filter)
        self._socket, self._server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_SECONDS)

    def start(self, begin: Callable[[], NoReturn]) -> None:
        """Started when the server is sealed. begin: what a run's process does in Python; it must not return. Raises OSError."""
        self.pid = kernel.fork()
        if self.pid == 0:
            self._serve(self._server.fileno(), begin)
        if self.pid < 0:
            raise OSError("fork")
        self._server.close()

    def fork(self, terms: Terms, descriptors: Sequence[int]) -> int:
        """The process id of a new run's process, which has all its limits. Raises OSError where it could not be made."""
        has_peer = len(descriptors) == _PEER - _SERVER
        # Always as many, so that the kernel leaves the length that the zygote gave it as it is.
        handed = descriptors if has_peer else [*descriptors, descriptors[0]]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handed))]
        try:
            self._socket.sendmsg([self._beginning.list_for(terms, has_peer)], rights)
            answer = self._socket.recv(4)
        except OSError:
            answer = b""
        if not answer:
            os._exit(1)  # the zygote is gone or hangs: the owner starts another server
        pid = int.from_bytes(answer, "little", signed=True)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def _serve(self, server: int, begin: Callable[[], NoReturn]) -> NoReturn:
        """The zygote's life. Only the children come out of the machine."""
        kernel.die_with_parent()
        os.dup2(server, _SERVER)
        os.closerange(_SERVER + 1, SERVER_FILES)
        beginning, page = self._beginning, self._beginning.zygote
        parts = ctypes.create_string_buffer(struct.pack("=QQ", beginning.run, _MOST_BYTES), 16)
        control = ctypes.create_string_buffer(socket.CMSG_SPACE(4 * (_PEER - _SERVER)))
        fields = (0, 0, ctypes.addressof(parts), 1, ctypes.addressof(control), len(control), 0)
        message = ctypes.create_string_buffer(struct.pack("=7Q", *fields), 56)
        stop, refused = page + 16 * RECORD_BYTES, page + 18 * RECORD_BYTES
        ask = Call("recvmsg", _SERVER, ctypes.addressof(message), _CLOSE_RECEIVED, zero=stop, failure=stop)
        child = (_CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        fork = Call("clone", *child, result=beginning.result, zero=beginning.run, failure=refused)
        tidy = [Call("close", descriptor) for descriptor in range(JOB, _PEER + 1)]
        beginning.place(page, [ask, fork, *tidy], last=page)
        beginning.place(stop, [Call("exit_group", 0)])
        beginning.place(
            refused, [Call("sendto", _SERVER, beginning.result, 4, _NO_SIGNAL)], last=page + 2 * RECORD_BYTES
        )
        beginning.machine.run(page)
        try:
            begin()
        finally:
            os._exit(1)
