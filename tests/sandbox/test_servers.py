"""Fork servers that die, are killed, cannot start or grow old; and what is left of a run in the next."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sandbox import memory, pool, server
from sandbox.inside.namespaces import NAMESPACES, USER_NAMESPACE
from sandbox.inside.zygote import ZYGOTE
from sandbox.jobs import Call, Calls, Kind, Program, Trial
from sandbox.results import Ending, Limits, Returned, RunResult
from sandbox.server import Server, ServerError, Setup

if TYPE_CHECKING:
    from conftest import Box

ROOT = Path(__file__).resolve().parents[2]
OFFICE = (Kind.PLAIN, Kind.FILES, Kind.SUBPROCESS)


def test_more_slots_than_a_server_has_users_cost_no_run(make_box: Callable[..., Box]) -> None:
    box = make_box(slots=80)

    async def many() -> list[RunResult]:
        job = Program("import time; time.sleep(1); print('there')")
        return await asyncio.gather(*(box.sandbox.run(job, Limits(wall_seconds=30), Kind.PLAIN) for _ in range(80)))

    assert [result.stdout for result in box.do(many())] == [b"there\n"] * 80
    assert box.sandbox.retries == 0


@pytest.mark.parametrize("kind", OFFICE)
def test_servers_killed_under_load_cost_no_run_its_result(make_box: Callable[..., Box], kind: Kind) -> None:
    box = make_box()
    box.server(kind)

    async def main() -> list[RunResult]:
        runs = [
            asyncio.create_task(
                box.sandbox.run(Program("import time\ntime.sleep(.02)\nprint(input())", b"%d\n" % n), None, kind)
            )
            for n in range(60)
        ]
        await asyncio.sleep(0.15)
        assert box.sandbox._servers[kind].running
        os.kill(box.sandbox._servers[kind].pid, signal.SIGKILL)
        return await asyncio.gather(*runs)

    results = box.do(main())
    assert [(result.ending, result.stdout) for result in results] == [(Ending.EXITED, b"%d\n" % n) for n in range(60)]
    assert box.sandbox.restarts == 1
    assert not box.settled(tree_of(box.server(kind).pid))


@pytest.mark.parametrize("without", [(), (NAMESPACES, USER_NAMESPACE)], ids=["namespaces", "no namespaces"])
def test_whichever_process_of_a_sealed_server_is_killed_no_run_loses_its_result(
    make_box: Callable[..., Box], without: tuple[str, ...]
) -> None:
    """The server, the process it forks from, and the one that the owner waits for, one after the other."""
    box = make_box(without=without)

    async def main(victim: int) -> list[RunResult]:
        sleeper = Program("import time\ntime.sleep(.2)\nprint(input())", b"kept")
        runs = [asyncio.create_task(box.sandbox.run(sleeper, None, Kind.PLAIN)) for _ in range(4)]
        await asyncio.sleep(0.1)
        os.kill(victim, signal.SIGKILL)
        return await asyncio.gather(*runs)

    count = len(tree_of(box.server(Kind.PLAIN).pid))
    assert count == (2 if without else 3)
    for number in range(count):
        before = sorted(tree_of(box.server(Kind.PLAIN).pid))
        results = box.do(main(before[number]))
        assert [(result.ending, result.stdout) for result in results] == [(Ending.EXITED, b"kept\n")] * 4
        assert box.sandbox.restarts == number + 1
        assert not box.settled(tree_of(box.server(Kind.PLAIN).pid))
        assert not tree_of(box.server(Kind.PLAIN).pid) & set(before)


def test_where_there_can_be_no_zygote_the_server_forks_by_itself(make_box: Callable[..., Box]) -> None:
    """As under gVisor. Confined all the same, and replaced when it is killed."""
    box = make_box(without=(ZYGOTE,))
    assert len(tree_of(box.server(Kind.PLAIN).pid)) == 2
    source = (
        "import os\ntry: os.kill(os.getppid(), 9)\nexcept OSError: print(input(), os.getuid())\n"
        "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    first, second = (box.run(source, b"kept", Kind.PLAIN).stdout.split(maxsplit=2) for _ in range(2))
    assert first[0] == second[0] == b"kept" and first[2] == second[2] == b"(64, 64)\n"
    if os.getuid() == 0:
        assert first[1] != second[1]
    trial = box.trial("def f(n): return n", "def check(f): assert f(1) == 1")
    assert trial.finished and trial.executed == 1
    attack = box.run("import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)", kind=Kind.PLAIN)
    assert attack.ending is Ending.TAMPERED
    for victim in sorted(tree_of(box.server(Kind.PLAIN).pid)):
        os.kill(victim, signal.SIGKILL)
    assert box.run("print(1)", kind=Kind.PLAIN).stdout == b"1\n"


def test_a_run_that_cannot_be_confined_is_not_started(make_box: Callable[..., Box]) -> None:
    """Its limit of open files is more than the server may have: the kernel refuses, and no Python of the run begins."""
    box = make_box()
    pids = tree_of(box.server(Kind.PLAIN).pid)
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (32, 32))
    result = box.run("print(1)", kind=Kind.PLAIN)
    assert (result.ending, result.stdout) == (Ending.INFRASTRUCTURE, b"")
    assert "could not start a process" in result.detail
    assert not box.settled(pids)


def tree_of(pid: int) -> set[int]:
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def test_a_trial_that_lost_a_server_is_held_again(make_box: Callable[..., Box]) -> None:
    box = make_box()
    trial = Trial("import time\ndef f(n):\n time.sleep(.3)\n return n", "def check(f): assert f(1) == 1", ("f",))

    async def main(kind: Kind) -> Any:
        victim = await box.sandbox.server(kind)
        running = asyncio.create_task(box.sandbox.trial(trial))
        await asyncio.sleep(0.15)
        os.kill(victim.pid, signal.SIGKILL)
        return await running

    for kind in (Kind.PLAIN, Kind.CHECKER):
        result = box.do(main(kind))
        assert result.finished and result.executed == 1, result
    assert box.sandbox.restarts == 2


@pytest.mark.parametrize("inner", [False, True])
def test_everything_of_a_killed_server_is_gone(make_box: Callable[..., Box], inner: bool) -> None:
    """`inner`: not the process that the owner waits for but the one that forks."""
    box = make_box()
    kind = Kind.SUBPROCESS
    held = box.server(kind)

    async def main() -> RunResult:
        source = "import os, time\nfor _ in range(3): os.fork()\ntime.sleep(60)"
        running = asyncio.create_task(box.sandbox._run_once(["program", source], b"", Limits(), kind))
        await asyncio.sleep(0.5)
        children = psutil.Process(held.pid).children(recursive=True)
        os.kill(children[0].pid if inner and children else held.pid, signal.SIGKILL)
        return await running

    assert box.do(main()).ending is Ending.INFRASTRUCTURE
    assert not box.settled(set())


@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.FILES])
def test_without_namespaces_runs_end_with_their_server_as_well(make_box: Callable[..., Box], kind: Kind) -> None:
    box = make_box(without=(NAMESPACES, USER_NAMESPACE))
    held = box.server(kind)

    async def main() -> RunResult:
        running = asyncio.create_task(
            box.sandbox._run_once(["program", "import time\ntime.sleep(60)"], b"", Limits(), kind)
        )
        await asyncio.sleep(0.3)
        os.kill(held.pid, signal.SIGKILL)
        return await running

    assert box.do(main()).ending is Ending.INFRASTRUCTURE
    assert not box.settled(set())


def test_a_server_that_hangs_is_lost_and_replaced(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.server._LATE_SECONDS", 0.3)
    box = make_box()
    for process in tree_of(box.server(Kind.PLAIN).pid):
        os.kill(process, signal.SIGSTOP)
    result = box.run("print(1)", wall_seconds=0.3)
    assert (result.ending, result.stdout) == (Ending.EXITED, b"1\n")
    assert box.sandbox.restarts == 1


def test_the_death_of_the_owner_ends_everything(tmp_path: Path) -> None:
    mark = f"mark-owner-{os.getpid()}-"
    script = f"""
import asyncio, dataclasses, os, sys
from sandbox.jobs import Kind, Program
from sandbox.pool import Sandbox
from sandbox.server import Setup
async def main():
    sandbox = Sandbox(6, dataclasses.replace(Setup.here(), without=({mark!r},)))
    stubborn = "import os, signal, time\\nfor n in range(1, 32):\\n try: signal.signal(n, signal.SIG_IGN)\\n except OSError: pass\\n"
    daemon = "if os.fork() == 0:\\n os.setsid()\\n os.fork()\\ntime.sleep(60)"
    for kind in (Kind.PLAIN, Kind.FILES, Kind.SUBPROCESS):
        source = stubborn + (daemon if kind is Kind.SUBPROCESS else "time.sleep(60)")
        asyncio.create_task(sandbox.run(Program(source), kind=kind))
    await asyncio.sleep(2)
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    from_here = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=tmp_path, env=from_here) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"up\n"
        assert len(marked(mark)) >= 6
        owner.kill()
    assert settle(lambda: not marked(mark)), marked(mark)


def marked(mark: str) -> set[int]:
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if mark in line and "asyncio" not in line:
            found.add(process.pid)
    return found


def settle(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        psutil.wait_procs([], timeout=0)
        subprocess.run(["sleep", "0.05"], check=True)
    return False


def test_a_server_is_replaced_after_its_share_of_runs(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_RUNS_OF_A_SERVER", 3)
    box = make_box()

    async def main() -> list[int]:
        long = asyncio.create_task(box.sandbox.run(Program("import time\ntime.sleep(.5)\nprint('long')")))
        await asyncio.sleep(0.1)
        pids = []
        for _ in range(6):
            await box.sandbox.run(Program("pass"))
            pids.append(box.sandbox._servers[Kind.PLAIN].pid)
        assert (await long).stdout == b"long\n"
        await box.sandbox.run(Program("pass"))
        return pids

    pids = box.do(main())
    assert len(set(pids)) == 3
    assert box.sandbox.restarts == 0  # none was lost
    assert not box.settled(tree_of(box.server(Kind.PLAIN).pid))


def test_a_server_that_cannot_start_says_why(make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch) -> None:
    box = make_box()
    for command in (["/bin/false"], [sys.executable, "-c", "import os; os._exit(3)"]):
        monkeypatch.setattr(server, "COMMAND", tuple(command))
        result = box.run("print(1)")
        assert result.ending is Ending.INFRASTRUCTURE
        assert result.detail == "its server, of kind plain, is not there: it died at its start"
    assert box.trial("", "", kind=Kind.PLAIN).candidate.ending is Ending.INFRASTRUCTURE
    monkeypatch.undo()
    assert box.run("print(1)").stdout == b"1\n"


def test_a_start_that_is_cancelled_leaves_no_server(make_box: Callable[..., Box]) -> None:
    box = make_box()

    async def main() -> None:
        starting = asyncio.create_task(box.sandbox.run(Program("pass")))
        await asyncio.sleep(0.02)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    box.do(main())
    assert not box.settled(set())


def test_closing_ends_what_runs_and_starts_nothing_again(make_box: Callable[..., Box]) -> None:
    box = make_box()

    async def main() -> RunResult:
        running = asyncio.create_task(box.sandbox.run(Program("import time\ntime.sleep(60)")))
        await asyncio.sleep(0.6)
        await box.sandbox.__aexit__()
        return await running

    assert box.do(main()).ending is Ending.INFRASTRUCTURE
    assert box.run("print(1)").ending is Ending.INFRASTRUCTURE
    assert not box.settled(set())


@pytest.mark.parametrize("failing", range(1, 5))
def test_a_machine_that_is_out_of_descriptors_is_no_fault_of_the_program(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    box = make_box()
    for kind in (Kind.PLAIN, Kind.CHECKER):
        box.server(kind)
    calls = iter(range(1, 100))

    def failing_at_last(real: Callable[..., int]) -> Callable[..., int]:
        def make(*content: bytes) -> int:
            if next(calls) >= failing:
                raise OSError(24, "Too many open files")
            return real(*content)

        return make

    for name in ("sealed", "sealable"):
        monkeypatch.setattr(memory, name, failing_at_last(getattr(memory, name)))
    result = box.trial("while True: pass", "def check(f): assert f(1)", kind=Kind.PLAIN)
    assert Ending.INFRASTRUCTURE in (result.candidate.ending, result.checker.ending)
    assert box.run("print(1)").ending is Ending.INFRASTRUCTURE
    monkeypatch.undo()
    assert all(box.server(kind).running == 0 for kind in (Kind.PLAIN, Kind.CHECKER))


SCAN = """
import ctypes, gc, os
libc = ctypes.CDLL(None)
reader, writer = os.pipe()
half, number = "{half}"[::-1].encode(), b"{number}"
def found():
    arenas = {{id(thing) >> 20 << 20 for thing in gc.get_objects(0) + gc.get_objects(1) + gc.get_objects(2) + [object() for _ in range(9)]}}
    heap = libc.sbrk
    heap.restype = ctypes.c_void_p
    top = heap(0)
    places = [base + step for base in arenas for step in range(-1 << 20, 2 << 20, 4096)]
    places += [top - step for step in range(4096, 24 << 20, 4096)]
    count = 0
    for place in set(places):
        if libc.write(writer, ctypes.c_void_p(place), 4096) == 4096:
            count += any(rest.startswith(number) for rest in os.read(reader, 4096).split(half)[1:])
    return count
"""


def test_nothing_of_a_run_is_found_in_the_memory_of_a_later_one(make_box: Callable[..., Box]) -> None:
    """The program looks for a text through its heap and its arenas; where it has it itself, it finds it."""
    box = make_box()
    mark = f"tsae-dellihc-{os.getpid()}"
    half, number = mark.rpartition("-")[0], f"-{os.getpid()}"
    scan = SCAN.format(half=half, number=number)
    whole = half[::-1] + number
    own = box.run(scan + f"keep = ['{whole}' + str(n) for n in range(50)]\nprint(found())", kind=Kind.PLAIN)
    assert int(own.stdout) > 0, own
    for _ in range(3):
        box.run(f"x = ['{whole}' + str(n) for n in range(1000)]\nprint(x, input())", f"{whole}\n".encode(), Kind.PLAIN)
        box.call(f"def f(x): return '{whole}'", Call("f", json.dumps([whole])), kind=Kind.PLAIN)
    later = box.run(scan + "print(found())", kind=Kind.PLAIN)
    assert (later.ending, later.stdout) == (Ending.EXITED, b"0\n"), later


def test_servers_know_only_what_they_are_told() -> None:
    async def main() -> None:
        held = Server(Kind.PLAIN, Setup())
        await held.start()
        try:
            with pytest.raises(ServerError, match="was closed"):
                number, future = held.submit([0] * 5, 1.0, 1.0, 1 << 28, 1 << 20)
                assert number == 1
                held.kill(99)
                held.lose("it was closed")
                await future
            with pytest.raises(ServerError, match="gone"):
                held.submit([0] * 5, 1.0, 1.0, 1 << 28, 1 << 20)
        finally:
            held.lose("the test ended")

    asyncio.run(main())


def test_calls_and_programs_share_a_server(box: Box) -> None:
    plain = box.server(Kind.PLAIN)
    result = box.run(Calls("def f(): return 1", (Call("f"),)))
    assert result.outcomes == (Returned("1"),)
    assert box.run("print(1)").stdout == b"1\n"
    assert box.server(Kind.PLAIN) is plain
