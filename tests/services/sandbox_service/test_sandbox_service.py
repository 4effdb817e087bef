"""The sandbox service as a process, through its client and by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest

from protos.gen.assay.v1 import sandbox_pb2, sandbox_pb2_grpc
from sandbox.results import Ending, Limits, Raised, Returned, SessionEndedError
from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.sandbox import Program, SandboxClient


@pytest.fixture(scope="module")
def service(start_service: Any) -> Any:
    return start_service("services.sandbox", "--workers", "2", "--max-cpu-seconds", "20", "--max-sessions", "8")


@pytest.fixture
def client(service: Any) -> Iterator[SandboxClient]:
    with SandboxClient(service.address) as client:
        yield client


@pytest.fixture
def stub(service: Any) -> Iterator[Any]:
    with grpc.insecure_channel(service.address) as channel:
        yield sandbox_pb2_grpc.SandboxStub(channel)


def test_programs_come_back_in_order(client: SandboxClient) -> None:
    programs = [Program(f"print({i}, input())", f"in {i}\n".encode()) for i in range(5)]
    results = client.execute([*programs, Program("1 / 0"), Program("(")], 30)
    assert [result.stdout for result in results[:5]] == [f"{i} in {i}\n".encode() for i in range(5)]
    assert [result.ending for result in results] == [Ending.EXITED] * 5 + [Ending.RAISED, Ending.SYNTAX_ERROR]
    assert results[5].detail == "ZeroDivisionError: division by zero"
    assert results[5].exit_code == 1
    assert results[0].cpu_seconds > 0 and results[0].peak_memory_bytes > 0


def test_endings_of_every_kind_cross_the_wire(client: SandboxClient) -> None:
    sources = {
        "raise SystemExit(3)": Ending.RAISED,
        "import os; os.kill(os.getpid(), 15)": Ending.SIGNALLED,
        "while True: pass": Ending.CPU_LIMIT,
        "import time; time.sleep(9)": Ending.WALL_LIMIT,
        "x = [0] * 10**10": Ending.MEMORY_LIMIT,
        "print('x' * 10**6)": Ending.OUTPUT_LIMIT,
        "import os; os.write(63, b'x' * 40)": Ending.TAMPERED,
    }
    limits = Limits(cpu_seconds=0.3, wall_seconds=1.5, output_bytes=100_000)
    results = client.execute([Program(source, limits=limits) for source in sources], 60)
    assert [result.ending for result in results] == list(sources.values())


def test_a_session_with_callbacks(client: SandboxClient) -> None:
    asked = []

    def answer(args: str, kwargs: str) -> Returned | Raised:
        asked.append((args, kwargs))
        return Returned("[1]") if len(asked) == 1 else Raised("KeyError", "no \ud800 more")

    source = (
        "def f(x):\n    first = ask(x, by=2)\n    try: ask()\n    except KeyError as error: return first, str(error)"
    )
    with client.session(source, Limits(), 30, callbacks={"ask": answer}) as session:
        assert session.call("f", '["é"]') == Returned('{"$tuple":[[1],"\'no ? more\'"]}')
        assert session.call("g", "[]") == Raised("NotDefinedError", "the source does not define 'g'")
        assert session.close().ending is Ending.EXITED
    assert asked == [('["\\u00e9"]', '{"by":2}'), ("[]", "{}")]


def test_a_session_that_ends_says_how(client: SandboxClient) -> None:
    with pytest.raises(SessionEndedError) as caught, client.session("1 / 0", Limits(), 30):
        pass
    assert caught.value.result.detail == "ZeroDivisionError: division by zero"
    exits = client.session("import os\ndef f(): os._exit(4)", Limits(), 30)
    with exits as session, pytest.raises(SessionEndedError) as caught:
        session.call("f", "[]")
    assert (caught.value.result.ending, caught.value.result.exit_code) == (Ending.RAISED, 4)


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (
            {"cpu_seconds": -1.0},
            "programs[0].limits.cpu_seconds is -1; it must be more than 0 to 20, or 0 for the default",
        ),
        ({"cpu_seconds": 20.5}, "programs[0].limits.cpu_seconds is 20.5"),
        ({"wall_seconds": float("nan")}, "programs[0].limits.wall_seconds is nan"),
        ({"wall_seconds": float("inf")}, "programs[0].limits.wall_seconds is inf"),
        ({"memory_bytes": 1000}, "programs[0].limits.memory_bytes is 1000; it must be 6.71089e+07 to"),
        ({"memory_bytes": 1 << 60}, "programs[0].limits.memory_bytes is 1.15292e+18"),
        ({"output_bytes": 1 << 30}, "programs[0].limits.output_bytes is 1.07374e+09"),
    ],
)
def test_impossible_limits_are_refused_by_name(stub: Any, limits: dict[str, float], complaint: str) -> None:
    program = sandbox_pb2.Program(source="pass", limits=sandbox_pb2.Limits(**limits))  # type: ignore[arg-type]
    with pytest.raises(grpc.RpcError) as caught:
        stub.Execute(sandbox_pb2.ExecuteRequest(programs=[program]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert complaint in caught.value.details()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("programs", "complaint"),
    [
        ([], "programs has 0 entries; it must have 1 to 64"),
        ([{"id": "a"}, {"id": "a"}], "programs[1].id comes twice"),
        ([{"id": "x" * 257}], "programs[0].id has 257 characters"),
        ([{"source": "#" * (1 << 21)}], "programs[0].source has 2097152 characters"),
        ([{"id": str(i), "limits": {"output_bytes": 4 << 20}} for i in range(3)], "may write 25165824 bytes in all"),
    ],
)
def test_requests_that_make_no_sense_are_refused(stub: Any, programs: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Execute(sandbox_pb2.ExecuteRequest(programs=[sandbox_pb2.Program(**program) for program in programs]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert complaint in caught.value.details()  # type: ignore[attr-defined]


OPEN = sandbox_pb2.SessionRequest(open=sandbox_pb2.OpenSession(source="def f(): return ask()", callbacks=["ask"]))
CALL = sandbox_pb2.SessionRequest(call=sandbox_pb2.CallFunction(function="f", args="[]"))


@pytest.mark.parametrize(
    ("requests", "complaint"),
    [
        ([], "the first message of a session must be open"),
        ([CALL], "the first message of a session must be open"),
        ([OPEN, OPEN], "a message between calls must be call"),
        ([OPEN, CALL, CALL], "the message after a callback must be callback_outcome"),
        ([OPEN, CALL, sandbox_pb2.SessionRequest(callback_outcome=sandbox_pb2.CallOutcome())], "outcome is empty"),
        (
            [OPEN, sandbox_pb2.SessionRequest(call=sandbox_pb2.CallFunction(timeout_seconds=-1))],
            "timeout_seconds is -1",
        ),
        (
            [OPEN, sandbox_pb2.SessionRequest(call=sandbox_pb2.CallFunction(args="x" * (5 << 20)))],
            "have 5242880 characters",
        ),
        ([sandbox_pb2.SessionRequest(open=sandbox_pb2.OpenSession(callbacks=["a b"]))], "callbacks[0] is no Python"),
        ([sandbox_pb2.SessionRequest(open=sandbox_pb2.OpenSession(callbacks=["a", "a"]))], "callbacks[1] comes twice"),
    ],
)
def test_sessions_that_break_the_rules_are_ended(stub: Any, requests: list[Any], complaint: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Session(iter(requests), timeout=30))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert complaint in caught.value.details()  # type: ignore[attr-defined]


def test_a_caller_that_goes_takes_its_runs_along(service: Any, client: SandboxClient) -> None:
    with pytest.raises(ServiceUnavailableError, match="DEADLINE_EXCEEDED"):
        client.execute([Program("import time; time.sleep(50)")] * 4, 1.0)
    with (
        pytest.raises(ServiceUnavailableError),
        client.session("import time\ndef f(): time.sleep(50)", Limits(), 1.0) as s,
    ):
        s.call("f", "[]")
    wait_until(lambda: not psutil.Process(service.process.pid).children())
    assert client.execute([Program("print(1)")], 30)[0].stdout == b"1\n"


def test_waiting_for_a_slot_is_not_the_programs_time(client: SandboxClient) -> None:
    """Eight sleepers on two slots: each has 1.5 s on the wall, the last waits for longer than that."""
    programs = [Program("import time; time.sleep(0.6)", limits=Limits(wall_seconds=1.5, output_bytes=1000))] * 8
    results = client.execute(programs, 60)
    assert [result.ending for result in results] == [Ending.EXITED] * 8


def test_pairs_of_sessions_do_not_wait_for_each_other(client: SandboxClient) -> None:
    """Four candidates each hold a session open while their checkers open another, on two slots."""
    ready = threading.Barrier(4)

    def pair(_: int) -> Returned | Raised:
        with client.session("def f(x): return x + 1", Limits(), 30) as candidate:
            ready.wait(30)
            callbacks = {"ask": lambda args, _: candidate.call("f", args)}
            with client.session("def g(): return ask(1) + ask(2)", Limits(), 30, callbacks=callbacks) as checker:
                return checker.call("g", "[]")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pair, range(4))) == [Returned("5")] * 4


def test_a_full_service_refuses_with_a_hint(start_service: Any) -> None:
    service = start_service("services.sandbox", "--workers", "1", "--queue-limit", "1", "--max-sessions", "1")
    with SandboxClient(service.address) as client, ThreadPoolExecutor(2) as threads:
        sleeper = [Program("import time; time.sleep(1)")]
        running = [threads.submit(client.execute, sleeper, 30) for _ in range(2)]
        wait_until(lambda: psutil.Process(service.process.pid).children())
        with pytest.raises(ServiceUnavailableError) as caught:
            wait_until(lambda: client.execute([Program("pass")], 30) and None)
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.retry_after_seconds and 0 < caught.value.retry_after_seconds < 60
        assert [future.result()[0].ending for future in running] == [Ending.EXITED] * 2
        with client.session("", Limits(), 30), pytest.raises(ServiceUnavailableError, match="full"):
            client.session("", Limits(), 30).__enter__()


def test_each_run_is_logged_and_counted_without_what_it_said(service: Any, client: SandboxClient) -> None:
    marker = f"secret{time.monotonic_ns()}"
    program = Program(f"print('{marker}')\nraise ValueError('{marker}')", marker.encode(), trace_id="trace-9")
    before = service.metrics().get('assay_sandbox_runs_total{ending="RAISED",kind="program"}', 0.0)
    client.execute([program], 30)
    (event,) = [event for event in service.events if event.get("trace_id") == "trace-9"]
    assert event["event"] == "run ended"
    assert event["ending"] == "RAISED"
    assert event["cpu_seconds"] > 0
    assert event["cpu_limit"] == Limits().cpu_seconds
    assert marker not in service.log
    assert service.metrics()['assay_sandbox_runs_total{ending="RAISED",kind="program"}'] == before + 1


def test_it_ends_on_request_and_leaves_nothing(start_service: Any, wait_until_gone: Any) -> None:
    service = start_service("services.sandbox", "--grace", "0.2")
    with SandboxClient(service.address) as client:
        endless = ThreadPoolExecutor(1).submit(client.execute, [Program("while True: pass")], 30)
        wait_until(lambda: psutil.Process(service.process.pid).children(recursive=True))
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
