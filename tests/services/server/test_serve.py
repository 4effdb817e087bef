"""The runtime of a service: flags, ports, health, the ready file, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.server.options import service_parser

ROOT = Path(__file__).parents[3]
ASK = scoring_pb2.DescribeRequest()
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def ring(start_service):
    """A function that starts the bell, calls it, and returns the service and the call once it is running."""

    def start(*flags):
        service = start_service("bell", *flags)
        channel = grpc.insecure_channel(service.address)
        call = scoring_pb2_grpc.ScorerStub(channel).Describe.future(ASK, timeout=60)
        folder = service.ready_file.parent
        while not (folder / "ringing").exists():
            time.sleep(0.02)
        return service, folder, channel, call

    return start


def test_the_ready_file_tells_where_a_serving_service_is(start_service):
    service = start_service("bell")
    ready = json.loads(service.ready_file.read_text())
    assert ready == {
        "name": "scorer",
        "address": service.address,
        "metrics_address": service.metrics_address,
        "pid": service.process.pid,
    }
    with grpc.insecure_channel(service.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == SERVING
        names = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert "assay.v1.Scorer" in names
    assert service.end() == 0
    assert not service.ready_file.exists()
    assert (service.ready_file.parent / "closed").exists()


def test_sigterm_lets_a_running_call_end_and_refuses_new_ones(ring):
    service, folder, channel, call = ring("--rings", "1.5", "--grace", "600")
    watched = []
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="assay.v1.Scorer"))
    thread = threading.Thread(target=lambda: watched.extend(_statuses(watch)))
    thread.start()
    while not watched:
        time.sleep(0.02)
    service.process.send_signal(signal.SIGTERM)
    while watched[-1] != NOT_SERVING:
        time.sleep(0.02)
    with pytest.raises(grpc.RpcError) as error:
        scoring_pb2_grpc.ScorerStub(channel).Describe(ASK, timeout=5)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not call.done()
    assert call.result().name == "bell"
    assert service.process.wait(30) == 0
    thread.join()
    assert watched == [SERVING, NOT_SERVING]
    assert (folder / "closed").exists()


def _statuses(watch):
    try:
        for message in watch:
            yield message.status
    except grpc.RpcError:
        pass


def test_a_call_that_outlasts_the_grace_is_cut_and_the_exit_is_clean(ring):
    service, folder, _channel, call = ring("--rings", "600", "--grace", "0.3")
    assert service.end() == 0
    with pytest.raises(grpc.RpcError) as error:
        call.result()
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert (folder / "closed").exists()


def test_a_second_signal_ends_the_wait(ring):
    service, folder, _channel, call = ring("--rings", "600", "--grace", "600")
    service.process.send_signal(signal.SIGINT)
    while not any(event["event"] == "draining" for event in service.events):
        time.sleep(0.02)
    assert not call.done()
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(30) == 0
    assert (folder / "closed").exists()


def test_a_stream_that_hears_of_the_drain_can_end_itself(start_service):
    service = start_service("bell", "--grace", "600")
    with grpc.insecure_channel(service.address) as channel:
        stream = scoring_pb2_grpc.ScorerStub(channel).ScoreStream(iter(()), timeout=60)
        while service.metrics().get('assay_requests_in_flight{method="ScoreStream"}') != 1:
            time.sleep(0.02)
        assert service.end() == 0
        assert len(list(stream)) == 1


def test_a_signal_while_it_starts_ends_it(start_service):
    service = start_service("bell", "--rings", "999", wait=False)
    while not (service.ready_file.parent / "loading").exists():
        time.sleep(0.02)
    assert service.end() == 0
    assert not service.ready_file.exists()


def test_a_signal_while_workers_load_leaves_none(start_service, wait_until_gone):
    service = start_service("services.scorer", "--scorer", "puppet:Slow", "--workers", "2", wait=False)
    while len(workers := service.workers()) < 2:
        time.sleep(0.02)
    assert service.end() == 0
    wait_until_gone(workers)


def test_flags_come_from_the_environment_and_flags_win(start_service, monkeypatch):
    monkeypatch.setenv("ASSAY_SCORER_RINGS", "-1")
    refused = start_service("bell", wait=False)
    assert refused.process.wait(30) == 2
    assert refused.log.strip().splitlines()[-1] == "python -m services.scorer: error: rings must not be negative"
    assert start_service("bell", "--rings", "0").end() == 0


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--port", "70000"), "argument --port: 70000 is not a port"),
        (("--port", "http"), "argument --port: 'http' is not a port, a whole number"),
        (("--metrics-port", "-1"), "argument --metrics-port"),
        (("--workers", "0"), "argument --workers: 0 is too small; it must be at least 1"),
        (("--grace", "-1"), "argument --grace: -1.0 is not a duration"),
        (("--grace", "nan"), "argument --grace: nan is not a duration"),
        (("--log-level", "loud"), "argument --log-level: 'loud' is not a log level"),
        (("--no-such-flag",), "unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_bad_flag_is_named(flags, complaint, capsys):
    with pytest.raises(SystemExit) as end:
        service_parser("scorer", "Rings.", 1).parse_args(flags)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--port", "--metrics-port"])
def test_a_taken_port_is_refused_with_a_way_out(start_service, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = start_service("bell", flag, str(port), wait=False)
        assert service.process.wait(30) == 2
    message = service.log.strip().splitlines()[-1]
    assert f"cannot listen on 127.0.0.1:{port}" in message
    assert flag in message


def test_two_services_do_not_share_a_port(start_service):
    first = start_service("bell")
    second = start_service("bell", "--port", first.address.rpartition(":")[2], "--metrics-port", "0", wait=False)
    assert second.process.wait(30) == 2


@pytest.mark.parametrize(
    ("scorer", "complaint"),
    [
        (["--scorer", "puppet"], "write package.module:Name"),
        (["--scorer", "no_such_module:Puppet"], "there is no module 'no_such_module'"),
        (["--scorer", "puppet:Nobody"], "puppet has no attribute 'Nobody'"),
        (["--scorer", "puppet:Machine"], "'puppet:Machine' is not a scorer: it has no name, version"),
        (["--scorer", "puppet:Puppet", "--scorer-kwargs", "[]"], "a JSON list; it must be an object"),
        ([], "the following arguments are required: --scorer"),
    ],
)
def test_a_scorer_that_cannot_be_served_is_named(start_service, scorer, complaint):
    service = start_service("services.scorer", "--workers", "1", *scorer, wait=False)
    assert service.process.wait(30) == 2
    assert complaint in service.log.strip().splitlines()[-1]
    assert not service.ready_file.exists()


def test_sigterm_lets_a_scorer_finish_and_leaves_no_worker(start_service, wait_until_gone):
    service = start_service("services.scorer", "--scorer", "puppet:Puppet", "--workers", "2")
    workers = service.workers()
    with grpc.insecure_channel(service.address) as channel:
        stub = scoring_pb2_grpc.ScorerStub(channel)
        items = [{"id": "a", "response": "sleep 1.5"}, {"id": "b", "response": "value 0.5"}]
        call = stub.ScoreBatch.future(scoring_pb2.ScoreBatchRequest(items=items), timeout=30)
        stream = stub.ScoreStream(_one_and_no_end(scoring_pb2.ScoreBatchRequest(items=items)), timeout=30)
        while service.metrics()["assay_items_in_flight"] != 4:
            time.sleep(0.02)
        assert service.end() == 0
        assert [result.verdict.components["puppet/value"] for result in call.result().results] == [1.0, 0.5]
        assert [result.verdict.components["puppet/value"] for result in next(stream).results] == [1.0, 0.5]
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    wait_until_gone(workers)


def _one_and_no_end(request):
    yield request
    threading.Event().wait(60)


def test_a_service_ends_with_its_parent(tmp_path, wait_until_gone):
    """`ASSAY_EXIT_WITH_PARENT=1`, as the stack sets it: the parent is killed, the service and its workers go."""
    ready = tmp_path / "ready"
    flags = ["-m", "services.scorer", "--scorer", "puppet:Puppet", "--port", "0", "--workers", "1", "--ready-file", str(ready)]
    script = f"import subprocess, sys; subprocess.run([sys.executable, *{flags!r}])"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/services/server"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "ASSAY_EXIT_WITH_PARENT": "1"}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as parent:
        while not ready.exists():
            time.sleep(0.02)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) == 2
        parent.kill()
    wait_until_gone(family)
