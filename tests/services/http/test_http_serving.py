"""The HTTP server under load and at its end: large bodies, tokens, callers that leave, full scorers, SIGTERM."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
LIMIT = 16 * 1024 * 1024


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def scoring(response, domain="puppet", seconds=60, **more):
    return {"items": [{"domain": domain, "response": response, "timeout_seconds": seconds}], **more}


def test_bodies_are_bounded(server, post):
    answer = post(server.address, "/v1/score", b" " * (LIMIT + 1))
    assert answer.status == 413 and str(LIMIT) in answer.error
    # says a length that it does not keep to: refused by what it says, before it is sent
    with connect(server.address) as raw:
        raw.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    # says no length
    connection = http.client.HTTPConnection(*server.address.split(":"), timeout=30)
    connection.request("POST", "/v1/score", (b" " * 2**20 for _ in range(17)), {}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_large_body_within_the_bound_is_scored(server, post):
    answer = post(server.address, "/v1/score", scoring("word " * 400_000, "brevity"))
    assert answer.json["results"][0]["components"]["brevity/short"] == 0.0


def test_a_caller_that_leaves_frees_the_worker(server, puppet, wait_until_gone, tmp_path, post):
    note = tmp_path / "pids"
    body = json.dumps(scoring(f"pid {note}", seconds=600, timeout_seconds=600)).encode()
    raw = connect(server.address)
    raw.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    raw.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_for(note.exists)
    processes = [psutil.Process(int(pid)) for pid in note.read_text().split()]
    raw.close()
    wait_until_gone(processes)
    wait_for(lambda: server.metrics().get('assay_requests_total{code="499",method="/v1/score"}') == 1)
    assert post(server.address, "/v1/score", scoring("value 1")).status == 200


def test_a_full_server_says_when_to_come_back(start_service, puppet, post, tmp_path):
    small = start_service("services.http", "--address", f"puppet={puppet.address}", "--queue-limit", "2")
    note = tmp_path / "pids"
    raw = connect(small.address)
    body = json.dumps(scoring(f"pid {note}", seconds=600, timeout_seconds=600)).encode()
    raw.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    raw.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_for(note.exists)
    two = {"items": scoring("value 1")["items"] * 2}
    refused = post(small.address, "/v1/score", two)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert post(small.address, "/v1/score", scoring("value 1")).status == 200
    raw.close()
    wait_for(lambda: post(small.address, "/v1/score", two).status == 200)
    assert small.end() == 0


def test_scorers_that_are_full_or_away_are_not_a_score(start_service, post, get):
    scorer = start_service("services.scorer", "--scorer", "puppet:Puppet", "--workers", "1", "--queue-limit", "1")
    flags = ["--address", f"puppet={scorer.address}", "--address", "gone=127.0.0.1:1"]
    server = start_service("services.http", *flags)
    busy = threading.Thread(target=post, args=(server.address, "/v1/score", scoring("sleep 4", timeout_seconds=20)))
    busy.start()
    while scorer.metrics()["assay_items_in_flight"] < 1:
        time.sleep(0.02)
    full = post(server.address, "/v1/score", scoring("value 1", timeout_seconds=0.5))
    assert (full.status, full.headers["retry-after"]) == (503, "1")
    assert "RESOURCE_EXHAUSTED" in full.error
    away = post(server.address, "/v1/score", scoring("", "gone"))
    assert (away.status, away.headers["retry-after"]) == (503, "1")
    assert "127.0.0.1:1" in away.error
    busy.join()


def test_a_scorer_that_says_nothing_holds_up_nobody_beyond_the_deadline(start_service, brevity, post):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and that is all
        flags = ["--address", f"brevity={brevity.address}", "--address", f"silent=127.0.0.1:{silent.getsockname()[1]}"]
        server = start_service("services.http", *flags, "--route", "both=brevity,silent")
        (result,) = post(server.address, "/v1/score", scoring("short", "both", timeout_seconds=1)).json["results"]
        assert result["components"]["brevity/short"] == 1.0
        assert result["missing"] == {"silent": "DEADLINE"}


def test_a_token_is_needed_where_there_is_one(start_service, brevity, post, get):
    server = start_service("services.http", "--address", f"brevity={brevity.address}", ASSAY_HTTP_TOKEN="tönen 47")
    body = scoring("short", "brevity")
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "tönen 47".encode().decode("latin-1")}):
        answer = post(server.address, "/v1/score", body, **wrong)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    right = {"Authorization": "Bearer tönen 47".encode().decode("latin-1")}
    assert post(server.address, "/v1/score", body, **right).status == 200
    assert get(server.address, "/v1/scorers").status == 401
    assert [get(server.address, path).status for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
    assert "nen 47" not in server.log


def test_sigterm_lets_running_requests_end(start_service, puppet, post):
    server = start_service("services.http", "--address", f"puppet={puppet.address}")
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(
            post(server.address, "/v1/score", scoring("sleep 1", weights={"puppet/value": 1}))
        )
    )
    asking.start()
    while not server.metrics().get('assay_requests_in_flight{method="/v1/score"}'):
        time.sleep(0.02)
    assert server.end() == 0
    asking.join()
    assert answers[0].json["results"][0]["total"] == 1.0
    assert not server.ready_file.exists()
    with pytest.raises(ConnectionRefusedError):
        connect(server.address)
    assert [event["event"] for event in server.events] == ["serving", "draining", "stopped"]


def test_the_grace_ends(start_service, puppet, post, tmp_path):
    server = start_service("services.http", "--address", f"puppet={puppet.address}", "--grace", "0.2")
    note = tmp_path / "pids"
    asking = threading.Thread(target=_post_in_vain, args=(post, server.address, scoring(f"pid {note}", seconds=600)))
    asking.start()
    wait_for(note.exists)
    assert server.end() == 0
    asking.join()


def _post_in_vain(post, address, body):
    with contextlib.suppress(OSError, http.client.HTTPException):
        post(address, "/v1/score", body)


def test_it_starts_the_scorers_that_it_needs_and_stops_them(start_service, post, wait_until_gone):
    flags = ["--start", "--scorer", "brevity=examples.scorers.brevity:Brevity", "--route", "short=brevity"]
    server = start_service("services.http", *flags, ASSAY_HTTP_WEIGHT="brevity/short=1 brevity/keywords=2")
    assert post(server.address, "/v1/score", scoring("one two", "short")).json["results"][0]["total"] == 3.0
    children = psutil.Process(server.pid).children(recursive=True)
    assert any("services.scorer" in " ".join(child.cmdline()) for child in children)
    assert server.end() == 0
    wait_until_gone(children)


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--route", "math"], "--route takes NAME=VALUE"),
        (["--weight", "math/correctness=much"], "--weight math/correctness: 'much' is not a number"),
        (["--weight", "math/correctness=nan"], "is not a number"),
        (["--option", "percent=ratio"], "--option takes SCORER.KEY=VALUE"),
        (["--route", "math=style"], "ASSAY_STYLE_ADDRESS is not set"),
        (["--address", "math=scorers"], "address 'scorers' has no port; write host:port"),
        (["--scorer", "a=b:C"], "--scorer needs --start"),
        (["--start", "--scorer", "own=nowhere.mod:Class", "--route", "own=own"], "nowhere"),
        (["--port", "70000"], "--port"),
        (["--log-level", "loud"], "loud"),
    ],
)
def test_wrong_flags_are_named(flags, part):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "trainer.cli", "serve", "--http", "--port", "0", *flags]
    environment |= {"COLUMNS": "300", "NO_COLOR": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_named():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "services.http", "--port", port]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and port in done.stderr


def test_it_does_not_load_torch():
    script = "import services.http.serving, sys; heavy = {'torch', 'transformers', 'redis', 'celery'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
