"""A root directory of its own for a run: the system's programs and libraries and the interpreter, read-only, and an
empty /tmp. Nothing else of the machine's files is there: no home directories, no data, no other run's files.
"""

from __future__ import annotations

import os
import sys

from sandbox.inside import kernel

JAIL = "jail"
"""The layer: the machine's files cannot be seen."""
WORK_DIRECTORY = "/tmp"  # noqa: S108  (in the jail it is the run's own)
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_TMPFS = "size=64m,nr_inodes=4096,mode=755"


def enter(root: str) -> None:
    """Builds the jail on the empty directory `root` and makes it the root directory of this mount namespace.

    Raises OSError where the machine does not permit it; `root` is then as it was. The working directory is kept.
    """
    old_directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE, "")
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _TMPFS)
    try:
        _fill(root)
        kernel.change_root(root)
    except OSError:
        kernel.unmount(root)
        raise
    finally:
        os.fchdir(old_directory)
        os.close(old_directory)


def _fill(root: str) -> None:
    for path in _SYSTEM:
        _show(path, root, read_only=True)
    if not f"{sys.base_prefix}/".startswith("/usr/"):
        _show(sys.base_prefix, root, read_only=True)
    for path in _DEVICES:
        _show(path, root, read_only=False)
    _mount_proc(f"{root}/proc")
    for path in (WORK_DIRECTORY, "/dev/shm"):  # noqa: S108
        os.mkdir(root + path)
        os.chmod(root + path, 0o1777)  # noqa: S103  (the run's own directories)


def _show(path: str, root: str, read_only: bool) -> None:
    """Makes a file, directory or symbolic link of the machine visible at the same path below `root`, if there is one."""
    target = root + path
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target)
    elif os.path.exists(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    else:
        return
    kernel.mount(path, target, "", kernel.MS_BIND | kernel.MS_REC, "")
    if read_only:
        kernel.make_read_only(target)


def _mount_proc(target: str) -> None:
    """A /proc with the run's own processes. It stays empty where the machine masks parts of its own /proc."""
    os.mkdir(target)
    try:
        kernel.mount("proc", target, "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, "")
    except PermissionError:
        return
