"""Watches a program from the first moment to the end of the last process that it started.

The keeper is the trusted parent of the program. Where a PID namespace is in force it is the namespace's first process,
and the kernel ends everything with it; elsewhere it adopts orphans and kills all its descendants until none is left. It
enforces the CPU and wall limits itself, so they hold however busy the owner is, and ends the run when the owner asks for
it by closing its pipe, which the kernel does when the owner dies.
"""

from __future__ import annotations

import os
import resource
import select
import time

_SIGKILL = 9
_TICK_SECONDS = 0.05
"""How often the CPU time of the whole tree is looked at."""
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Kept:
    """What is known of a run that has ended.

    status: wait status of the program itself. cause: why the keeper ended it: "cpu", "wall", "asked" or "" where it
    ended by itself. cpu_seconds and peak_bytes (largest resident set of one process) are of the whole tree.
    """

    def __init__(self, status: int, cause: str, cpu_seconds: float, wall_seconds: float, peak_bytes: int) -> None:
        self.status = status
        self.cause = cause
        self.cpu_seconds = cpu_seconds
        self.wall_seconds = wall_seconds
        self.peak_bytes = peak_bytes


def keep(program: int, control: int, cpu_seconds: float, wall_seconds: float, has_pid_namespace: bool) -> Kept:
    """Waits until the program ends or must be ended, then ends everything it started.

    control: read end of the owner's pipe. The working directory must be a /proc that shows this process.
    """
    start = time.monotonic()
    own_pid = int(os.readlink("self"))  # as that /proc numbers it, which may be from outside a namespace
    ended = os.pidfd_open(program)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(control, select.POLLIN)
    cause, status = "", None
    while status is None and not cause:
        left = start + wall_seconds - time.monotonic()
        ready = [fd for fd, _ in poll.poll(1000 * max(0.0, min(left, _TICK_SECONDS)))]
        status = _reap(program)
        if status is not None:
            break
        if control in ready:
            cause = "asked"
        elif left <= 0:
            cause = "wall"
        elif not ready and _tree_seconds(own_pid) >= cpu_seconds:
            cause = "cpu"
    wall = time.monotonic() - start
    last = _end_tree(program, own_pid, has_pid_namespace)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = last if status is None else status
    return Kept(status, cause, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def _reap(program: int) -> int | None:
    """Collects the processes that have ended. Returns the program's wait status once it is among them."""
    status = None
    while True:
        try:
            pid, pid_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == program:
            status = pid_status


def _end_tree(program: int, own_pid: int, has_pid_namespace: bool) -> int:
    """Kills and collects every descendant. Returns the program's wait status, 0 where it was collected before."""
    program_status = 0
    while True:
        try:
            _kill_all(own_pid, has_pid_namespace)
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return program_status
        if pid == program:
            program_status = status


def _kill_all(own_pid: int, has_pid_namespace: bool) -> None:
    targets = [-1] if has_pid_namespace else _descendants(own_pid)
    for pid in targets:
        try:
            os.kill(pid, _SIGKILL)
        except ProcessLookupError:
            continue


def _descendants(pid: int) -> list[int]:
    """Process ids below `pid`, which may be gone by now."""
    found: list[int] = []
    open_ends = [pid]
    while open_ends:
        parent = open_ends.pop()
        for child in _children(parent):
            found.append(child)
            open_ends.append(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"{pid}/task"):
            with open(f"{pid}/task/{thread}/children") as file:
                children.extend(map(int, file.read().split()))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return children


def _tree_seconds(own_pid: int) -> float:
    """CPU time of every descendant, living or collected, in seconds."""
    ticks = 0
    for pid in _descendants(own_pid):
        try:
            with open(f"{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))  # utime, stime, and those of its collected children
    collected = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ticks / _CLOCK_TICKS + collected.ru_utime + collected.ru_stime
