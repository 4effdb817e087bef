"""The sandbox service as a process, through its client and by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from protos.gen.assay.v1 import sandbox_pb2, sandbox_pb2_grpc
from sandbox.jobs import Call, Calls, Kind, Language, Program, Trial
from sandbox.results import Ending, Limits, Raised, Returned, RunResult, TrialResult
from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.sandbox import Refusal, Run, SandboxClient
from services.sandbox.bounds import Bounds
from services.sandbox.servicer import SandboxServicer
from services.sandbox.shadow import Shadow
from services.sandbox.slots import Slots

ROOT = Path(__file__).resolve().parents[3]
SMALL = Limits(output_bytes=1000)


@pytest.fixture(scope="module")
def service(start_service: Any) -> Any:
    return start_service("services.sandbox", "--workers", "2", "--max-cpu-seconds", "20")


@pytest.fixture
def client(service: Any) -> Iterator[SandboxClient]:
    with SandboxClient(service.address) as client:
        yield client


@pytest.fixture
def stub(service: Any) -> Iterator[Any]:
    with grpc.insecure_channel(service.address) as channel:
        yield sandbox_pb2_grpc.SandboxStub(channel)


def program(source: str, stdin: bytes = b"", **more: Any) -> Run:
    return Run(Program(source, stdin), **more)


def test_runs_of_every_job_come_back_in_order(client: SandboxClient) -> None:
    runs = [program(f"print({i}, input())", f"in {i}\n".encode(), limits=SMALL) for i in range(5)]
    runs += [program("1 / 0"), program("(")]
    runs.append(Run(Calls("def f(x): return x + 'é'", (Call("f", '["a"]'), Call("g"), Call("f", "[1]")))))
    runs.append(Run(Trial("def f(n): return n", "def check(f):\n assert f(1) == 1\n assert f(2) == 3", ("f",))))
    *programs, calls, trial = client.execute(runs, 60)
    assert all(isinstance(result, RunResult) for result in programs)
    assert [result.stdout for result in programs[:5]] == [f"{i} in {i}\n".encode() for i in range(5)]  # type: ignore[union-attr]
    assert [result.ending for result in programs] == [Ending.EXITED] * 5 + [Ending.RAISED, Ending.SYNTAX_ERROR]  # type: ignore[union-attr]
    raised = programs[5]
    assert isinstance(raised, RunResult) and raised.detail == "ZeroDivisionError: division by zero"
    assert (
        (raised.exit_code, raised.kind) == (1, Kind.PLAIN) and raised.cpu_seconds > 0 and raised.peak_memory_bytes > 0
    )
    assert isinstance(calls, RunResult) and calls.outcomes[0] == Returned('"a\\u00e9"')
    assert calls.outcomes[1] == Raised("NotDefinedError", "the source does not define 'g'")
    assert isinstance(calls.outcomes[2], Raised) and calls.outcomes[2].type == "TypeError"
    assert isinstance(trial, TrialResult) and trial.raised == Raised("AssertionError", "")
    assert (trial.calls, trial.executed, trial.expected, trial.failed_test) == (2, 1, 2, "check")
    assert not trial.finished and trial.checker.kind == Kind.CHECKER


def test_endings_kinds_and_languages_cross_the_wire(client: SandboxClient) -> None:
    limits = Limits(cpu_seconds=0.3, wall_seconds=30, output_bytes=100_000)
    expected = {
        program("raise SystemExit(3)", limits=limits): Ending.RAISED,
        program("import os; os.kill(os.getpid(), 15)", limits=limits): Ending.SIGNALLED,
        program("while True: pass", limits=limits): Ending.CPU_LIMIT,
        program("import time; time.sleep(9)", limits=Limits(wall_seconds=0.3)): Ending.WALL_LIMIT,
        program("x = [0] * 10**10", limits=limits): Ending.MEMORY_LIMIT,
        program("print('x' * 10**6)", limits=limits): Ending.OUTPUT_LIMIT,
        program("import os; os.write(63, b'x' * 40)", limits=limits): Ending.TAMPERED,
        program("open('x', 'w')", kind=Kind.PLAIN): Ending.UNSUPPORTED,
        program("open('x', 'w')", kind=Kind.FILES): Ending.EXITED,
        program("open('x', 'w')"): Ending.EXITED,
        Run(Program("exit 4", language=Language.BASH), kind=Kind.SUBPROCESS): Ending.RAISED,
        program("raise ValueError('\\ud800')"): Ending.RAISED,
    }
    results = client.execute(list(expected), 60)
    assert [result.ending for result in results] == list(expected.values())  # type: ignore[union-attr]
    assert results[-1].detail == "ValueError: ?"  # type: ignore[union-attr]


def test_a_stream_answers_as_runs_end_and_refuses_one_by_one(client: SandboxClient) -> None:
    sent = threading.Event()

    def runs() -> Iterator[tuple[str, Run]]:
        yield "slow", program("import time\ntime.sleep(1.5)\nprint(1)")
        yield "wrong", program("", limits=Limits(cpu_seconds=99))
        yield "quick", program("print(2)")
        sent.wait(30)
        yield "late", program("print(3)")

    answers: dict[str, Any] = {}
    for name, result in client.stream(runs(), 60):
        answers[name] = result
        if len(answers) == 2:
            assert "slow" not in answers
            sent.set()
    assert list(answers) == sorted(answers, key=["wrong", "quick", "late", "slow"].index)
    assert answers["wrong"] == Refusal(
        "run.limits.cpu_seconds is 99; it must be more than 0 to 20, or 0 for the default", False
    )
    assert [answers[name].stdout for name in ("slow", "quick", "late")] == [b"1\n", b"2\n", b"3\n"]


def test_a_long_stream_loses_nothing(client: SandboxClient) -> None:
    runs = ((str(n), program(f"print({n})", limits=SMALL)) for n in range(300))
    answers = dict(client.stream(runs, 120))
    assert {name: result.stdout for name, result in answers.items()} == {str(n): b"%d\n" % n for n in range(300)}  # type: ignore[union-attr]


def test_a_stream_whose_run_breaks_the_service_ends() -> None:
    """Rather than leave its client waiting."""

    class Broken:
        async def run(self, *_: object) -> RunResult:
            raise RuntimeError("broken")

    async def requests() -> AsyncIterator[Any]:
        yield sandbox_pb2.Run(id="a", program={"source": "pass"})

    async def main() -> None:
        broken, slots = Broken(), Slots(1, 1)
        servicer = SandboxServicer(broken, slots, Bounds(), Shadow(broken, slots, 0.0))  # type: ignore[arg-type]
        with pytest.raises(ExceptionGroup):
            async for _ in servicer.ExecuteStream(requests(), None):  # type: ignore[arg-type]
                pass

    asyncio.run(asyncio.wait_for(main(), 30))


def test_closing_a_stream_ends_its_runs(service: Any, client: SandboxClient) -> None:
    endless = ((str(n), program("import time\nprint(1)\ntime.sleep(50)")) for n in range(4))
    stream = client.stream([("first", program("print(1)")), *endless], 120)
    assert next(stream)[0] == "first"
    stream.close()  # type: ignore[attr-defined]
    assert client.execute([program("print(1)")], 30)[0].stdout == b"1\n"  # type: ignore[union-attr]
    wait_until(lambda: service.metrics()["assay_sandbox_slots_busy"] == 0)


def test_a_caller_that_goes_takes_its_runs_along(service: Any, client: SandboxClient) -> None:
    with pytest.raises(ServiceUnavailableError, match="DEADLINE_EXCEEDED"):
        client.execute([program("import time; time.sleep(50)")] * 4, 1.0)
    execution = client.start([program("while True: pass", limits=Limits(20.0, 100.0))] * 4, 60)
    wait_until(lambda: service.metrics()["assay_sandbox_slots_busy"] == 2)
    execution.cancel()
    wait_until(lambda: service.metrics()["assay_sandbox_slots_busy"] == 0)
    assert client.execute([program("print(1)")], 30)[0].stdout == b"1\n"  # type: ignore[union-attr]


def test_waiting_for_a_slot_is_not_the_programs_time(client: SandboxClient) -> None:
    """Eight sleepers on two slots: each has 1.5 s on the wall, the last waits for longer than that."""
    runs = [program("import time; time.sleep(0.6)", limits=Limits(wall_seconds=1.5, output_bytes=1000))] * 8
    assert [result.ending for result in client.execute(runs, 60)] == [Ending.EXITED] * 8  # type: ignore[union-attr]


def test_callers_take_turns_and_priorities_go_first(service: Any, client: SandboxClient) -> None:
    """The order in which runs begin is that of the log."""

    def named(name: str, caller: str, priority: int = 0) -> Run:
        return program("import time; time.sleep(.1)", limits=SMALL, caller=caller, priority=priority, trace_id=name)

    with ThreadPoolExecutor(3) as threads:
        flood = threads.submit(client.execute, [named(f"flood{n}", "greedy") for n in range(30)], 60)
        wait_until(lambda: service.metrics()["assay_sandbox_waiting"] >= 20)
        modest = threads.submit(client.execute, [named("modest", "modest")], 60)
        urgent = threads.submit(client.execute, [named("urgent", "greedy", 9)], 60)
        for future in (flood, modest, urgent):
            future.result()
    order = [event["trace_id"] for event in service.events if event.get("event") == "run ended" and event["trace_id"]]
    assert order.index("modest") < order.index("flood25")
    assert order.index("urgent") < order.index("flood25")


def test_a_full_service_refuses_with_a_hint(start_service: Any) -> None:
    service = start_service("services.sandbox", "--workers", "1", "--queue-limit", "1")
    with SandboxClient(service.address) as client, ThreadPoolExecutor(2) as threads:
        sleeper = [program("import time; time.sleep(2)")]
        running = [threads.submit(client.execute, sleeper, 30) for _ in range(2)]
        wait_until(lambda: service.metrics()["assay_sandbox_waiting"] == 1)
        with pytest.raises(ServiceUnavailableError) as caught:
            client.execute([program("pass")], 30)
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.retry_after_seconds and 0 < caught.value.retry_after_seconds < 60
        assert list(client.stream([("a", program("pass"))], 30)) == [("a", Refusal("the sandbox is full", True))]
        assert [future.result()[0].ending for future in running] == [Ending.EXITED] * 2  # type: ignore[union-attr]
        assert len(client.execute([program("pass", limits=SMALL)] * 40, 60)) == 40  # an idle one takes in any batch


def test_each_run_is_logged_and_counted_without_what_it_said(service: Any, client: SandboxClient) -> None:
    marker = f"secret{time.monotonic_ns()}"
    failing = program(f"print('{marker}')\nraise ValueError('{marker}')", marker.encode(), trace_id="trace-9")
    trial = Run(
        Trial(f"def f(): raise KeyError('{marker}')", f"def check(f): f() # {marker}", ("f",)), trace_id="trace-8"
    )
    counter = 'assay_sandbox_runs_total{ending="RAISED",job="program",kind="plain"}'
    before = service.metrics().get(counter, 0.0)
    client.execute([failing, trial], 30)
    (event,) = [event for event in service.events if event.get("trace_id") == "trace-9"]
    assert event["event"] == "run ended" and event["cpu_limit"] == Limits().cpu_seconds
    assert event["processes"]["program"]["ending"] == "RAISED" and event["processes"]["program"]["cpu_seconds"] > 0
    assert len(event["source_sha256"]) == 64 and "system-call filter" in event["layers"]
    (event,) = [event for event in service.events if event.get("trace_id") == "trace-8"]
    assert set(event["processes"]) == {"candidate", "checker"} and event["calls"] == 1 and event["finished"] is False
    assert marker not in service.log
    assert service.metrics()[counter] == before + 1


def test_tampering_is_counted_by_what_gave_it_away(service: Any, client: SandboxClient) -> None:
    names = {how: f'assay_sandbox_tampered_total{{how="{how}"}}' for how in ("system call", "protocol")}
    before = {how: service.metrics().get(name, 0.0) for how, name in names.items()}
    attack = "import ctypes\nctypes.CDLL(None).unshare(0)"
    client.execute([program(attack), program(attack), program("import os; os.write(63, b'x' * 40)")], 30)
    after = {how: service.metrics()[name] - before[how] for how, name in names.items()}
    assert after == {"system call": 2, "protocol": 1}


def test_fork_servers_killed_under_load_change_no_answer(service: Any, client: SandboxClient) -> None:
    with ThreadPoolExecutor(1) as threads:
        batch = [program("import time\ntime.sleep(.02)\nprint(input())", b"%d\n" % n, limits=SMALL) for n in range(60)]
        future = threads.submit(client.execute, batch, 60)
        for _ in range(3):
            time.sleep(0.2)
            for child in psutil.Process(service.pid).children():
                if '"kind": "plain"' in " ".join(child.cmdline()):
                    os.kill(child.pid, signal.SIGKILL)
        results = future.result()
    told = [result.stdout for result in results if result.ending is not Ending.INFRASTRUCTURE]  # type: ignore[union-attr]
    right = [b"%d\n" % n for n, result in enumerate(results) if result.ending is not Ending.INFRASTRUCTURE]  # type: ignore[union-attr]
    assert told == right and len(told) >= 50
    assert service.metrics()["assay_sandbox_server_restarts"] >= 1
    assert client.execute([program("print(1)")], 30)[0].stdout == b"1\n"  # type: ignore[union-attr]


NOT_HOLDING = """
import sandbox.pool, sandbox.server, sys
from sandbox.inside.confine import FILTER
here = sandbox.server.Setup.here
sandbox.server.Setup.here = classmethod(lambda cls: cls((FILTER,), packages=here().packages))
import runpy
sys.argv = ["services.sandbox", *sys.argv[1:]]
runpy.run_module("services.sandbox", run_name="__main__")
"""


def test_a_sandbox_that_does_not_hold_does_not_become_ready(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    arguments = ["--port", "0", "--metrics-port", "0", "--ready-file", str(ready)]
    done = subprocess.run(
        [sys.executable, "-c", NOT_HOLDING, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert done.returncode != 0 and not ready.exists()
    assert "the sandbox does not hold here" in done.stderr and "system-call filter" in done.stderr


def test_it_ends_on_request_and_leaves_nothing(start_service: Any, wait_until_gone: Any) -> None:
    service = start_service("services.sandbox", "--grace", "0.2")
    with SandboxClient(service.address) as client:
        endless = ThreadPoolExecutor(1).submit(client.execute, [program("while True: pass")], 30)
        wait_until(lambda: service.metrics()["assay_sandbox_slots_busy"] == 1)
        processes = psutil.Process(service.process.pid).children(recursive=True)
        assert service.end() == 0
        with pytest.raises(ServiceError):
            endless.result()
    wait_until_gone(processes)


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
