"""Namespaces and user ids: what separates a run from the rest of the machine, as far as the machine permits it."""

from __future__ import annotations

import os

from sandbox.inside import kernel

NAMESPACES = "namespaces"
"""The layer: own processes, mounts, network, IPC and host name, made by root."""
USER_NAMESPACE = "user namespace"
"""The layer: the same inside a user namespace, where the owner is not root or root may not make them."""
OWN_USER = "own user"
"""The layer: a user id that nobody else has, where the owner is root."""

_ALL = kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
_NOBODY = 65534
_FIRST_OWN_ID = 0x7000_0000


def enter() -> None:
    """Moves this process (its next children, as far as processes go) to new namespaces. Raises OSError."""
    kernel.unshare(_ALL)


def enter_with_user() -> None:
    """The same inside a new user namespace, where this process is nobody with all capabilities. Raises OSError.

    The working directory must be /proc.
    """
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(_ALL | kernel.CLONE_NEWUSER)
    _write("setgroups", "deny")
    _write("uid_map", f"{_NOBODY} {user} 1")
    _write("gid_map", f"{_NOBODY} {group} 1")


def _write(name: str, text: str) -> None:
    with open(f"self/{name}", "w") as file:
        file.write(text)


def own_id() -> int:
    """A user id that nobody else on the machine has while this process lives."""
    return _FIRST_OWN_ID + os.getpid()


def become(user: int) -> None:
    """Turns root into `user`, or into nobody where the machine has no such id. Raises OSError where it may not.

    The working directory becomes that user's.
    """
    for candidate in (user, _NOBODY):
        try:
            os.chown(".", candidate, candidate)
            os.setgroups([])
            os.setresgid(candidate, candidate, candidate)
            os.setresuid(candidate, candidate, candidate)
        except OSError:
            if candidate == _NOBODY:
                raise
        else:
            return
