"""The system calls of Linux that Python 3.11 has no function for."""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_MOUNT_ATTR_NOSUID = 2
_CAPABILITY_VERSION_3 = 0x20080522
CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 5, 6, 7, 21

_SYS_SECCOMP = 317
_SECCOMP_SET_MODE_FILTER = 1
_SFD_NONBLOCK, _SFD_CLOEXEC = 0o4000, 0o2000000

_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE_ANONYMOUS = 0x22

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_ssize_t
_libc.pthread_self.restype = ctypes.c_size_t
_THREAD_WORDS = 256
"""Of the C library's description of a thread, which is longer."""
fork = ctypes.PyDLL(None).fork
"""fork(2) without what Python does around its own: that takes half a millisecond of a run, to reset locks that a process
of one thread cannot hold. The child must have had one thread."""


def _check(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def syscall(number: int, *arguments: object) -> int:
    """A system call by its number; -1 where it fails."""
    return _libc.syscall(number, *arguments)


def checked_syscall(number: int, *arguments: object) -> int:
    """The same. Raises OSError."""
    result = syscall(number, *arguments)
    _check(result, f"system call {number}")
    return result


class Filter:
    """A seccomp filter, ready to be put in force."""

    def __init__(self, program: bytes) -> None:
        self.program = bytearray(program)
        buffer = (ctypes.c_char * len(self.program)).from_buffer(self.program)
        self._header = ctypes.create_string_buffer(16)
        struct.pack_into("H6xQ", self._header, 0, len(self.program) // 8, ctypes.addressof(buffer))
        self._buffer = buffer
        self.address = ctypes.addressof(self._header)

    def enforce(self) -> None:
        """From here on every system call of this process, and of its children, is asked of the filter."""
        if _libc.syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, 0, ctypes.c_void_p(self.address)):
            _check(-1, "seccomp")

    def places(self, value: int) -> list[int]:
        """Addresses of the four bytes in the instructions that hold `value`."""
        first = ctypes.addressof(self._buffer)
        values = [each[0] for each in struct.iter_unpack("=4xI", self.program)]
        return [first + 8 * index + 4 for index, each in enumerate(values) if each == value]


def executable(code: bytes) -> int:
    """The address of a page that holds machine code, for good. Raises OSError."""
    address = _libc.mmap(None, ctypes.c_size_t(len(code)), _PROT_READ | _PROT_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0)
    _check(address, "mmap")
    ctypes.memmove(address, code, len(code))
    _check(_libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(len(code)), _PROT_READ | _PROT_EXEC), "mprotect")
    return address


def thread_id_addresses() -> list[int]:
    """Where the C library keeps this thread's id: the words of its description that a fork changes to the child's."""
    words = (ctypes.c_uint32 * _THREAD_WORDS).from_address(_libc.pthread_self())
    own = [index for index, word in enumerate(words) if word == os.getpid()]
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        try:
            changed = [index for index in own if words[index] == os.getpid()]
            os.write(writer, struct.pack(f"={len(changed)}I", *changed))
        finally:
            os._exit(0)
    os.close(writer)
    found = [index for (index,) in struct.iter_unpack("=I", os.read(reader, 4 * _THREAD_WORDS))]
    os.close(reader)
    os.waitpid(child, 0)
    return [ctypes.addressof(words) + 4 * index for index in found]


def signal_descriptor(number: int) -> int:
    """A descriptor that is readable when the signal, which the caller has blocked, is pending. Not blocking."""
    mask = (ctypes.c_uint64 * 16)(1 << (number - 1))
    result = _libc.signalfd(-1, ctypes.byref(mask), _SFD_NONBLOCK | _SFD_CLOEXEC)
    _check(result, "signalfd")
    return result


def unshare(flags: int) -> None:
    """Moves this process (for CLONE_NEWPID: its next children) to new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """mount(2)."""
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), target)


def make_read_only(target: str) -> None:
    """Makes a mount and all mounts below it read-only and free of set-uid programs (Linux 5.12)."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _check(
        _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, ctypes.byref(attributes), size),
        target,
    )


def unmount(target: str) -> None:
    """Takes a mount and all mounts below it away."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH), target)


def change_root(new_root: str) -> None:
    """Makes `new_root`, a mount point, the root directory; nothing of the old root can be reached by a path again."""
    os.chdir(new_root)
    _check(_libc.pivot_root(b".", b"."), new_root)
    unmount(".")


def forbid_new_privileges() -> None:
    """No program started from here on gains rights from its file (set-uid, capabilities)."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process instead of init's."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def forbid_tracing() -> None:
    """No process without CAP_SYS_PTRACE can read or trace this one."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def permit_looking() -> None:
    """Processes of the same user can see what this one, and its children, have open."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")


def keep_capabilities(*kept: int) -> None:
    """Gives up every capability of this process but those given."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bits = sum(1 << number for number in kept)
    words = (bits & 0xFFFFFFFF, bits & 0xFFFFFFFF, 0, bits >> 32, bits >> 32, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)(*words)), "capset")
