"""Programs that try to outlive, flood, starve or reach beyond their run. The limits are small so that they end soon."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.doctor import examine
from sandbox.execute import Program, execute
from sandbox.inside.jail import JAIL
from sandbox.inside.namespaces import NAMESPACES, OWN_USER, USER_NAMESPACE
from sandbox.results import Ending, Limits, RunResult

ROOT = Path(__file__).resolve().parents[2]
MEMORY_BYTES = 200 << 20


def run(source: str, stdin: bytes = b"", **limits: float) -> RunResult:
    chosen = {"cpu_seconds": 1.0, "wall_seconds": 3.0, "memory_bytes": MEMORY_BYTES} | limits
    return asyncio.run(execute(Program(source, stdin), Limits(**chosen)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def layers() -> set[str]:
    return set(asyncio.run(examine())[0].layers)


@pytest.fixture
def needs(layers: set[str]) -> Callable[..., None]:
    """Skips where none of the layers is in force on this machine."""

    def check(*any_of: str) -> None:
        if not layers & set(any_of):
            pytest.skip(f"this machine permits none of: {', '.join(any_of)}")

    return check


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


DAEMON = """
import os, signal, sys, time
for number in (*range(1, signal.SIGCHLD), *range(signal.SIGCHLD + 1, 32)):
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        {then}
        while True: time.sleep(1)
    os._exit(0)
os.wait()
{end}
"""


@pytest.mark.parametrize(
    ("then", "end", "endings"),
    [
        ("pass", "print('done')", {Ending.EXITED}),
        ("os.closerange(0, 100)", "print('done')", {Ending.EXITED}),
        ("pass", "while True: time.sleep(1)", {Ending.WALL_LIMIT}),
        ("os.kill(os.getppid(), 9)", "os._exit(3)", {Ending.RAISED, Ending.SIGNALLED}),
        ("os.fork(); os.fork()", "os.kill(os.getpid(), 9)", {Ending.SIGNALLED}),
    ],
)
def test_daemons_do_not_outlive_the_run(
    then: str,
    end: str,
    endings: set[Ending],
    needs: Callable[..., None],
    token: float,
    survivors: Callable[[], list[str]],
) -> None:
    if "getppid" in then:
        needs(NAMESPACES, USER_NAMESPACE, OWN_USER)  # without them it can kill its keeper
    result = run(DAEMON.format(then=then, end=end), cpu_seconds=token, wall_seconds=0.7)
    assert result.ending in endings, result
    assert not survivors()


def test_a_fork_bomb_is_held_and_cleared(
    needs: Callable[..., None], token: float, survivors: Callable[[], list[str]]
) -> None:
    needs(OWN_USER, USER_NAMESPACE)
    bomb = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
    result = run(bomb, cpu_seconds=token, wall_seconds=1.0)
    assert result.ending in (Ending.CPU_LIMIT, Ending.WALL_LIMIT)
    assert not survivors()
    count = "import os, time\nn = 0\nwhile n < 500:\n try: pid = os.fork()\n except OSError: break\n if not pid: time.sleep(9)\n n += 1\nprint(n)"
    assert 0 < int(run(count).stdout) < 64


@pytest.mark.parametrize(
    "source", ["x = []\nwhile True: x.append('y' * 10**6)", "x = 'y' * 10**12", "x = bytearray(1 << 33)"]
)
def test_memory_is_limited(source: str) -> None:
    result = run(source)
    assert result.ending is Ending.MEMORY_LIMIT
    assert result.peak_memory_bytes < MEMORY_BYTES


def test_no_descriptor_of_the_sandbox_is_left_open_but_the_channel() -> None:
    source = "import os\nfor n in range(3, 1024):\n try: print(n, os.readlink(f'/proc/self/fd/{n}').partition(':')[0])\n except OSError: pass"
    assert run(source).stdout == b"63 socket\n"


def test_limits_cannot_be_raised() -> None:
    source = """
import resource
for name in ("CPU", "AS", "FSIZE", "NOFILE", "CORE"):
    limit = getattr(resource, "RLIMIT_" + name)
    try: resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError: continue
    print(name, "was raised")
"""
    assert run(source).stdout == b""


def test_signals_cannot_be_refused_at_the_cpu_limit() -> None:
    source = "import signal\nfor n in set(signal.Signals) - {9, 19}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass"
    assert run(source, cpu_seconds=1.0, wall_seconds=30.0).ending is Ending.CPU_LIMIT


@pytest.mark.parametrize(
    "source",
    [
        "import os, time\nos.closerange(0, 1000)\ntime.sleep(60)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "import os, signal\nos.kill(0, signal.SIGSTOP)",
        "import threading, time\nfor _ in range(40): threading.Thread(target=time.sleep, args=(60,)).start()",
    ],
)
def test_programs_that_hang_end_at_the_wall_limit(
    source: str, token: float, survivors: Callable[[], list[str]]
) -> None:
    assert run(source, cpu_seconds=token, wall_seconds=0.5).ending is Ending.WALL_LIMIT
    assert not survivors()


def test_killing_whatever_can_be_seen_hurts_only_the_program(
    needs: Callable[..., None], bystander: subprocess.Popen[bytes], token: float, survivors: Callable[[], list[str]]
) -> None:
    needs(NAMESPACES, USER_NAMESPACE, OWN_USER)
    source = """
import os
for pid in [os.getppid(), *range(1, 5), int(input()), -1]:
    if pid != os.getpid():
        try: os.kill(pid, 9)
        except OSError as error: print(error.errno)
"""
    result = run(source, f"{bystander.pid}\n".encode(), cpu_seconds=token)
    assert result.ending in (Ending.EXITED, Ending.SIGNALLED), result
    assert bystander.poll() is None
    assert not survivors()
    assert run("print('still here')").stdout == b"still here\n"


def test_the_owners_files_cannot_be_seen(needs: Callable[..., None], tmp_path: Path) -> None:
    needs(JAIL)
    secret = tmp_path / "secret"
    secret.write_text("expected values")
    tmp_path.chmod(0o777)
    secret.chmod(0o666)
    source = (
        "import os, pathlib\nfor p in input().split():\n print(os.path.exists(p))\nprint(sorted(os.listdir('/tmp')))"
    )
    paths = f"{secret} {ROOT / 'pyproject.toml'} /etc/passwd /proc/1/root{secret}\n"
    assert run(source, paths.encode()).stdout.splitlines() == [b"False"] * 4 + [b"['program.py']"]


def test_the_interpreters_files_cannot_be_changed(needs: Callable[..., None]) -> None:
    needs(JAIL)
    source = """
import os, json
for path in (json.__file__, os.path.dirname(os.__file__) + "/planted.py", "/usr/planted"):
    try: open(path, "a").close()
    except OSError: continue
    print("wrote", path)
"""
    assert run(source).stdout == b""


def test_there_is_no_network(needs: Callable[..., None]) -> None:
    needs(NAMESPACES, USER_NAMESPACE)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        source = "import socket\ntry: socket.create_connection(('127.0.0.1', int(input())), 1)\nexcept OSError as e: print('no')"
        assert run(source, f"{server.getsockname()[1]}\n".encode()).stdout == b"no\n"


def test_other_processes_cannot_be_seen(needs: Callable[..., None]) -> None:
    needs(JAIL)
    source = "import os\nprint(len([n for n in os.listdir('/proc') if n.isdigit()]))"
    assert int(run(source).stdout) <= 2


def test_files_are_bounded() -> None:
    source = "f = open('big', 'wb')\ntry:\n while True: f.write(b'x' * (1 << 20)); f.flush()\nexcept OSError: print(f.tell() >> 20)"
    assert run(source, cpu_seconds=5.0).stdout == b"16\n"


def test_directories_nested_without_end_are_removed(scratch_directories: Callable[[], list[str]]) -> None:
    source = "import os\nfor i in range(3000):\n os.mkdir('d'); os.chdir('d')\nos.chmod('.', 0)\nprint('deep')"
    assert run(source).stdout == b"deep\n"
    assert scratch_directories() == []


def test_the_run_dies_with_its_owner(
    layers: set[str], token: float, survivors: Callable[[], list[str]], tmp_path: Path
) -> None:
    source = DAEMON.format(then="print('up', flush=True)", end="while True: time.sleep(1)")
    script = f"""
import asyncio, os, signal, sys
from sandbox.execute import Program, execute
from sandbox.results import Limits
async def main():
    task = asyncio.create_task(execute(Program({source!r}), Limits(cpu_seconds={token!r}, wall_seconds=60)))
    await asyncio.sleep(0.7)
    assert not task.done(), task
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    owner = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert owner.returncode == -signal.SIGKILL, owner.stderr.decode()
    assert not survivors()
    if JAIL in layers:
        assert list(tmp_path.iterdir()) == []
