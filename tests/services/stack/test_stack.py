"""The stack with a real Redis, real workers and real processes. The services are tiny ones (`tiny_service.py`)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.queue.connection import connect
from services.queue.embedded_redis import EmbeddedRedis
from services.stack import ServiceSpec, Stack, StackError, default_services, running_stack, scorer_spec

ROOT = Path(__file__).parents[3]
TINY = str(Path(__file__).parent / "tiny_service.py")


def tiny(name: str, *flags: str, needs: tuple[str, ...] = (), grace_seconds: float = 5.0) -> ServiceSpec:
    return ServiceSpec(name, (sys.executable, TINY, *flags), needs=needs, grace_seconds=grace_seconds)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Where a test's stack lives; afterwards no process may be left that was started for it."""
    yield {"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs"}
    wait_until(lambda: not processes(tmp_path))


def test_a_whole_stack_serves_and_leaves_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    events: list[tuple[str, str]] = []
    services = [tiny("code", needs=("sandbox", "redis")), tiny("sandbox")]
    with Stack(services, **folders, on_event=lambda *event: events.append(event)) as stack:
        assert set(stack.addresses) == {"redis", "code", "sandbox"}
        with connect(stack.redis_url) as redis:
            assert redis.ping()
        told = greeting(stack.addresses["code"])
        assert told["ASSAY_SANDBOX_ADDRESS"] == stack.addresses["sandbox"]
        assert told["REDIS_URL"] == stack.redis_url
        assert (told["OMP_NUM_THREADS"], told["ASSAY_EXIT_WITH_PARENT"]) == ("1", "1")
        assert told["ASSAY_RUNS_DIR"] == str(tmp_path / "runs")
        file = folders["state_dir"] / "stack.json"
        assert file.stat().st_mode & 0o777 == 0o600
        running = running_stack(folders["state_dir"])
        assert running is not None
        assert (running.pid, running.addresses) == (os.getpid(), dict(stack.addresses))
        assert set(running.pids) == {"redis", "code", "sandbox", "worker-rollouts", "worker-training"}
        assert "taking tasks" in Path(running.logs["worker-training"]).read_text()
        with pytest.raises(StackError, match=f"supervisor {os.getpid()}"):
            Stack([], (), **folders).start()
        assert running_stack(folders["state_dir"]) is not None, "the refused one changed nothing"
    assert events.index(("sandbox", "serving")) < events.index(("code", "starting"))
    assert events.index(("code", "serving")) < events.index(("worker-training", "starting"))
    assert events.index(("worker-training", "stopped")) < events.index(("code", "stopped"))
    assert events.index(("code", "stopped")) < events.index(("sandbox", "stopped"))
    assert events[-1] == ("redis", "stopped")
    assert not file.exists() and running_stack(folders["state_dir"]) is None
    for path in (tmp_path / "state").rglob("*"):
        password = stack._password
        assert path.is_dir() or password.encode() not in path.read_bytes(), path


def test_a_service_that_dies_comes_back_on_its_port(folders: dict[str, Path], tmp_path: Path) -> None:
    events: list[tuple[str, str]] = []
    notes = tmp_path / "notes"
    with Stack(
        [tiny("math", "--notes", str(notes))], (), **folders, on_event=lambda *event: events.append(event)
    ) as stack:
        before = running_stack(folders["state_dir"])
        assert before is not None
        address = stack.addresses["math"]
        os.kill(before.pids["math"], signal.SIGKILL)
        wait_until(lambda: stack.restarts["math"] == 1 and "math" in stack.addresses)
        assert stack.addresses["math"] == address
        assert greeting(address)
        after = running_stack(folders["state_dir"])
        assert after is not None and after.pids["math"] != before.pids["math"]
        assert after.pids["redis"] == before.pids["redis"]
    started = notes.read_text().splitlines()
    assert started[0] == started[1] and started[2:] == ["down"]
    assert "[stack] math ended with code -9" in (folders["state_dir"] / "logs" / "math.log").read_text()
    assert ("math", "died") in events


def test_a_full_disk_does_not_end_the_supervision(folders: dict[str, Path]) -> None:
    with Stack([tiny("math")], (), **folders) as stack:
        state = folders["state_dir"]
        (state / "stack.json.part").mkdir()
        (state / "logs" / "math.log").unlink()
        (state / "logs" / "math.log").symlink_to("/dev/full")
        for restarts in (1, 2):
            os.kill(json.loads((state / "ready" / "math.json").read_text())["pid"], signal.SIGKILL)
            wait_until(lambda restarts=restarts: stack.restarts["math"] == restarts and "math" in stack.addresses)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_state_directory_that_cannot_be_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match=str(tmp_path / place)):
        Stack([], (), state_dir=tmp_path / place, runs_dir=tmp_path).start()
    assert running_stack(tmp_path / place) is None


def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(folders: dict[str, Path]) -> None:
    services = [tiny("safety"), tiny("math", "--behave", "die", needs=("safety",))]
    with pytest.raises(StackError, match=r"(?s)^math ended with code 3;.*math\.log:\nthe model file is missing$"):
        Stack(services, (), **folders).start()
    assert running_stack(folders["state_dir"]) is None


def test_a_service_that_never_serves_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    never = tiny("math", "--behave", "never")
    with (
        EmbeddedRedis(tmp_path / "elsewhere") as redis,
        pytest.raises(StackError, match=r"^math did not serve within 0\.5 seconds"),
    ):
        Stack([never], (), **folders, redis_url=redis.url, start_seconds=0.5).start()


def test_a_command_that_does_not_exist_is_named(folders: dict[str, Path]) -> None:
    with pytest.raises(StackError, match="math could not be started: No such file or directory: /no/such/program"):
        Stack([ServiceSpec("math", ("/no/such/program",))], (), **folders).start()


def test_the_stubborn_are_killed_and_strays_found(folders: dict[str, Path]) -> None:
    services = [tiny("math", "--behave", "stubborn", grace_seconds=0.3), tiny("safety", "--behave", "stray")]
    with Stack(services, (), **folders) as stack:
        running = running_stack(folders["state_dir"])
        assert running is not None
        (stray,) = children(running.pids["safety"])
    assert not alive(stray)
    assert stack.addresses == {}


def test_ctrl_c_while_it_starts_leaves_nothing(folders: dict[str, Path]) -> None:
    def interrupt(name: str, event: str) -> None:
        if (name, event) == ("math", "serving"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stack([tiny("math"), tiny("slow", "--behave", "never")], (), **folders, on_event=interrupt).start()


def test_a_killed_supervisor_leaves_nothing_and_its_file_is_not_believed(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    script = f"""
        import sys, time
        from pathlib import Path
        from services.stack import ServiceSpec, Stack
        tiny = ServiceSpec("math", (sys.executable, {TINY!r}))
        Stack([tiny], state_dir=Path({str(folders["state_dir"])!r}), runs_dir=Path({str(folders["runs_dir"])!r})).start()
        print("up", flush=True)
        time.sleep(3600)
    """
    supervisor = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, cwd=ROOT)
    assert supervisor.stdout is not None and supervisor.stdout.readline() == b"up\n"
    running = running_stack(folders["state_dir"])
    assert running is not None and running.pid == supervisor.pid
    redis_server = children(running.pids["redis"])
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    assert running_stack(folders["state_dir"]) is None and (folders["state_dir"] / "stack.json").exists()
    with Stack([tiny("math")], (), **folders) as stack:
        healed = running_stack(folders["state_dir"])
        assert healed is not None and healed.pid == os.getpid()
        assert connect(stack.redis_url).ping(), "it waited for the data of the old Redis"
        wait_until(lambda: not any(alive(pid) for pid in (*running.pids.values(), *redis_server)))


def test_a_redis_that_runs_elsewhere_is_used(folders: dict[str, Path], tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "elsewhere") as redis:
        with Stack([tiny("jobs", needs=("redis",))], (), **folders, redis_url=redis.url) as stack:
            assert set(stack.addresses) == {"jobs"}
            assert greeting(stack.addresses["jobs"])["REDIS_URL"] == redis.url
        assert connect(redis.url).ping(), "it is not ours to stop"


def test_a_redis_that_does_not_answer_is_named_without_its_password(folders: dict[str, Path]) -> None:
    with pytest.raises(StackError, match=r"^Redis at redis://127\.0\.0\.1:1/0 does not answer: ConnectionError$"):
        Stack([tiny("jobs")], (), **folders, redis_url="redis://:s3cret@127.0.0.1:1/0").start()


@pytest.mark.parametrize(
    ("services", "says"),
    [
        ([tiny("math"), tiny("math")], "two processes of the stack are called 'math'"),
        ([tiny("redis")], "two processes of the stack are called 'redis'"),
        ([tiny("code", needs=("sandbox",))], "code needs 'sandbox', which is not in the stack"),
    ],
)
def test_impossible_stacks_are_refused(folders: dict[str, Path], services: list[ServiceSpec], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Stack(services, (), **folders)


def test_a_malformed_redis_url_is_named_without_its_password(folders: dict[str, Path]) -> None:
    with pytest.raises(StackError, match=r"^REDIS_URL must begin with redis://"):
        Stack([], (), **folders, redis_url="http://:s3cret@host:1/0")


def test_where_nothing_ever_ran_nothing_runs(tmp_path: Path) -> None:
    assert running_stack(tmp_path / "nothing") is None


def test_the_default_stack_has_every_service_and_a_user_s_scorer_its_own_name() -> None:
    specs = {
        spec.name: spec for spec in (*default_services(), scorer_spec("brevity", "examples.scorers.brevity:Brevity"))
    }
    assert set(specs) == {"math", "code", "safety", "coherence", "sandbox", "rollout", "jobs", "brevity"}
    assert specs["code"].needs == ("sandbox",) and specs["jobs"].needs == ("redis",)
    assert specs["brevity"].command[1:] == ("-m", "services.scorer", "--scorer", "examples.scorers.brevity:Brevity")


def greeting(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        return json.loads(connection.makefile().read())


def wait_until(condition: Any) -> None:
    while not condition():
        time.sleep(0.05)


def processes(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and alive(int(entry.name)) and int(entry.name) != os.getpid():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
