"""What a service remembers, for whom, and for how long; and that equal items under way are graded once."""

import asyncio
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.queue.embedded_redis import EmbeddedRedis
from services.server.shared_verdicts import SharedVerdicts

WAIT = 30


class Served:
    """A reckoner's service, its stub and its ledger."""

    def __init__(self, start_service, folder: Path, *flags: str, **kwargs):
        self.ledger = folder / "ledger"
        self.ledger.touch()
        arguments = json.dumps({"ledger": str(self.ledger), **kwargs})
        self.service = start_service(
            *(
                "services.scorer",
                "--scorer",
                "reckoner:Reckoner",
                "--scorer-kwargs",
                arguments,
                "--workers",
                "2",
                *flags,
            )
        )
        self.stub = scoring_pb2_grpc.ScorerStub(grpc.insecure_channel(self.service.address))

    def graded(self) -> list[str]:
        return self.ledger.read_text().splitlines()

    def ask(self, *responses, timeout=WAIT, **request):
        return self.start(*responses, timeout=timeout, **request).result()

    def start(self, *responses, timeout=WAIT, timeout_ms=0, checks="", name="i", **request):
        items = [
            scoring_pb2.ScoreItem(id=f"{name}{place}", response=response, checks_json=checks, timeout_ms=timeout_ms)
            for place, response in enumerate(responses)
        ]
        return self.stub.ScoreBatch.future(scoring_pb2.ScoreBatchRequest(items=items, **request), timeout=timeout)


def until(condition):
    end = time.monotonic() + WAIT
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def lengths(response):
    return [result.verdict.components["reckoner/length"] for result in response.results]


@pytest.fixture(scope="module")
def served(start_service, tmp_path_factory):
    return Served(start_service, tmp_path_factory.mktemp("reckoner"))


@pytest.fixture
def fresh_ledger(served):
    served.ledger.write_text("")
    return served


def test_an_equal_item_is_answered_without_grading_and_byte_for_byte(fresh_ledger):
    one = fresh_ledger.ask("abc", "de", "abc")
    two = fresh_ledger.ask("abc", "de", "abc", name="other")
    assert sorted(fresh_ledger.graded()) == ["abc", "de"]
    assert lengths(one) == [3, 2, 3]
    assert [result.id for result in two.results] == ["other0", "other1", "other2"]
    for first, second in zip(one.results, two.results, strict=True):
        assert first.verdict.SerializeToString(deterministic=True) == second.verdict.SerializeToString(
            deterministic=True
        )


@pytest.mark.parametrize("difference", [{"checks": '{"factor": 2}'}, {"options_json": '{"factor": 2}'}])
def test_other_checks_and_options_are_another_item(fresh_ledger, difference):
    text = f"differs by {difference}"
    assert lengths(fresh_ledger.ask(text)) == [len(text)]
    assert lengths(fresh_ledger.ask(text, **difference)) == [2 * len(text)]
    assert lengths(fresh_ledger.ask(text, **dict.fromkeys(difference, '{"factor": 3}'))) == [3 * len(text)]
    assert fresh_ledger.graded() == [text] * 3


def test_texts_that_are_equal_when_put_together_are_different_items(fresh_ledger):
    """Prompt, checks and response are apart in the key, whatever they hold."""
    request = scoring_pb2.ScoreBatchRequest(
        items=[
            {"id": "a", "prompt": "pq", "response": "r1"},
            {"id": "b", "prompt": "p", "response": "qr1"},
            {"id": "c", "prompt": "", "response": "pqr1"},
            {"id": "d", "prompt": "", "response": "pqr1", "checks_json": "{}"},
        ]
    )
    for _ in range(2):
        assert lengths(fresh_ledger.stub.ScoreBatch(request, timeout=WAIT)) == [2, 3, 4, 4]
    assert len(fresh_ledger.graded()) == 4


def test_errors_and_what_does_not_repeat_are_not_remembered(fresh_ledger):
    for _ in range(2):
        assert fresh_ledger.ask("error x").results[0].error.reason == scoring_pb2.ItemError.UNAVAILABLE
        assert fresh_ledger.ask("moody x").results[0].verdict.label == "done"
        late = fresh_ledger.ask("sleep 600", timeout_ms=300)
        assert late.results[0].error.reason == scoring_pb2.ItemError.DEADLINE
    assert fresh_ledger.graded() == ["error x", "moody x", "sleep 600"] * 2


def test_fresh_scores_anew(fresh_ledger):
    fresh_ledger.ask("new", fresh=True)
    fresh_ledger.ask("new", fresh=True)
    fresh_ledger.ask("new")
    assert fresh_ledger.graded() == ["new", "new"]


def test_weights_make_a_total_of_remembered_and_of_new_verdicts(fresh_ledger):
    weights = {"reckoner/length": 0.5, "reckoner/half": -1.0}
    for _ in range(2):
        response = fresh_ledger.ask("even", "odd", weights=weights)
        totals = [result.verdict.total if result.verdict.HasField("total") else None for result in response.results]
        assert totals == [0.0, None]  # 4 / 2 - 2; an odd length has no half
    (plain,) = fresh_ledger.ask("even").results
    assert not plain.verdict.HasField("total"), "a remembered verdict keeps nobody's total"


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        ({"weights": {"reckoner/width": 1.0}}, "weights: unknown component 'reckoner/width'; known: reckoner/length"),
        (
            {"weights": {"reckoner/length": float("nan")}},
            "weights: 'reckoner/length' is nan; it must be a finite number",
        ),
        ({"options_json": '{"factors": 2}'}, "options_json: unknown key 'factors'; known: factor, note"),
        ({"options_json": json.dumps({"note": "n" * 70_000})}, "options_json has 70012 characters; it may have 65536"),
        ({"options_json": "[1]"}, "options_json is a JSON list, not an object"),
        ({"options_json": "{"}, "options_json is not JSON"),
    ],
)
def test_weights_and_options_that_mean_nothing_are_refused(served, request_, complaint):
    with pytest.raises(grpc.RpcError) as error:
        served.ask("abc", **request_)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details().startswith(complaint)


def test_options_are_part_of_what_is_remembered_and_no_text_passes_for_them(fresh_ledger):
    """Texts and options are apart in the key, and options that an item overrules are still another request."""
    two, three = '{"factor": 2}', '{"factor": 3}'
    for _ in range(2):
        assert lengths(fresh_ledger.ask("abcd", checks=two)) == [8]
        assert lengths(fresh_ledger.ask("abcd", options_json=two)) == [8]
        assert lengths(fresh_ledger.ask("abcd", options_json=two, checks=three)) == [12]
        assert lengths(fresh_ledger.ask("abcd", options_json=three, checks=two)) == [8]
        assert lengths(fresh_ledger.ask(two + "abcd")) == [len(two) + 4]


def test_health_answers_while_options_are_put_beside_checks_of_many_parts(served):
    """Nobody parses an item's checks in the process that answers health."""
    checks = json.dumps({"note": [[number] for number in range(1_000_000)]})
    channel = grpc.insecure_channel(
        served.service.address, options=[("grpc.max_send_message_length", 16 << 20), ("grpc.use_local_subchannel_pool", 1)]
    )
    request = scoring_pb2.ScoreBatchRequest(
        items=[{"id": "a", "checks_json": checks}], options_json='{"factor": 2}'
    )
    call = scoring_pb2_grpc.ScorerStub(channel).ScoreBatch.future(request, timeout=WAIT)
    health = health_pb2_grpc.HealthStub(grpc.insecure_channel(served.service.address))
    longest = 0.0
    while not call.done():
        start = time.monotonic()
        health.Check(health_pb2.HealthCheckRequest(), timeout=WAIT)
        longest = max(longest, time.monotonic() - start)
    assert call.result().results[0].error.message.startswith("checks.note")
    assert longest < 0.4


def test_an_item_of_its_own_checks_keeps_them_and_bad_ones_are_its_own_error(served):
    assert lengths(served.ask("abcd", checks='{"factor": 3}', options_json='{"factor": 2, "note": "n"}')) == [12]
    (result,) = served.ask("abcd", checks='{"factor": "x"}', options_json='{"note": "n"}').results
    assert result.error.message.startswith("checks.factor: Input should be a valid number")
    (result,) = served.ask("abcd", checks="[", options_json='{"note": "n"}').results
    assert result.error.message.startswith("checks_json is not JSON")


def test_equal_items_under_way_are_graded_once(fresh_ledger, tmp_path):
    text = f"wait {tmp_path / 'go'}"
    calls = [fresh_ledger.start(text, name=f"caller{number}-") for number in range(5)]
    until(lambda: fresh_ledger.graded() == [text])
    time.sleep(0.2)
    (tmp_path / "go").touch()
    assert {tuple(lengths(call.result())) for call in calls} == {(len(text),)}
    assert fresh_ledger.graded() == [text]


def test_a_caller_who_leaves_takes_the_others_verdict_with_nobody(fresh_ledger, tmp_path):
    """Neither cancelling nor a deadline of the first who asked ends what the second waits for."""
    text = f"wait {tmp_path / 'go'}"
    first = fresh_ledger.start(text)
    until(lambda: text in fresh_ledger.graded())
    hasty = fresh_ledger.start(text, timeout=0.5)
    patient = fresh_ledger.start(text)
    time.sleep(0.2)
    first.cancel()
    assert hasty.result().results[0].error.reason == scoring_pb2.ItemError.DEADLINE
    (tmp_path / "go").touch()
    assert lengths(patient.result()) == [len(text)]
    assert fresh_ledger.graded() == [text]


def test_when_all_have_left_the_grading_ends_and_who_comes_then_has_it_done_anew(
    fresh_ledger, tmp_path, wait_until_gone
):
    text = f"wait {tmp_path / 'go'}"
    calls = [fresh_ledger.start(text, timeout_ms=600_000, timeout=600) for _ in range(2)]
    until(lambda: text in fresh_ledger.graded())
    time.sleep(0.2)
    before = {worker.pid for worker in fresh_ledger.service.workers()}
    for call in calls:
        call.cancel()
    until(lambda: before - {worker.pid for worker in fresh_ledger.service.workers()})
    (tmp_path / "go").touch()
    assert lengths(fresh_ledger.ask(text, timeout_ms=600_000)) == [len(text)]
    assert fresh_ledger.graded() == [text, text]


def test_a_longer_time_is_not_judged_by_anothers_shorter_one(fresh_ledger, tmp_path):
    text = f"wait {tmp_path / 'go'}"
    short = fresh_ledger.start(text, timeout_ms=700)
    long = fresh_ledger.start(text, timeout_ms=30_000)
    assert short.result().results[0].error.reason == scoring_pb2.ItemError.DEADLINE
    (tmp_path / "go").touch()
    assert lengths(long.result()) == [len(text)]


def test_the_worker_that_dies_under_a_shared_item_is_everybodys_error_and_no_memory(fresh_ledger):
    calls = [fresh_ledger.start("die now") for _ in range(3)]
    assert {call.result().results[0].error.reason for call in calls} == {scoring_pb2.ItemError.WORKER_DIED}
    assert fresh_ledger.ask("die now").results[0].error.reason == scoring_pb2.ItemError.WORKER_DIED


def test_metrics_say_what_was_remembered(served):
    served.ask("counted")
    before = served.service.metrics()
    served.ask("counted", "counted", name="again")
    after = served.service.metrics()
    name = 'assay_verdicts_remembered_total{where="memory"}'
    assert after[name] - before.get(name, 0) == 2
    name = 'assay_items_total{label="done",outcome="scored"}'
    assert after[name] - before[name] == 2


def test_memory_is_bounded_and_the_oldest_go_first(start_service, tmp_path):
    small = Served(start_service, tmp_path, "--cache-mb", "1")
    first = [f"first {number}" for number in range(100)]
    small.ask(*first)
    for start in range(0, 4000, 400):  # more than a megabyte of entries
        small.ask(*(f"later {number}" for number in range(start, start + 400)))
    small.ledger.write_text("")
    small.ask("later 3999", *first)
    assert sorted(small.graded()) == sorted(first)


def test_without_a_cache_nothing_is_remembered(start_service, tmp_path):
    none = Served(start_service, tmp_path, "--cache-mb", "0")
    none.ask("abc")
    none.ask("abc")
    assert none.graded() == ["abc", "abc"]


def test_a_worker_of_another_version_than_the_services_does_not_score(start_service, tmp_path):
    """Its verdicts would be remembered as those of the old one."""
    changing = Served(start_service, tmp_path, "--workers", "1")
    changing.ask("by the old model")
    (tmp_path / "model").write_text("2")
    assert changing.ask("die now").results[0].error.reason in (
        scoring_pb2.ItemError.WORKER_DIED,
        scoring_pb2.ItemError.UNAVAILABLE,
    )
    until(lambda: "has version '2', this service serves '1': start it again" in changing.service.log)
    with pytest.raises(grpc.RpcError) as error:
        until(lambda: changing.ask("by the new model") and False)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    (tmp_path / "model").unlink()
    until(lambda: "by the old model again" in _tried(changing))


def _tried(served) -> list[str]:
    with suppress(grpc.RpcError):
        served.ask("by the old model again")
    return served.graded()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_replicas_and_restarted_services_share_verdicts(start_service, tmp_path, redis):
    one = Served(start_service, tmp_path, "--cache-url", redis.url)
    one.ask(*(f"shared {number}" for number in range(100)))
    client = Redis.from_url(redis.url)
    until(lambda: len(client.keys("assay:verdict:*")) == 100)
    assert 0 < client.ttl(client.keys("assay:verdict:*")[0]) <= 604_800
    two = Served(start_service, tmp_path, "--cache-url", redis.url)
    two.ledger.write_text("")
    assert lengths(two.ask(*(f"shared {number}" for number in range(100)))) == [
        len(f"shared {number}") for number in range(100)
    ]
    assert two.graded() == []
    assert two.service.metrics()['assay_verdicts_remembered_total{where="redis"}'] == 100


def test_other_arguments_of_the_scorer_are_another_memory(start_service, tmp_path, redis):
    one = Served(start_service, tmp_path, "--cache-url", redis.url)
    other = Served(start_service, tmp_path, "--cache-url", redis.url, taste=7)
    client = Redis.from_url(redis.url)
    before = len(client.keys("assay:verdict:*"))
    assert lengths(one.ask("tasted")) == [6]
    until(lambda: len(client.keys("assay:verdict:*")) == before + 1)
    assert lengths(other.ask("tasted")) == [13]


def test_another_scorer_of_the_same_name_and_version_is_another_memory(start_service, tmp_path, redis):
    one = Served(start_service, tmp_path, "--cache-url", redis.url)
    other = Served(start_service, tmp_path, "--cache-url", redis.url, "--scorer", "reckoner:Sweet")
    client = Redis.from_url(redis.url)
    before = len(client.keys("assay:verdict:*"))
    assert lengths(one.ask("whose")) == [5]
    until(lambda: len(client.keys("assay:verdict:*")) == before + 1)
    assert lengths(other.ask("whose")) == [105]


def test_what_redis_has_garbled_is_no_verdict(start_service, tmp_path, redis):
    one = Served(start_service, tmp_path, "--cache-url", redis.url)
    client = Redis.from_url(redis.url)
    client.flushdb()
    texts = [f"garbled {number}" for number in range(5)]
    one.ask(*texts)
    keys = until(lambda: (found := client.keys("assay:verdict:*")) and len(found) == 5 and found)
    values = client.mget(keys)
    client.set(keys[0], b"")
    client.set(keys[1], values[1][:-1])
    client.set(keys[2], values[2][:-1] + bytes([values[2][-1] ^ 1]))
    client.set(keys[3], values[4])  # another item's verdict
    client.delete(keys[4])
    client.rpush(keys[4], b"a list")
    two = Served(start_service, tmp_path, "--cache-url", redis.url)
    two.ledger.write_text("")
    assert lengths(two.ask(*texts)) == [len(text) for text in texts]
    assert sorted(two.graded()) == texts


@pytest.mark.parametrize("trouble", [signal.SIGSTOP, signal.SIGKILL])
def test_a_redis_that_hangs_or_dies_costs_no_verdict(start_service, tmp_path, trouble):
    redis = EmbeddedRedis(tmp_path / "redis")
    redis.start()
    try:
        one = Served(start_service, tmp_path, "--cache-url", redis.url)
        one.ask("before")
        os.kill(redis.pid, trouble)
        assert lengths(one.ask("before", "after")) == [6, 5]
        assert lengths(one.ask("after", "later")) == [5, 5]
        until(lambda: one.service.metrics().get('assay_verdict_cache_failures_total{what="read"}', 0) >= 1)
    finally:
        os.kill(redis.pid, signal.SIGCONT if trouble is signal.SIGSTOP else 0)
        redis.stop()


@pytest.mark.parametrize("address", ["http://x", "redis://", "redis://:secret@host:0/0", "6379"])
def test_a_cache_address_that_is_none_is_refused_without_quoting_it(start_service, tmp_path, address):
    service = start_service(
        *("services.scorer", "--scorer", "reckoner:Reckoner", "--scorer-kwargs", json.dumps({"ledger": "l"})),
        *("--cache-url", address),
        wait=False,
    )
    assert service.process.wait(30) == 2
    assert "--cache-url: not an address of Redis; write redis://" in service.log
    assert "secret" not in service.log


KEYS = [bytes([number]) * 16 for number in range(2)]


def with_shared(url, test):
    """Runs a coroutine function of the shared verdicts at the URL."""

    async def run():
        shared = SharedVerdicts(url, 60)
        try:
            await test(shared)
        finally:
            await shared.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "reply",
    [
        b"*abc\r\n",
        b"*1\r\n$x\r\n",
        b"*-1\r\n",
        b":5\r\n",
        b"*1\r\n$-1\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"*1\r\n" * 5000,
        b"HTTP/1.1 400\r\n\r\n",
    ],
    ids=["no length", "no size", "no list", "a number", "too few", "a map", "too deep", "another protocol"],
)
def test_what_is_no_redis_costs_no_verdict_and_ends_no_writer(reply):
    async def answer(reader, writer):
        with suppress(ConnectionError):
            while await reader.read(65536):
                writer.write(reply)
        writer.close()

    async def check():
        async with await asyncio.start_server(answer, "127.0.0.1") as server:
            host, port = server.sockets[0].getsockname()
            shared = SharedVerdicts(f"redis://{host}:{port}/0", 60)
            assert await shared.get(KEYS) == {}
            shared.put(KEYS[0], scoring_pb2.Verdict(label="right").SerializeToString())
            await asyncio.sleep(0.2)
            await shared.close()

    asyncio.run(check())


def test_a_redis_that_takes_its_time_takes_it_from_the_calls(start_service, tmp_path, redis):
    """What has a verdict by the deadline keeps it, though Redis answered late."""
    reads = []

    class LateRedis(socketserver.BaseRequestHandler):
        def handle(self):
            parts = urlsplit(redis.url)
            with socket.create_connection((parts.hostname, parts.port)) as behind, suppress(ConnectionError):
                while said := self.request.recv(65536):
                    if b"MGET" in said:
                        reads.append(said)
                        time.sleep(0.06)
                    behind.sendall(said)
                    self.request.sendall(behind.recv(65536))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), LateRedis) as late:
        late.daemon_threads = True
        threading.Thread(target=late.serve_forever, daemon=True).start()
        url = redis.url.replace(f":{urlsplit(redis.url).port}", f":{late.server_address[1]}")
        served = Served(start_service, tmp_path, "--cache-url", url)
        served.ask(*"abcde")

        def ask_with_a_read():  # None while Redis rests: the machine was later still
            before = len(reads)
            new = [f"{before}{time.monotonic_ns()}{letter}" for letter in "fghi"]
            found = served.ask(*new, "sleep 600", timeout=0.4)  # the last in a chunk of its own
            return found if len(reads) > before else None

        found = until(ask_with_a_read)
        late.shutdown()
    assert [result.WhichOneof("outcome") for result in found.results] == ["verdict"] * 4 + ["error"]


def test_a_redis_that_takes_no_more_is_read_all_the_same(tmp_path):
    """It is full of what it may not forget, or a replica."""
    with EmbeddedRedis(tmp_path / "redis") as redis:
        client = Redis.from_url(redis.url)

        async def check(shared):
            shared.put(KEYS[0], scoring_pb2.Verdict(label="right").SerializeToString())
            await asyncio.to_thread(until, lambda: client.keys("assay:verdict:*"))
            client.config_set("maxmemory", 1)
            shared.put(KEYS[1], scoring_pb2.Verdict(label="lost").SerializeToString())
            await asyncio.sleep(0.5)
            assert list(await shared.get(KEYS)) == KEYS[:1]

        with_shared(redis.url, check)


FILL = """
import os, psutil
from protos.gen.assay.v1 import scoring_pb2
from services.server.desk import verdict_to_wire
from services.server.verdict_cache import VerdictCache
from services.verdicts import Verdict

cache = VerdictCache("s", "1", {}, 32 << 20, None)
before = psutil.Process().memory_info().rss
for _ in range(150_000):
    verdict = Verdict({"math/correctness": 1.0, "math/syntax": 1.0}, "right", {"extracted": "4"})
    cache.put(os.urandom(16), verdict_to_wire(verdict).SerializeToString(deterministic=True))
print(psutil.Process().memory_info().rss - before)
"""


def test_what_is_remembered_takes_the_memory_that_it_may():
    """Not that of messages, which is several times that of their bytes."""
    filled = subprocess.run([sys.executable, "-c", FILL], check=True, capture_output=True, text=True)
    assert int(filled.stdout) < 40 << 20
