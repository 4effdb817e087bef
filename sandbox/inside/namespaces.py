"""Namespaces and user ids: what separates a run from the rest of the machine, as far as the machine permits it."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress

from sandbox.inside import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACES = "namespaces"
"""The layer: own processes, mounts, network, IPC and host name, made by root."""
USER_NAMESPACE = "user namespace"
"""The layer: the same inside a user namespace, where the owner is not root or root may not make them otherwise."""
OWN_USER = "own user"
"""The layer: a user id for each run that nobody else has, where the owner is root."""

_ALL = kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
_NOBODY = 65534
_FIRST_OWN_ID = 0x4000_0000
IDS = 64
"""User ids of one fork server; as many runs as that can go on in it at once. As many more are for ending them."""


def enter() -> None:
    """Moves this process (its next children, as far as processes go) to new namespaces. Raises OSError."""
    kernel.unshare(_ALL)


def enter_with_user(first: int | None = None) -> None:
    """The same inside a new user namespace, where this process is nobody with all capabilities. Raises OSError.

    first: of root's, the first of `IDS` users that are to be had there as well, so that runs can have users of their own.
    Where that is permitted this process is root there, of itself.
    The working directory must be /proc. Tried in a child first: some machines permit half of it, which cannot be undone.
    """
    if first is not None and os.geteuid() == 0:
        try:
            in_child(lambda: _enter_with_users(first))
        except OSError:
            pass  # no more than its own
        else:
            return _enter_with_users(first)
    in_child(_enter_as_nobody)
    return _enter_as_nobody()


def _enter_with_users(first: int) -> None:
    """Raises OSError unless root has its rights over users outside, where the child must be that gives them."""
    own = os.readlink("self")
    entered, enters = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(enters)
            if os.read(entered, 1):
                for name in ("uid_map", "gid_map"):
                    _write(name, f"0 0 1\n{first} {first} {IDS}", own)
                os._exit(0)
        finally:
            os._exit(1)
    os.close(entered)
    try:
        kernel.unshare(_ALL | kernel.CLONE_NEWUSER)
        os.write(enters, b"!")
    finally:
        os.close(enters)
        failed = os.waitpid(child, 0)[1]
    if failed:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), "uid_map")


def _enter_as_nobody() -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(_ALL | kernel.CLONE_NEWUSER)
    _write("setgroups", "deny")
    _write("uid_map", f"{_NOBODY} {user} 1")
    _write("gid_map", f"{_NOBODY} {group} 1")


def _write(name: str, text: str, process: str = "self") -> None:
    with open(f"{process}/{name}", "w") as file:
        file.write(text)


def own_id() -> int:
    """The first of the user ids that nobody else on the machine has while this process lives: twice `IDS` of them."""
    return _FIRST_OWN_ID + os.getpid() * 2 * IDS


def check_ids(first: int) -> None:
    """Leaves all groups. Raises OSError unless this process can give its children the users from `first` on."""
    os.setgroups([])
    in_child(lambda: become(first + IDS - 1))


def in_child(step: Callable[[], None]) -> None:
    """Takes a step in a child, which ends with it. Raises OSError where it did."""
    child = os.fork()
    if child == 0:
        try:
            step()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number:
        raise OSError(number, os.strerror(number))


def become(user: int) -> None:
    """Turns root into `user`. Raises OSError where it may not, or where there is no such id."""
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def end_all_of(*users: int) -> None:
    """Kills every process of users that are of `IDS`. The caller must be root, outside a namespace of users.

    Once is enough: the kernel lets nobody fork while it goes through all of them. What kills acts as the user, but is
    owned by others, else the user's processes could kill it first. It is a child: a process that acts as somebody else
    would no longer end with its parent.
    """
    child = os.fork()
    if child == 0:
        try:
            for user in users:
                os.setresuid(user + IDS, user, 0)
                with suppress(OSError):
                    os.kill(-1, signal.SIGKILL)
                os.setresuid(0, 0, 0)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
