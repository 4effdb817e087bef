"""Files without a name, in memory: what a run is given, which nobody can change any more, and what it writes."""

from __future__ import annotations

import fcntl
import os

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed(content: bytes) -> int:
    """A descriptor of a file that holds `content` for good; reading starts at its beginning."""
    descriptor = os.memfd_create("run", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def empty() -> int:
    """A descriptor of an empty file for somebody to write to."""
    return os.memfd_create("run", os.MFD_CLOEXEC)


def sealable() -> int:
    """A descriptor of an empty file for somebody to write to, who can seal it."""
    return os.memfd_create("run", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def content_if_sealed(descriptor: int, most: int) -> bytes:
    """What was written to a `sealable` file before it was sealed, its first `most` bytes; nothing where it never was."""
    is_sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    return os.pread(descriptor, most, 0) if is_sealed else b""


def content(descriptor: int, most: int) -> bytes:
    """What was written, its first `most` bytes."""
    return os.pread(descriptor, most, 0)


def size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
