"""Worker pools with real processes: what is killed, what comes back, what the queue promises."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from services.server.errors import (
    CallFailedError,
    CallTimeoutError,
    PoolDownError,
    PoolFullError,
    StartError,
    WorkerDiedError,
)
from services.server.frames import encode_frame
from services.server.pool import WorkerPool

ROOT = Path(__file__).parents[3]


def path_with(folder: Path) -> str:
    return os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", path_with(Path(__file__).parent))


@asynccontextmanager
async def machines(size=1, factory="puppet:Machine", kwargs=None, **options):
    pool = WorkerPool(factory, kwargs, size=size, **options)
    await pool.start()
    try:
        yield pool
    finally:
        pids = pool.pids
        await pool.close()
        assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


def test_a_call_goes_to_a_process_of_its_own_and_back():
    async def scene():
        async with machines(kwargs={"greeting": "good day"}) as pool:
            assert await pool.call("greet", "you \ud800 \u0000 é", 5) == "good day you \ud800 \u0000 é"
            pid = await pool.call("pid", None, 5)
            assert pid != os.getpid()
            assert os.getpgid(pid) == pid

    asyncio.run(scene())


def test_large_payloads_pass():
    async def scene():
        async with machines() as pool:
            text = "x" * 20_000_000
            assert await pool.call("greet", text, 30) == "hello " + text

    asyncio.run(scene())


def test_a_call_may_have_all_the_time_that_grpc_can_write():
    async def scene():
        async with machines() as pool:
            (pid,) = pool.pids
            assert await pool.call("greet", "you", 99_999_999 * 3600.0) == "hello you"
            assert pool.pids == [pid]

    asyncio.run(scene())


@pytest.mark.parametrize("method", ["spawn_and_sleep", "spin"])
def test_a_call_that_outstays_its_time_is_killed_with_its_children(tmp_path, method):
    async def scene():
        async with machines() as pool:
            before = await pool.call("pid", None, 5)
            file = tmp_path / "pids"
            with pytest.raises(CallTimeoutError):
                await pool.call(method, str(file), 1.0)
            assert await pool.call("pid", None, 5) != before
            pids = [int(pid) for pid in file.read_text().split()] if file.exists() else [before]
            await until(lambda: not any(map(alive, pids)))

    asyncio.run(scene())


def test_cancelling_a_running_call_kills_it_and_one_in_the_queue_only_leaves(tmp_path):
    async def scene():
        async with machines() as pool:
            file = tmp_path / "pids"
            running = asyncio.create_task(pool.call("spawn_and_sleep", str(file), 60))
            await until(file.exists)
            worker, child = map(int, file.read_text().split())
            waiting = asyncio.create_task(pool.call("greet", "you", 5))
            leaving = asyncio.create_task(pool.call("greet", "nobody", 5))
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert alive(worker)
            running.cancel()
            assert await waiting == "hello you"
            await until(lambda: not alive(worker) and not alive(child))

    asyncio.run(scene())


def test_a_cancelled_call_that_is_about_to_end_costs_no_worker():
    """Callers who come and go would else keep a worker that loads a model from ever working."""

    async def scene():
        async with machines() as pool:
            before = set(pool.pids)
            for _ in range(3):
                leaving = asyncio.create_task(pool.call("sleep", 0.3, 60))
                await asyncio.sleep(0.1)
                leaving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await leaving
                assert await pool.call("greet", "you", 5) == "hello you"
            assert set(pool.pids) == before

    asyncio.run(scene())


def test_time_in_the_queue_is_not_time_in_the_worker():
    async def scene():
        async with machines() as pool:
            assert await asyncio.gather(*(pool.call("sleep", 0.4, 2.0) for _ in range(7))) == [0.4] * 7

    asyncio.run(scene())


def test_a_worker_that_ends_in_a_call_is_noticed_and_replaced():
    async def scene():
        async with machines() as pool:
            for end in ("segfault", "exit", "kill"):
                with pytest.raises(WorkerDiedError):
                    await pool.call("obey", end, 60)
                assert await pool.call("greet", end, 5) == f"hello {end}"

    asyncio.run(scene())


def test_an_idle_worker_that_is_killed_is_replaced():
    async def scene():
        async with machines(size=2) as pool:
            old = pool.pids
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: not set(old) & set(pool.pids))
            assert await pool.call("greet", "you", 5) == "hello you"
            await until(lambda: len(pool.pids) == 2)

    asyncio.run(scene())


def test_an_exception_ends_the_call_and_not_the_worker():
    async def scene():
        async with machines() as pool:
            before = pool.pids
            for command, name in {"raise": "ValueError", "system_exit": "SystemExit", "interrupt": "KeyboardInterrupt"}.items():
                with pytest.raises(CallFailedError) as failure:
                    await pool.call("obey", command, 5)
                assert failure.value.type_name == name
                assert "XYZZY" not in str(failure.value)
            await pool.call("obey", "print", 5)  # does not reach the channel
            assert await pool.call("greet", "you", 5) == "hello you"
            assert pool.pids == before

    asyncio.run(scene())


def test_what_is_not_json_fails_the_call_alone():
    async def scene():
        async with machines() as pool:
            with pytest.raises(CallFailedError):
                await pool.call("unspeakable", None, 5)
            with pytest.raises(TypeError):
                await pool.call("greet", {1, 2}, 5)
            assert await pool.call("greet", "you", 5) == "hello you"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("factory", "kwargs", "message"),
    [
        ("puppet", {}, "'puppet' is not an import path; write package.module:Name"),
        ("no_such.place:X", {}, "there is no module 'no_such'"),
        ("puppet:Nobody", {}, "puppet has no attribute 'Nobody'"),
        ("puppet:not_callable", {}, "'puppet:not_callable' is a int"),
        ("puppet:Machine", {"colour": 1}, "'puppet:Machine' raised TypeError"),
        ("puppet:NotReady", {}, "ended while it imported or made it"),
    ],
)
def test_a_factory_that_cannot_be_used_is_named_at_start(factory, kwargs, message):
    async def scene():
        pool = WorkerPool(factory, kwargs, size=2 if factory == "puppet" else 1)
        with pytest.raises(StartError) as failure:
            await pool.start()
        assert message in str(failure.value)
        assert pool.pids == []

    asyncio.run(scene())


def test_a_start_that_fails_leaves_no_complaint_of_asyncio():
    complaints = []

    async def scene():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        with pytest.raises(StartError):
            await WorkerPool("puppet:Nowhere", size=2).start()
        gc.collect()

    asyncio.run(scene())
    gc.collect()
    assert complaints == []


def test_what_a_method_yields_arrives_while_it_goes_on(tmp_path):
    async def scene():
        async with machines() as pool:
            file, parts = tmp_path / "go", []
            order = {"to": 5, "stop": 3, "file": str(file)}
            call = asyncio.create_task(pool.call("count", order, 30, on_part=parts.append))
            await until(lambda: parts == [0, 1, 2])
            assert not call.done()
            file.touch()
            assert await call == "counted"
            assert parts == [0, 1, 2, 3, 4]
            assert await pool.call("count", order, 30) == "counted"  # nobody asked for the parts

    asyncio.run(scene())


def test_a_method_that_yields_fails_as_others_do(tmp_path):
    async def scene():
        async with machines() as pool:
            parts = []
            with pytest.raises(CallFailedError) as caught:
                await pool.call("count", {"to": 5, "stop": 2, "raise": True}, 30, on_part=parts.append)
            assert caught.value.type_name == "ValueError"
            with pytest.raises(WorkerDiedError):
                await pool.call("count", {"to": 5, "stop": 1, "die": True}, 30, on_part=parts.append)
            assert parts == [0, 1, 0]
            with pytest.raises(CallTimeoutError):
                await pool.call("count", {"to": 5, "stop": 1, "file": str(tmp_path / "no")}, 0.3, on_part=parts.append)
            assert parts == [0, 1, 0, 0]
            assert await pool.call("greet", "you", 5) == "hello you"

    asyncio.run(scene())


def test_a_module_that_misses_another_is_told_apart(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import no_such_library\n")
    monkeypatch.setenv("PYTHONPATH", path_with(tmp_path))
    with pytest.raises(StartError, match="importing needy needs module 'no_such_library'"):
        asyncio.run(WorkerPool("needy:X", size=1).start())


def test_a_factory_that_takes_too_long_is_given_up():
    with pytest.raises(StartError, match="'puppet:Slow' was not ready within 1 seconds"):
        asyncio.run(WorkerPool("puppet:Slow", size=1, start_timeout_seconds=1.0).start())


def test_admission_counts_items_and_refuses_what_is_too_much():
    async def scene():
        async with machines(limit=10) as pool:
            with pool.admit(11), pytest.raises(PoolFullError), pool.admit(1):
                pass
            with pool.admit(6), pool.admit(4):
                pass

    asyncio.run(scene())


def test_a_pool_that_cannot_start_workers_says_so_and_comes_back(tmp_path):
    health = []

    async def on_health(able):
        health.append(able)

    async def scene():
        file = tmp_path / "no"
        async with machines(kwargs={"file": str(file)}, on_health=on_health) as pool:
            file.touch()
            with pytest.raises(WorkerDiedError):
                await pool.call("obey", "exit", 5)
            with pytest.raises(PoolDownError):
                await pool.call("greet", "you", 5)
            with pytest.raises(PoolDownError), pool.admit(1):
                pass
            assert health == [False]
            file.unlink()
            await until(lambda: health == [False, True])
            assert await pool.call("greet", "you", 5) == "hello you"

    asyncio.run(scene())


def test_a_new_worker_gets_the_keyword_arguments_of_the_moment():
    async def scene():
        async with machines() as pool:
            pool.kwargs["greeting"] = "welcome back"
            with pytest.raises(WorkerDiedError):
                await pool.call("obey", "exit", 5)
            assert await pool.call("greet", "you", 5) == "welcome back you"

    asyncio.run(scene())


def test_workers_and_their_children_end_with_their_parent(tmp_path, wait_until_gone):
    file = tmp_path / "pids"
    script = f"""
import asyncio
from services.server.frames import encode_frame
from services.server.pool import WorkerPool

async def scene():
    pool = WorkerPool("puppet:Machine", size=2)
    await pool.start()
    await asyncio.gather(pool.call("spawn_and_sleep", {str(file)!r}, 600), pool.call("sleep", 600, 600))

asyncio.run(scene())
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as parent:
        while not file.exists():
            time.sleep(0.02)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) == 3
        parent.kill()
    wait_until_gone(family)


@pytest.mark.parametrize("answer_read", [True, False])
def test_a_worker_ends_when_its_socket_does(answer_read):
    """A parent that dies before it read an answer resets the connection instead of ending it."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "services.server.worker", str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True, cwd=ROOT) as process:
        theirs.close()
        ours.sendall(encode_frame({"call": 0, "factory": "puppet:Machine", "kwargs": {}, "log_level": "info"}))
        ready = encode_frame({"call": 0, "result": None})
        assert ours.recv(len(ready), 0 if answer_read else socket.MSG_PEEK) == ready
        ours.close()
        assert process.wait(30) == -signal.SIGKILL
