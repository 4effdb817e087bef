"""A scorer whose `score` is a coroutine function, as its callers meet it: side by side, cancelled, blocked, killed."""

import asyncio
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.server.errors import StartError
from services.server.pool import WorkerPool
from services.server.scorer_host import host_scorer


@pytest.fixture(scope="module")
def waiter(start_service):
    """One worker, eight items at once, four in a chunk."""
    return start_service("services.scorer", "--scorer", "waiter:Waiter", "--workers", "1")


@pytest.fixture
def stub(waiter):
    with grpc.insecure_channel(waiter.address) as channel:
        yield scoring_pb2_grpc.ScorerStub(channel)


def batch(*responses, timeout_ms=0, name=""):
    """Ids are unique in the worker, too."""
    name = name or f"{time.monotonic_ns()}-{threading.get_ident()}"
    items = [
        scoring_pb2.ScoreItem(id=f"{name}-{place}", response=response, timeout_ms=timeout_ms)
        for place, response in enumerate(responses)
    ]
    return scoring_pb2.ScoreBatchRequest(items=items)


def ask(stub, *responses, **options):
    """A call that goes on by itself."""
    return stub.ScoreBatch.future(batch(*responses, **options), timeout=60)


def values(response, component="beside"):
    return [
        result.verdict.components[f"waiter/{component}"]
        if result.WhichOneof("outcome") == "verdict"
        else scoring_pb2.ItemError.Reason.Name(result.error.reason)
        for result in response.results
    ]


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def words(file):
    return file.read_text().split() if file.exists() else []


def pid(stub):
    return values(stub.ScoreBatch(batch(""), timeout=30), "pid")[0]


def test_single_items_are_under_way_side_by_side_up_to_the_bound(stub):
    calls = [ask(stub, "meet", name=f"meet{number}") for number in range(8)]
    assert [values(call.result()) for call in calls] == [[8.0]] * 8
    calls = [ask(stub, "sleep 0.05", name=f"sleep{number}") for number in range(40)]
    assert max(values(call.result())[0] for call in calls) == 8.0


def test_chunks_count_for_their_items(stub):
    beside = values(stub.ScoreBatch(batch(*["sleep 0.03"] * 21), timeout=30))
    assert max(beside) == 8.0
    assert len(beside) == 21


def test_a_stream_overtakes_a_slow_chunk(stub):
    chunks = [batch("sleep 1.0", name="slow"), batch("sleep 0.1", name="quick"), batch("", name="at once")]
    ended = [answer.results[0].id for answer in stub.ScoreStream(iter(chunks), timeout=30)]
    assert ended == ["at once-0", "quick-0", "slow-0"]


@pytest.mark.parametrize("way", ["the caller leaves", "its time is up", "the call's time is up"])
def test_cancelling_reaches_the_scorer_and_costs_no_process(stub, tmp_path, way):
    before, notes = pid(stub), tmp_path / "notes"
    beside = ask(stub, "sleep 1.5")
    if way == "the caller leaves":
        call = ask(stub, f"told {notes}")
        wait_for(lambda: words(notes))
        call.cancel()
    elif way == "its time is up":
        assert values(ask(stub, f"told {notes}", timeout_ms=300).result()) == ["DEADLINE"]
    else:
        assert values(stub.ScoreBatch(batch(f"told {notes}"), timeout=0.6)) == ["DEADLINE"]
    wait_for(lambda: words(notes) == ["began", "cancelled"])
    assert values(beside.result(), "pid") == [before] == [pid(stub)]


def test_a_scorer_can_give_its_call_more_time_and_that_is_all_it_has(stub):
    within, beyond = ask(stub, "more 2.0,1.0", timeout_ms=300), ask(stub, "more 0.4,600", timeout_ms=300, name="beyond")
    start = time.monotonic()
    assert values(beyond.result()) == ["DEADLINE"]
    assert time.monotonic() - start > 0.6
    assert values(within.result())[0] >= 1.0
    assert values(ask(stub, "sleep 1.0", timeout_ms=300).result()) == ["DEADLINE"], "it was for one call"


@pytest.mark.parametrize("guilty", ["block", "stubborn"])
def test_what_will_not_be_cancelled_is_killed_and_costs_others_a_retry_alone(stub, tmp_path, guilty):
    before = pid(stub)
    patient = [tmp_path / f"patient{number}" for number in range(3)]
    calls = [ask(stub, f"patient {file}") for file in patient]
    wait_for(lambda: all(map(words, patient)))
    late = ask(stub, f"{guilty} {tmp_path / 'guilty'}", timeout_ms=300)
    wait_for(lambda: words(tmp_path / "guilty"))
    others = [ask(stub, "sleep 0.1", name=f"other{number}") for number in range(12)]
    assert [values(call.result()) for call in calls] == [[1.0]] * 3, "nothing else ran beside them then"
    assert values(late.result()) == ["DEADLINE"]
    assert all(isinstance(values(other.result())[0], float) for other in others)
    assert [words(file) for file in patient] == [["began"] * 2] * 3
    assert pid(stub) != before


def test_one_that_is_held_up_until_its_time_is_over_is_not_blamed(stub, tmp_path):
    """The blocked loop is noticed because of the item that has the least time; that one waits for nothing itself."""
    blocking = ask(stub, f"block {tmp_path / 'block'}", timeout_ms=2800)
    wait_for(lambda: words(tmp_path / "block"))
    assert values(ask(stub, "sleep 0.1", timeout_ms=400).result()) == [1.0]
    assert values(blocking.result()) == ["DEADLINE"]


def test_a_worker_that_dies_twice_for_others_costs_an_item_no_verdict(stub, tmp_path):
    patient = [tmp_path / f"patient{number}" for number in range(3)]
    calls = [ask(stub, f"patient {file}") for file in patient]
    wait_for(lambda: all(map(words, patient)))
    deadly = [ask(stub, f"exit {tmp_path / f'exit{number}'}") for number in range(2)]
    assert [values(call.result()) for call in calls] == [[1.0]] * 3
    assert [values(call.result()) for call in deadly] == [["WORKER_DIED"]] * 2
    assert [words(file) for file in patient] == [["began"] * 2] * 3


def test_a_chunk_with_a_deadly_item_loses_that_item_alone(stub, tmp_path):
    (beside,) = [ask(stub, f"patient {tmp_path / 'patient'}")]
    wait_for(lambda: words(tmp_path / "patient"))
    response = stub.ScoreBatch(batch("", f"exit {tmp_path / 'exit'}", "sleep 0.01"), timeout=30)
    outcomes = values(response, "pid")
    assert outcomes[1] == "WORKER_DIED"
    assert all(isinstance(outcome, float) for outcome in (outcomes[0], outcomes[2]))
    assert values(beside.result()) == [1.0]


def test_kill_9_under_many_calls_loses_and_doubles_nothing(stub):
    with ThreadPoolExecutor(6) as threads:
        names = [f"killed{number}" for number in range(60)]
        answers = [threads.submit(stub.ScoreBatch, batch(*["sleep 0.02"] * 3, name=n), timeout=60) for n in names]
        for _ in range(3):
            time.sleep(0.3)
            os.kill(int(pid(stub)), signal.SIGKILL)
        for name, answer in zip(names, answers, strict=True):
            assert [result.id for result in answer.result().results] == [f"{name}-{place}" for place in range(3)]
            assert all(isinstance(value, float) for value in values(answer.result()))


def test_a_wrong_count_and_what_is_raised_are_of_their_item(stub):
    before = pid(stub)
    for guilty in ("few", "raise"):
        response = stub.ScoreBatch(batch("", guilty, "sleep 0.01"), timeout=30)
        assert [type(value) for value in values(response)] == [float, str, float]
        assert values(response)[1] == "SCORER_FAILED"
    assert pid(stub) == before


def test_new_calls_go_where_the_least_is_under_way(start_service):
    service = start_service("services.scorer", "--scorer", "waiter:Waiter", "--workers", "2")
    with grpc.insecure_channel(service.address) as channel:
        stub = scoring_pb2_grpc.ScorerStub(channel)
        calls = [ask(stub, "sleep 0.5", name=f"even{number}") for number in range(8)]
        pids = [values(call.result(), "pid")[0] for call in calls]
    assert sorted(map(pids.count, set(pids))) == [4, 4]


def test_calls_that_are_cancelled_before_they_begin_are_answered(monkeypatch):
    """Call and cancelling reach the worker together; one that went unanswered would cost the process."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parent)]))

    def items(name, *responses):
        fields = {"prompt": "", "checks_json": "", "timeout_seconds": 600.0}
        return [{"id": f"{name}{place}", "response": each, **fields} for place, each in enumerate(responses)]

    async def scene():
        pool = WorkerPool("services.server.scorer_host:host_scorer", {"scorer": "waiter:Waiter", "kwargs": {}}, size=1)
        await pool.start()
        pids = pool.pids
        for turn in range(30):
            calls = [asyncio.create_task(pool.call("score", items((turn, n), "sleep 600"), 600)) for n in range(4)]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        assert await pool.call("score", items("all", *[""] * 8), 60, weight=8), "it waits for all the room there is"
        assert pool.pids == pids
        await pool.close()

    asyncio.run(scene())


def test_an_async_scorer_must_say_how_many_items_it_takes_at_once(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(StartError, match="it has no concurrency"):
        host_scorer("waiter:Unbounded", {})
    module = sys.modules.pop("waiter")
    for value in (0, True, 1.5, 5000):
        monkeypatch.setattr(module.Unbounded, "concurrency", value, raising=False)
        sys.modules["waiter"] = module
        with pytest.raises(StartError, match="concurrency must be a whole number, 1 to 4096"):
            host_scorer("waiter:Unbounded", {})
    del sys.modules["waiter"]
