"""The desk against a sandbox service that fails as it is told to: what is tried again, what is lost, who is hurt."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from protos.gen.assay.v1 import sandbox_pb2, sandbox_pb2_grpc
from sandbox.results import Ending, RunResult
from services.addresses import RETRY_AFTER
from services.client.channel import CHANNEL_OPTIONS
from services.code.scorer import CodeScorer
from services.sandbox.wire import outcome_to_wire
from services.verdicts import ErrorReason, Item, ItemError, Outcome, Verdict

Answer = Callable[[list[str], Any], list[RunResult]]
"""Takes the sources of a call's programs, and gRPC's context."""


class Sandbox(sandbox_pb2_grpc.SandboxServicer):
    """Answers each call as `answer` says; `calls` are the sources of each."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.limits: list[tuple[float, int]] = []
        self.answer: Answer = lambda sources, _: [said(source) for source in sources]

    def Execute(self, request: sandbox_pb2.ExecuteRequest, context: Any) -> sandbox_pb2.ExecuteResponse:
        sources = [run.program.source.strip() for run in request.runs]
        self.calls.append(sources)
        self.limits += [(run.limits.cpu_seconds, run.priority) for run in request.runs]
        results = self.answer(sources, context)
        outcomes = [outcome_to_wire(run.id, result) for run, result in zip(request.runs, results, strict=False)]
        return sandbox_pb2.ExecuteResponse(outcomes=outcomes)


def said(text: str) -> RunResult:
    return RunResult(Ending.EXITED, stdout=text.encode(), wall_seconds=0.01)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    servicer = Sandbox()
    server = grpc.server(ThreadPoolExecutor(32), options=CHANNEL_OPTIONS)
    sandbox_pb2_grpc.add_SandboxServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("ASSAY_SANDBOX_ADDRESS", f"127.0.0.1:{port}")
    yield servicer
    server.stop(None).wait()


def item(code: str, cases: int = 1, timeout_seconds: float = 20.0, **checks: Any) -> Item:
    """One that passes where the sandbox says its code."""
    return Item(
        code, "", f"```\n{code}\n```", {"cases": [{"stdout": code}] * cases, **checks}, timeout_seconds=timeout_seconds
    )


def score(*items: Item) -> dict[str, Outcome]:
    return dict(zip((each.id for each in items), asyncio.run(CodeScorer().score(items)), strict=True))


def labels(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {
        name: outcome.label if isinstance(outcome, Verdict) else outcome.reason.value
        for name, outcome in outcomes.items()
    }


def test_what_items_ask_at_the_same_time_goes_in_one_call(sandbox: Sandbox) -> None:
    outcomes = score(item("a", cases=1), item("b", cases=3), item("c", cases=40))
    assert labels(outcomes) == dict.fromkeys("abc", "pass")
    assert sandbox.calls == [["a", "b", "c"], ["b"] * 2 + ["c"] * 16, ["c"] * 16, ["c"] * 7]
    assert set(sandbox.limits) == {(0.025, 5)}


def test_a_call_holds_no_more_runs_than_it_may(sandbox: Sandbox) -> None:
    names = [f"n{number}" for number in range(150)]
    assert set(labels(score(*map(item, names))).values()) == {"pass"}
    assert sorted(map(len, sandbox.calls)) == [22, 64, 64]
    sandbox.calls.clear()
    long = [item("#" * 900_000 + name, timeout_seconds=60) for name in "abcdefgh"]
    score(*long)
    assert sorted(map(len, sandbox.calls)) == [4, 4]


def test_only_what_was_cut_short_is_run_in_full_and_alone(sandbox: Sandbox) -> None:
    cut = RunResult(Ending.CPU_LIMIT, wall_seconds=0.1)

    def answer(sources: list[str], _: object) -> list[RunResult]:
        if len(sources) == 1:
            return [said(sources[0])]
        return [cut if source.startswith("slow") else said(source) for source in sources]

    sandbox.answer = answer
    outcomes = score(item("a"), item("slow1", cpu_seconds=3.0), item("slow2", cpu_seconds=3.0), item("b"))
    assert set(labels(outcomes).values()) == {"pass"}
    assert sorted(sandbox.calls) == [["a", "slow1", "slow2", "b"], ["slow1"], ["slow2"]]
    assert sorted(sandbox.limits) == [(0.025, 5)] * 4 + [(3.0, 4)] * 2


def test_a_limit_that_the_sandbox_may_refuse_is_asked_for_at_once(sandbox: Sandbox) -> None:
    """Else quick answers would pass, and slow ones have no score."""
    assert labels(score(item("a", cpu_seconds=100.0))) == {"a": "pass"}
    assert [seconds for seconds, _ in sandbox.limits] == [100.0]


def test_one_failing_case_ends_it_though_others_were_cut_short(sandbox: Sandbox) -> None:
    sandbox.answer = lambda sources, _: [RunResult(Ending.CPU_LIMIT, wall_seconds=0.1) for _ in sources]
    (outcome,) = score(item("loop", cases=12)).values()
    assert isinstance(outcome, Verdict)
    assert (outcome.label, outcome.evidence["case"]) == ("timeout_cpu", "1 of 12")
    assert len(sandbox.calls) == 2, "once shortly, once in full"


def test_what_the_sandbox_failed_under_is_tried_again_alone_and_never_judged(sandbox: Sandbox) -> None:
    failures = {"once": 1, "always": 99}

    def answer(sources: list[str], _: object) -> list[RunResult]:
        results = []
        for source in sources:
            failures[source] = failures.get(source, 0) - 1
            failed = RunResult(Ending.INFRASTRUCTURE, detail="no room")
            results.append(failed if failures[source] >= 0 else said(source))
        return results

    sandbox.answer = answer
    outcomes = score(item("a"), item("once"), item("always"))
    assert labels(outcomes) == {"a": "pass", "once": "pass", "always": "UNAVAILABLE"}
    lost = outcomes["always"]
    assert isinstance(lost, ItemError) and lost.message == "the sandbox failed under the item: no room"
    assert sandbox.calls.count(["once"]) == 1
    assert sandbox.calls.count(["always"]) == 4
    assert sum("a" in call for call in sandbox.calls) == 1


def test_a_call_that_is_lost_is_tried_again_run_by_run(sandbox: Sandbox) -> None:
    def answer(sources: list[str], context: Any) -> list[RunResult]:
        if len(sources) > 1 or sources == ["guilty"]:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return [said(source) for source in sources]

    sandbox.answer = answer
    outcomes = score(item("a"), item("guilty", timeout_seconds=8), item("b"))
    assert labels(outcomes) == {"a": "pass", "guilty": "UNAVAILABLE", "b": "pass"}
    assert sum("a" in call for call in sandbox.calls) == 2


def test_a_full_sandbox_is_tried_again_after_its_hint(sandbox: Sandbox) -> None:
    times: list[float] = []

    def answer(sources: list[str], context: Any) -> list[RunResult]:
        times.append(time.monotonic())
        if len(times) == 1:
            context.set_trailing_metadata(((RETRY_AFTER, "700"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the sandbox is full")
        return [said(source) for source in sources]

    sandbox.answer = answer
    assert labels(score(item("a"))) == {"a": "pass"}
    assert times[1] - times[0] >= 0.7
    sandbox.answer = lambda _, context: full(context)
    outcome = score(item("a"))["a"]
    assert isinstance(outcome, ItemError)
    assert (outcome.reason, "the sandbox is full" in outcome.message) == (ErrorReason.UNAVAILABLE, True)


def full(context: Any) -> Any:
    context.set_trailing_metadata(((RETRY_AFTER, "50"),))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the sandbox is full")


def test_a_run_that_is_refused_takes_no_other_with_it(sandbox: Sandbox) -> None:
    def answer(sources: list[str], context: Any) -> list[RunResult]:
        if "bad" in sources:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "runs[0].limits.memory_bytes is 1; it must be more")
        return [said(source) for source in sources]

    sandbox.answer = answer
    outcomes = score(item("a"), item("bad"), item("b"))
    assert labels(outcomes) == {"a": "pass", "bad": "INVALID_ITEM", "b": "pass"}
    refused = outcomes["bad"]
    assert isinstance(refused, ItemError)
    assert refused.message.startswith("the sandbox refuses the item's checks: runs[0].limits.memory_bytes")


def test_an_answer_too_few_is_no_answer(sandbox: Sandbox) -> None:
    sandbox.answer = lambda sources, _: [said(source) for source in sources][: 1 if len(sources) > 1 else 9]
    assert labels(score(item("a"), item("b"))) == {"a": "pass", "b": "pass"}


def test_an_item_that_waits_too_long_is_late_and_hurts_nobody(sandbox: Sandbox) -> None:
    release = threading.Event()

    def answer(sources: list[str], _: object) -> list[RunResult]:
        if len(sources) == 1 and sources[0] == "late":
            release.wait(20)
        return [said(s) if s != "late" else RunResult(Ending.CPU_LIMIT, wall_seconds=0.1) for s in sources]

    sandbox.answer = answer
    start = time.monotonic()
    outcomes = score(item("a"), item("late", timeout_seconds=2.0, cpu_seconds=0.3), item("b", cases=9))
    took = time.monotonic() - start
    release.set()
    assert labels(outcomes) == {"a": "pass", "late": "DEADLINE", "b": "pass"}
    assert took < 2.25


def test_endless_loops_take_turns_and_their_time_stands_still_until_then(sandbox: Sandbox) -> None:
    """Twelve full runs of half a second, four at a time: the last begins when the time of its item would be over."""
    full, most = 0, 0
    counting = threading.Lock()

    def answer(sources: list[str], _: object) -> list[RunResult]:
        nonlocal full, most
        if len(sources) > 1:
            return [said(s) if s == "a" else RunResult(Ending.CPU_LIMIT, wall_seconds=0.1) for s in sources]
        with counting:
            full += 1
            most = max(most, full)
        time.sleep(0.5)
        with counting:
            full -= 1
        return [RunResult(Ending.CPU_LIMIT, wall_seconds=0.5)]

    sandbox.answer = answer
    loops = [item(f"loop{n}", timeout_seconds=1.3, cpu_seconds=0.3) for n in range(12)]
    outcomes = score(item("a", timeout_seconds=1.3), *loops)
    assert labels(outcomes) == {"a": "pass"} | {loop.id: "timeout_cpu" for loop in loops}
    assert most == 4


def test_an_item_without_time_for_a_run_has_no_verdict(sandbox: Sandbox) -> None:
    outcome = score(item("a", timeout_seconds=0.01))["a"]
    assert isinstance(outcome, ItemError)
    assert outcome.message.startswith("timeout_seconds: it is too short")
    assert sandbox.calls == []


def test_a_sandbox_that_hangs_does_not_keep_items_for_ever(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each full run holds its turn until its item's time is over; those behind wait no longer than they have patience."""
    monkeypatch.setattr("services.code.desk._PATIENCE", 1.0)
    release = threading.Event()

    def answer(sources: list[str], _: object) -> list[RunResult]:
        if len(sources) == 1:
            release.wait(30)
        return [RunResult(Ending.CPU_LIMIT, wall_seconds=0.1) for _ in sources]

    sandbox.answer = answer
    start = time.monotonic()
    outcomes = score(*[item(f"loop{n}", timeout_seconds=1.3, cpu_seconds=0.3) for n in range(24)])
    took = time.monotonic() - start
    release.set()
    assert set(labels(outcomes).values()) == {"DEADLINE"}
    assert took < 4.5, "24 items, 4 at a time, would be 7.8 s"


def test_an_item_whose_own_runs_take_all_its_time_has_a_verdict(sandbox: Sandbox) -> None:
    slow = RunResult(Ending.EXITED, stdout=b"a", wall_seconds=1.5)
    sandbox.answer = lambda sources, _: [slow for _ in sources]
    (outcome,) = score(item("a", cases=5, timeout_seconds=4.0)).values()
    assert isinstance(outcome, Verdict)
    assert (outcome.label, outcome.evidence["case"]) == ("timeout_wall", "5 of 5")
    assert outcome.evidence["detail"] == "the runs before it took all the time of the item"


def test_without_a_sandbox_there_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SANDBOX_ADDRESS", "127.0.0.1:1")
    outcome = score(item("a", timeout_seconds=5.0))["a"]
    assert isinstance(outcome, ItemError)
    assert outcome.reason is ErrorReason.UNAVAILABLE
    assert "sandbox service at 127.0.0.1:1" in outcome.message
