"""Programs of many processes: what bounds their number, their time and their memory, and what ends every last of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from sandbox.inside import namespaces
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE
from sandbox.jobs import Kind
from sandbox.results import Ending, Limits

if TYPE_CHECKING:
    from conftest import Box

NO_NAMESPACES = (NAMESPACES, USER_NAMESPACE)
WORLDS = pytest.mark.parametrize(
    "without", [(), (NAMESPACES,), (NAMESPACES, OWN_USER), NO_NAMESPACES], ids=["all", "user", "nobody", "none"]
)
THREADS = """
import threading, time
threading.stack_size(32768)
gate = threading.Event()
made = 0
try:
    for _ in range(2000):
        threading.Thread(target=gate.wait, daemon=True).start()
        made += 1
        if made > 250: time.sleep(0.001)
except RuntimeError: pass
print(made, flush=True)
import os
os._exit(0)
"""
UNATTENDED = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    for _ in range(4):
        if os.fork() == 0:
            end = time.process_time() + 0.006
            while time.process_time() < end: pass
            os._exit(0)
    time.sleep(0.013)
"""
WITHOUT_FIRST_THREAD = """
import ctypes, os, threading, time
def hold():
    time.sleep(0.1)
    kept = b"x" * (60 << 20)
    time.sleep(20)
for _ in range(3): os.fork()
threading.Thread(target=hold).start()
ctypes.CDLL(None).syscall(60, 0)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: time.sleep(1)
    os._exit(0)
os.wait()
while True: time.sleep(1)
"""


@WORLDS
def test_threads_count_as_processes(make_box: Callable[..., Box], without: tuple[str, ...]) -> None:
    result = make_box(without=without).run(THREADS, kind=Kind.SUBPROCESS, memory_bytes=1 << 30)
    assert result.ending is Ending.MEMORY_LIMIT or 0 < int(result.stdout) <= 128, result


@WORLDS
def test_the_time_of_children_counts_though_nobody_waits_for_them(
    make_box: Callable[..., Box], without: tuple[str, ...]
) -> None:
    """The kernel forgets it."""
    result = make_box(without=without).run(UNATTENDED, kind=Kind.SUBPROCESS, cpu_seconds=0.3, wall_seconds=30.0)
    assert result.ending is Ending.CPU_LIMIT, result
    assert result.cpu_seconds >= 0.3


@WORLDS
def test_a_bomb_of_processes_comes_to_its_end(make_box: Callable[..., Box], without: tuple[str, ...]) -> None:
    box = make_box(without=without)
    box.server(Kind.SUBPROCESS)
    before = box.processes()
    bomb = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
    result = box.run(bomb, kind=Kind.SUBPROCESS, cpu_seconds=0.5, wall_seconds=60.0)
    assert result.ending in (Ending.CPU_LIMIT, Ending.MEMORY_LIMIT), result
    assert not box.settled(before)


def test_memory_counts_though_the_first_thread_has_ended(box: Box) -> None:
    result = box.run(WITHOUT_FIRST_THREAD, kind=Kind.SUBPROCESS, wall_seconds=15.0, memory_bytes=256 << 20)
    assert result.ending is Ending.MEMORY_LIMIT, result


def test_what_a_child_raises_is_not_how_the_run_ends(box: Box) -> None:
    source = "import os\nif os.fork() == 0: raise ValueError('child')\nprint(os.waitstatus_to_exitcode(os.wait()[1]))"
    result = box.run(source, kind=Kind.SUBPROCESS)
    assert (result.ending, result.stdout) == (Ending.EXITED, b"1\n"), result
    assert b"ValueError: child" in result.stderr
    result = box.run(source + "\nos._exit(3)", kind=Kind.SUBPROCESS)
    assert (result.ending, result.detail) == (Ending.RAISED, "exit code 3")


def end_alone(server: int, guard: int, keeper: int) -> None:
    os.kill(server, signal.SIGKILL)


def end_with_keeper(server: int, guard: int, keeper: int) -> None:
    os.kill(server, signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    os.kill(server, signal.SIGKILL)


def end_group(server: int, guard: int, keeper: int) -> None:
    os.killpg(server, signal.SIGKILL)


def end_keeper(server: int, guard: int, keeper: int) -> None:
    os.kill(keeper, signal.SIGKILL)


def end_guard(server: int, guard: int, keeper: int) -> None:
    os.kill(guard, signal.SIGKILL)


@pytest.mark.parametrize("end", [end_alone, end_with_keeper, end_group, end_keeper, end_guard])
def test_daemons_end_with_their_server_without_namespaces(
    make_box: Callable[..., Box], end: Callable[[int, int, int], None]
) -> None:
    box = make_box(without=NO_NAMESPACES)
    held = box.server(Kind.SUBPROCESS)
    before = box.processes()

    def started() -> int:
        """How many processes there are of the run, once its keeper, the program and the daemon are there."""
        for _ in range(1000):
            if len(box.processes() - before) == 3:
                break
            time.sleep(0.01)
        return len(box.processes() - before)

    async def main() -> int:
        work = box.sandbox._run_once(["program", DAEMON], b"", Limits(wall_seconds=60.0), Kind.SUBPROCESS)
        running = asyncio.create_task(work)
        number = await asyncio.to_thread(started)
        children = psutil.Process(held.pid).children()  # the guard, then the keeper
        end(held.pid, children[0].pid, children[-1].pid)
        await running
        return number

    assert box.do(main()) == 3
    assert not box.settled(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has users to give")
def test_a_user_cannot_kill_what_ends_it() -> None:
    """Each of its processes kills whatever it can, all the time."""
    user = namespaces.own_id()
    fights = "import os\nwhile True:\n try: os.kill(-1, 9)\n except OSError: pass"
    become = (
        f"import os\nos.setgroups([])\nos.setresgid(*[{user}] * 3)\nos.setresuid(*[{user}] * 3)\nprint(1, flush=True)\n"
    )
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", become + fights], stdout=subprocess.PIPE, cwd=Path("/")
        ) as fighter:
            assert fighter.stdout is not None and fighter.stdout.readline() == b"1\n"
            namespaces.end_all_of(user)
            assert fighter.wait(10) == -signal.SIGKILL
