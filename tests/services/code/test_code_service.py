"""The code service as a process, over its port, with a sandbox service behind it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.client.scoring import ScoringClient
from services.verdicts import ErrorReason, Item, ItemError, Outcome, Verdict
from services.wire import item_to_wire


@pytest.fixture(scope="module")
def code_service(start_service: Any, sandbox_address: str) -> Any:
    return start_service("services.code", "--workers", "2", ASSAY_SANDBOX_ADDRESS=sandbox_address)


@pytest.fixture
def score(code_service: Any) -> Callable[[Sequence[Item]], dict[str, Outcome]]:
    def outcomes(items: Sequence[Item]) -> dict[str, Outcome]:
        with ScoringClient("code", code_service.address) as client:
            return client.score(items, timeout_seconds=240)

    return outcomes


def test_it_describes_itself(code_service: Any) -> None:
    with ScoringClient("code", code_service.address) as client:
        description = client.describe()
    names = {component.name for component in description.components}
    assert names == {f"code/{name}" for name in ("tests", "compiles", "format", "style", "efficiency")}
    assert set(description.checks_schema["properties"]) >= {"cases", "calls", "test", "entry_point"}


def test_the_three_kinds_in_one_batch(score: Callable[[Sequence[Item]], dict[str, Outcome]]) -> None:
    stub = "def double(n):\n"
    outcomes = score(
        [
            Item("program", "", "print(2 * int(input()))", {"cases": [{"stdin": "4\n", "stdout": "8\n"}]}),
            Item("calls", stub, "    return 2 * n", {"entry_point": "double", "calls": [{"args": [4], "expected": 8}]}),
            Item("test", stub, "    return n", {"entry_point": "double", "test": "def check(c): assert c(4) == 8"}),
            Item("misfit", stub, "    return n", {"entry_point": "double"}),
        ]
    )
    labels = {name: outcome.label for name, outcome in outcomes.items() if isinstance(outcome, Verdict)}
    assert labels == {"program": "pass", "calls": "pass", "test": "fail"}
    misfit = outcomes["misfit"]
    assert isinstance(misfit, ItemError)
    assert misfit.reason is ErrorReason.INVALID_ITEM
    assert "exactly one of cases, calls, test" in misfit.message


def test_humaneval(score: Callable[[Sequence[Item]], dict[str, Outcome]], data: Path) -> None:
    """Every canonical solution passes, and no body that returns None does."""
    rows = [json.loads(line) for line in (data / "humaneval.jsonl").read_text().splitlines()]
    items = []
    for row in rows:
        checks = {"entry_point": row["entry_point"], "test": row["test"]}
        for kind, body in (("canonical", row["canonical_solution"]), ("none", "    return None\n")):
            items.append(Item(f"{kind} {row['task_id']}", row["prompt"], body, checks))
    outcomes = score(items)
    labels: dict[str, set[str]] = {"canonical": set(), "none": set()}
    for name, outcome in outcomes.items():
        assert isinstance(outcome, Verdict), (name, outcome)
        labels[name.partition(" ")[0]].add(outcome.label)
    assert len(rows) == 82
    assert labels == {"canonical": {"pass"}, "none": {"fail"}}


SLEEPER = Item("sleeper", "", "import time\ntime.sleep(50)", {"cases": [{"stdout": ""}], "cpu_seconds": 20.0})


def busy(sandbox: Any) -> float:
    return sandbox.metrics()["assay_sandbox_slots_busy"]


def test_a_cancelled_batch_kills_its_runs(code_service: Any, sandbox_service: Any) -> None:
    """The caller's time is over, so its sandbox call and the program go."""
    with ScoringClient("code", code_service.address) as client, ThreadPoolExecutor(1) as threads:
        scoring = threads.submit(client.score, [SLEEPER], 4.0)
        wait_until(lambda: busy(sandbox_service) == 1)
        outcome = scoring.result()["sleeper"]
    assert isinstance(outcome, ItemError)
    assert outcome.reason is ErrorReason.DEADLINE
    wait_until(lambda: busy(sandbox_service) == 0)


def test_a_caller_that_leaves_ends_its_runs_and_no_process(code_service: Any, sandbox_service: Any) -> None:
    """Of a program that has a long time left, at once; what runs beside it goes on."""
    workers = {worker.pid for worker in code_service.workers()}
    item = Item("beside", "", "import time\ntime.sleep(3)\nprint(1)", {"cases": [{"stdout": "1"}]})
    with grpc.insecure_channel(code_service.address) as channel, ThreadPoolExecutor(1) as threads:
        stub = scoring_pb2_grpc.ScorerStub(channel)
        with ScoringClient("code", code_service.address) as client:
            beside = threads.submit(client.score, [item], 60.0)
            calls = [
                stub.ScoreBatch.future(scoring_pb2.ScoreBatchRequest(items=[item_to_wire(SLEEPER)])) for _ in range(3)
            ]
            wait_until(lambda: busy(sandbox_service) == 2)
            for call in calls:
                call.cancel()
            outcome = beside.result()["beside"]
    assert isinstance(outcome, Verdict) and outcome.label == "pass"
    wait_until(lambda: busy(sandbox_service) == 0)
    assert {worker.pid for worker in code_service.workers()} == workers


def test_a_sandbox_that_dies_in_mid_run_is_no_verdict(start_service: Any) -> None:
    sandbox = start_service("services.sandbox")
    code = start_service("services.code", "--workers", "1", ASSAY_SANDBOX_ADDRESS=sandbox.address)
    found: dict[str, Outcome] = {}
    honest = Item("honest", "", "print(1)", {"cases": [{"stdout": "1"}]})
    with ScoringClient("code", code.address) as client:
        calling = threading.Thread(target=lambda: found.update(client.score([SLEEPER, honest], 60.0)))
        calling.start()
        wait_until(lambda: busy(sandbox))
        time.sleep(1.0)  # by then the honest one is judged and the other runs in full
        sandbox.process.kill()
        calling.join(60)
    outcome = found["sleeper"]
    assert isinstance(outcome, ItemError)
    assert outcome.reason is ErrorReason.UNAVAILABLE
    assert isinstance(found["honest"], Verdict)


def test_loops_among_honest_items_do_not_hold_them_up(score: Callable[[Sequence[Item]], dict[str, Outcome]]) -> None:
    """More loops than slots, and all of them first: each honest item still has its verdict."""
    checks = {"cases": [{"stdin": f"{n}", "stdout": f"{n}"} for n in range(12)], "cpu_seconds": 0.4}
    loops = [Item(f"loop {n}", "", "while True: pass", checks, timeout_seconds=10.0) for n in range(8)]
    honest = [Item(f"honest {n}", "", "print(input())", checks, timeout_seconds=10.0) for n in range(8)]
    outcomes = score([*loops, *honest])
    labels = {name: outcome.label for name, outcome in outcomes.items() if isinstance(outcome, Verdict)}
    assert labels == {item.id: "timeout_cpu" for item in loops} | {item.id: "pass" for item in honest}


def test_what_people_wrote_is_not_logged(
    code_service: Any, score: Callable[[Sequence[Item]], dict[str, Outcome]]
) -> None:
    marker = f"secret{time.monotonic_ns()}"
    source = f"def f(n): raise ValueError('{marker}')"
    checks = {"entry_point": "f", "test": f"def check(c): assert c('{marker}') == '{marker}'"}
    (outcome,) = score([Item("item", f"# {marker}", source, checks, trace_id="trace-7")]).values()
    assert isinstance(outcome, Verdict)
    assert marker not in code_service.log
    assert any(event.get("trace_id") == "trace-7" for event in code_service.events)


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
