"""A scoring service as its callers meet it: a real process, real sockets, and a scorer that misbehaves on demand."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc

SECRET = "XYZZY-4711"
OPTIONS = [("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20)]


@pytest.fixture(scope="module")
def puppet(start_service):
    """Two workers, four items a chunk."""
    return start_service("services.scorer", "--scorer", "puppet:Puppet", "--workers", "2")


@pytest.fixture
def stub(puppet):
    with grpc.insecure_channel(puppet.address, options=OPTIONS) as channel:
        yield scoring_pb2_grpc.ScorerStub(channel)


def batch(*responses, timeout_ms=0, **fields):
    items = [
        scoring_pb2.ScoreItem(id=f"i{place}", trace_id=f"t{place}", response=response, timeout_ms=timeout_ms, **fields)
        for place, response in enumerate(responses)
    ]
    return scoring_pb2.ScoreBatchRequest(items=items)


def values(response):
    """For each result the value it was told, or the name of the reason."""
    return [
        result.verdict.components["puppet/value"]
        if result.WhichOneof("outcome") == "verdict"
        else scoring_pb2.ItemError.Reason.Name(result.error.reason)
        for result in response.results
    ]


def test_results_come_in_the_order_of_the_items_and_chunks_are_full(stub):
    numbers = [place / 100 for place in range(50)]
    response = stub.ScoreBatch(batch(*(f"value {number}" for number in numbers)), timeout=30)
    assert [result.id for result in response.results] == [f"i{place}" for place in range(50)]
    assert values(response) == numbers
    assert [result.verdict.components["puppet/batch"] for result in response.results] == [4] * 48 + [2] * 2


def test_describe_tells_what_the_scorer_declares(stub):
    description = stub.Describe(scoring_pb2.DescribeRequest(), timeout=5)
    assert (description.name, description.version, description.max_items) == ("puppet", "7", 512)
    assert description.max_message_bytes == 16 * 1024 * 1024
    assert [(one.name, one.low, one.high) for one in description.components] == [
        ("puppet/value", 0.0, 1.0),
        ("puppet/batch", 1.0, 512.0),
    ]
    assert json.loads(description.checks_schema)["additionalProperties"] is False


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (batch(), "items: there are 0; a request holds 1 to 512"),
        (batch(*[""] * 513), "items: there are 513; a request holds 1 to 512"),
        (scoring_pb2.ScoreBatchRequest(items=[{"id": ""}]), "items[0].id has 0 characters"),
        (scoring_pb2.ScoreBatchRequest(items=[{"id": "a"}, {"id": "é" * 257}]), "items[1].id has 257 characters"),
        (scoring_pb2.ScoreBatchRequest(items=[{"id": "a"}, {"id": "a"}]), "items[1].id is 'a', which an earlier item has"),
    ],
)
def test_a_malformed_request_is_refused_by_the_field_at_fault(stub, request_, complaint):
    with pytest.raises(grpc.RpcError) as error:
        stub.ScoreBatch(request_, timeout=5)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details().startswith(complaint)


def test_a_full_batch_passes(stub):
    assert values(stub.ScoreBatch(batch(*["value 0.5"] * 512), timeout=60)) == [0.5] * 512


def test_an_oversize_message_is_refused_and_the_next_one_served(stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.ScoreBatch(batch("x" * (16 << 20)), timeout=30)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert values(stub.ScoreBatch(batch("x" * (15 << 20)), timeout=30)) == [1.0]


def test_bad_checks_and_bad_times_are_errors_of_their_item(stub):
    request = batch("", "", "", "", "")
    request.items[0].checks_json = '{"limit": "' + SECRET + '"}'
    request.items[1].checks_json = "{"
    request.items[2].timeout_ms = 600_001
    request.items[3].checks_json = '{"limit": ' + "9" * 5000 + "}"
    response = stub.ScoreBatch(request, timeout=10)
    assert values(response) == ["INVALID_ITEM"] * 4 + [1.0]
    messages = [result.error.message for result in response.results[:4]]
    assert messages[0].startswith("checks.limit: Input should be a valid integer")
    assert messages[1].startswith("checks_json is not JSON")
    assert messages[2] == "timeout_ms is 600001; it must be at most 600000"
    assert messages[3].startswith("checks_json is not JSON")


@pytest.mark.parametrize(
    ("guilty", "reason"),
    [
        ("segfault", "WORKER_DIED"),
        ("exit", "WORKER_DIED"),
        ("kill", "WORKER_DIED"),
        ("raise", "SCORER_FAILED"),
        ("system_exit", "SCORER_FAILED"),
        ("interrupt", "SCORER_FAILED"),
        ("wrong count", "SCORER_FAILED"),
        ("none", "SCORER_FAILED"),
        ("empty", "SCORER_FAILED"),
        ("undeclared", "SCORER_FAILED"),
        ("label", "SCORER_FAILED"),
        ("evidence", "SCORER_FAILED"),
        ("value float('nan')", "SCORER_FAILED"),
        ("value 2.0", "SCORER_FAILED"),
        ("item_error", "UNAVAILABLE"),
    ],
)
def test_only_the_guilty_item_goes_without_a_verdict(stub, guilty, reason):
    response = stub.ScoreBatch(batch("value 0.1", guilty, "value 0.3", "value 0.4", "value 0.5"), timeout=30)
    assert values(response) == [0.1, reason, 0.3, 0.4, 0.5]


@pytest.mark.parametrize("guilty", ["sleep 600", "spin"])
def test_an_item_that_outstays_its_time_is_late_and_the_others_are_scored(stub, guilty):
    response = stub.ScoreBatch(batch("value 0.1", guilty, "value 0.3", timeout_ms=400), timeout=60)
    assert values(response) == [0.1, "DEADLINE", 0.3]
    assert response.results[1].error.message == "no verdict within 0.4 seconds in a worker"


def test_an_item_that_hangs_holds_its_chunk_up_for_one_items_time_and_not_for_all(stub):
    request = batch("value 0.1", "sleep 600", "value 0.3", "value 0.4", timeout_ms=1500)
    assert values(stub.ScoreBatch(request, timeout=4.5)) == [0.1, "DEADLINE", 0.3, 0.4]


def test_what_a_scorer_prints_disturbs_nothing(stub):
    assert values(stub.ScoreBatch(batch("print", "value 0.5"), timeout=10)) == [1.0, 0.5]


def test_a_worker_killed_from_outside_costs_no_verdict(stub, tmp_path):
    """The item under it is tried once more, alone; only dying twice is an error."""
    assert values(stub.ScoreBatch(batch(f"die-once {tmp_path / 'a'}"), timeout=30)) == [1.0]
    assert values(stub.ScoreBatch(batch("value 0.2", f"die-once {tmp_path / 'b'}"), timeout=30)) == [0.2, 1.0]
    assert values(stub.ScoreBatch(batch("kill"), timeout=30)) == ["WORKER_DIED"]


def test_the_calls_deadline_brings_a_partial_answer(stub):
    """Items that wait or run when the call's time is up are late; those that are done keep their verdicts."""
    response = stub.ScoreBatch(batch("value 0.1", "value 0.2", "value 0.3", "value 0.4", *["sleep 600"] * 12), timeout=3)
    assert values(response) == [0.1, 0.2, 0.3, 0.4] + ["DEADLINE"] * 12


def test_cancelling_the_call_kills_what_runs_for_it(stub, tmp_path, wait_until_gone):
    file = tmp_path / "pids"
    call = stub.ScoreBatch.future(batch(f"pid {file}", timeout_ms=600_000))
    while not file.exists():
        time.sleep(0.02)
    family = [psutil.Process(int(pid)) for pid in file.read_text().split()]
    call.cancel()
    wait_until_gone(family)
    assert values(stub.ScoreBatch(batch("value 0.5"), timeout=30)) == [0.5]


def test_a_stream_answers_every_chunk_and_keeps_on_after_a_bad_one(stub):
    def chunks():
        for number in range(20):
            yield scoring_pb2.ScoreBatchRequest(
                items=[
                    {"id": f"{number}-good", "response": f"value {number / 100}"},
                    {"id": f"{number}-bad", "response": "raise" if number % 5 else "exit"},
                ]
            )

    results = {result.id: result for response in stub.ScoreStream(chunks(), timeout=60) for result in response.results}
    assert len(results) == 40
    assert all(results[f"{number}-good"].verdict.components["puppet/value"] == number / 100 for number in range(20))
    assert all(results[f"{number}-bad"].WhichOneof("outcome") == "error" for number in range(20))


def test_a_malformed_chunk_ends_the_stream_after_the_chunks_before_it(stub):
    stream = stub.ScoreStream(iter([batch("sleep 0.3", "value 0.5"), batch(), batch("value 0.7")]), timeout=30)
    assert values(next(stream)) == [1.0, 0.5]
    with pytest.raises(grpc.RpcError) as error:
        next(stream)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_chunk_that_is_no_message_ends_the_stream_after_the_chunks_before_it(puppet):
    with grpc.insecure_channel(puppet.address) as channel:
        chunks = [batch("sleep 0.3", "value 0.5").SerializeToString(), b"\xff no message"]
        stream = channel.stream_stream("/assay.v1.Scorer/ScoreStream")(iter(chunks), timeout=30)
        assert values(scoring_pb2.ScoreBatchResponse.FromString(next(stream))) == [1.0, 0.5]
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_overtakes_a_slow_chunk(stub):
    stream = stub.ScoreStream(iter([batch("sleep 1.5"), batch("value 0.5")]), timeout=30)
    assert [values(response) for response in stream] == [[0.5], [1.0]]


def test_health_and_metrics_answer_while_workers_hold_their_locks(puppet, stub):
    call = stub.ScoreBatch.future(batch(*["spin"] * 8, timeout_ms=2000), timeout=3)
    with grpc.insecure_channel(puppet.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while puppet.metrics()["assay_items_in_flight"] != 8:
            time.sleep(0.02)
        for service in ("", "assay.v1.Scorer"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=2)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert not call.done()
    assert values(call.result()) == ["DEADLINE"] * 8


def test_metrics_count_calls_items_and_restarts(puppet, stub):
    before = puppet.metrics()
    stub.ScoreBatch(batch("value 0.5", "value 0.5", "raise", "exit"), timeout=30)
    with pytest.raises(grpc.RpcError):
        stub.ScoreBatch(batch(), timeout=5)
    refused = 'assay_requests_total{code="INVALID_ARGUMENT",method="ScoreBatch"}'
    while (after := puppet.metrics()).get(refused, 0) == before.get(refused, 0):  # counted after the caller was told
        time.sleep(0.02)

    def grown(name):
        return after.get(name, 0) - before.get(name, 0)

    assert grown('assay_items_total{label="done",outcome="scored"}') == 2
    assert grown('assay_items_total{label="SCORER_FAILED",outcome="error"}') == 1
    assert grown('assay_items_total{label="WORKER_DIED",outcome="error"}') == 1
    assert grown('assay_requests_total{code="OK",method="ScoreBatch"}') == 1
    assert grown(refused) == 1
    assert grown('assay_request_seconds_count{method="ScoreBatch"}') == 2
    assert grown('assay_worker_restarts_total{cause="died"}') >= 1
    assert after["assay_items_in_flight"] == after["assay_queue_length"] == 0


def test_logs_are_json_with_the_items_trace_and_without_its_content(puppet, stub):
    request = batch("value 0.5", "raise", "system_exit")
    for item, trace in zip(request.items, ("trace-a", "", "trace-c"), strict=True):
        item.trace_id, item.prompt = trace, SECRET
    stub.ScoreBatch(request, timeout=30)
    events = {event["trace_id"]: event for event in puppet.events if "trace_id" in event}
    assert events["trace-a"]["event"] == "item scored"
    assert events["trace-a"]["label"] == "done"
    assert events["trace-c"]["reason"] == "SCORER_FAILED"
    assert "i1" in events, "an item without a trace id is traced by its id"
    raised = [event for event in puppet.events if event["event"] == "call raised"]
    assert any("puppet.py" in where for where in raised[-1]["where"])
    assert SECRET not in puppet.log


def test_a_trace_id_of_megabytes_does_not_fill_the_log(stub, puppet):
    request = batch("value 0.5")
    request.items[0].trace_id = "long" * (1 << 20)
    assert values(stub.ScoreBatch(request, timeout=30)) == [0.5]
    (event,) = [event for event in puppet.events if event.get("trace_id", "").startswith("long")]
    assert event["trace_id"] == "long" * 250


def test_two_callers_share_the_workers(stub):
    done = []

    def call(number):
        done.append(values(stub.ScoreBatch(batch(*[f"value {number}"] * 40), timeout=60)) == [number] * 40)

    threads = [threading.Thread(target=call, args=(place / 10,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 8


def test_a_full_service_refuses_with_a_hint_and_a_stream_gets_item_errors(start_service):
    service = start_service("services.scorer", "--scorer", "puppet:Alone", "--workers", "1", "--queue-limit", "2")
    with grpc.insecure_channel(service.address) as channel:
        stub = scoring_pb2_grpc.ScorerStub(channel)
        call = stub.ScoreBatch.future(batch("sleep 600", "value 0.2", timeout_ms=600_000))
        while service.metrics()["assay_items_in_flight"] != 2:
            time.sleep(0.02)
        assert service.metrics()["assay_queue_length"] == 1
        with pytest.raises(grpc.RpcError) as error:
            stub.ScoreBatch(batch("value 0.3"), timeout=10)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.value.trailing_metadata())["retry-after-ms"]) > 0
        assert [values(one) for one in stub.ScoreStream(iter([batch("value 0.4")]), timeout=10)] == [["UNAVAILABLE"]]
        call.cancel()
        while service.metrics()["assay_items_in_flight"]:
            time.sleep(0.02)
        assert values(stub.ScoreBatch(batch("value 0.5"), timeout=30)) == [0.5]


def test_without_workers_health_says_so_and_calls_are_refused(start_service, tmp_path):
    file = tmp_path / "no"
    flags = ("--scorer", "puppet:Sulking", "--scorer-kwargs", json.dumps({"file": str(file)}), "--workers", "2")
    service = start_service("services.scorer", *flags)
    with grpc.insecure_channel(service.address) as channel:
        stub, health = scoring_pb2_grpc.ScorerStub(channel), health_pb2_grpc.HealthStub(channel)

        def status():
            return health.Check(health_pb2.HealthCheckRequest(service="assay.v1.Scorer"), timeout=5).status

        assert status() == health_pb2.HealthCheckResponse.SERVING
        file.touch()
        for worker in service.workers():
            os.kill(worker.pid, signal.SIGKILL)
        while status() != health_pb2.HealthCheckResponse.NOT_SERVING:
            time.sleep(0.02)
        with pytest.raises(grpc.RpcError) as error:
            stub.ScoreBatch(batch("value 0.3"), timeout=10)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        Path(file).unlink()
        while status() != health_pb2.HealthCheckResponse.SERVING:
            time.sleep(0.02)
        assert values(stub.ScoreBatch(batch("value 0.5"), timeout=30)) == [0.5]
