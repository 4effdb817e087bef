"""The scoring client against real services, and against servers that are full, silent, broken or gone."""

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent import futures
from contextlib import ExitStack, contextmanager, suppress

import grpc
import pytest

from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.addresses import WrongAddressError
from services.client.async_scoring import AsyncScoringClient
from services.client.channel import CHANNEL_OPTIONS, ServiceError, ServiceUnavailableError
from services.client.scoring import ScoringClient
from services.verdicts import ErrorReason, Item, ItemError, Verdict

MIB = 1 << 20


class Scripted(scoring_pb2_grpc.ScorerServicer):
    """Answers each call with the next of its steps; the last one stays."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.requests = []
        self.lock = threading.Lock()

    def ScoreBatch(self, request, context):
        with self.lock:
            self.requests.append(request)
            step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return step(request, context)


def score_all(request, _context):
    verdict = scoring_pb2.Verdict(components={"s/v": 0.5}, label="ok")
    return scoring_pb2.ScoreBatchResponse(results=[{"id": item.id, "verdict": verdict} for item in request.items])


def full(hint):
    def refuse(_request, context):
        context.set_trailing_metadata((("retry-after-ms", str(hint)),) if hint else ())
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    return refuse


def fail(code):
    return lambda _request, context: context.abort(code, "no")


class InALoop:
    """An AsyncScoringClient for tests that are no coroutines: its loop runs in a thread."""

    def __init__(self, *arguments, **settings):
        self.client = AsyncScoringClient(*arguments, **settings)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def score(self, *arguments, **settings):
        return self.run(self.client.score(*arguments, **settings))

    def describe(self, *arguments):
        return self.run(self.client.describe(*arguments))

    def stream(self, *arguments):
        stream = self.client.stream(*arguments)
        with suppress(StopAsyncIteration):
            while True:
                yield self.run(anext(stream))

    def close(self):
        self.run(self.client.close())

    @property
    def calls(self):
        return self.client.calls

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(params=[ScoringClient, InALoop], ids=["threads", "asyncio"])
def make_client(request):
    return request.param


@contextmanager
def serving(*steps):
    """The address of a server that follows the steps, and its servicer."""
    servicer = Scripted(*steps)
    server = grpc.server(futures.ThreadPoolExecutor(8), options=CHANNEL_OPTIONS[:2])
    scoring_pb2_grpc.add_ScorerServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", servicer
    finally:
        server.stop(None).wait()


@pytest.fixture
def served(make_client):
    """A context: a client, of either kind, of a server that follows the steps, and its servicer."""

    @contextmanager
    def serve(*steps, **settings):
        with (
            serving(*steps) as (address, servicer),
            make_client("scripted", address, patience_seconds=1.0, **settings) as client,
        ):
            yield client, servicer

    return serve


def items(count, response=""):
    return [Item(f"i{number}", "", response) for number in range(count)]


def test_many_items_travel_in_messages_that_are_neither_too_many_nor_too_large(served):
    with served(score_all) as (client, servicer):
        outcomes = client.score(items(1000), 30)
        assert list(outcomes) == [f"i{number}" for number in range(1000)]
        assert all(outcome == Verdict({"s/v": 0.5}, "ok") for outcome in outcomes.values())
        sizes = sorted(len(request.items) for request in servicer.requests)
        assert sizes == [232, 256, 256, 256]
        assert client.calls == 4
        servicer.requests.clear()
        client.score(items(30, "x" * MIB), 30)
        assert sorted(len(request.items) for request in servicer.requests) == [2, 7, 7, 7, 7]
        assert Counter(item.id for request in servicer.requests for item in request.items) == Counter(
            {f"i{number}": 1 for number in range(30)}
        )


def test_an_item_larger_than_a_message_is_an_error_and_the_others_are_scored(served):
    with served(score_all) as (client, _):
        largest = Item("largest", "", "x" * (16 * MIB - 300))
        outcomes = client.score([Item("huge", "", "x" * (16 * MIB)), *items(2), largest], 30)
        assert outcomes["huge"] == ItemError(
            ErrorReason.INVALID_ITEM, "the item has 16777227 bytes; a message holds at most 16777152"
        )
        assert all(isinstance(outcomes[name], Verdict) for name in ("i0", "i1", "largest"))


def test_nothing_to_score_makes_no_call(served):
    with served(score_all) as (client, servicer):
        assert client.score([], 1) == {}
        assert servicer.requests == []


@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        (["a", "b", "a"], r"items\[2\].id is 'a', which an earlier"),
        ([""], r"items\[0\].id has 0"),
        (["é" * 257], "has 257"),
    ],
)
def test_ids_must_be_unique_and_of_a_proper_length(served, ids, complaint):
    with served(score_all) as (client, _), pytest.raises(ValueError, match=complaint):
        client.score([Item(one, "", "") for one in ids], 1)


def test_a_full_service_is_tried_again_after_its_hint(served):
    with served(full(300), full(300), score_all) as (client, _):
        start = time.monotonic()
        assert client.score(items(1), 30)["i0"] == Verdict({"s/v": 0.5}, "ok", {})
        assert time.monotonic() - start >= 0.6
        assert client.calls == 3


def test_a_service_that_stays_full_leaves_items_unavailable_in_time(served):
    with served(full(200)) as (client, _):
        start = time.monotonic()
        outcome = client.score(items(1), 1.0)["i0"]
        assert isinstance(outcome, ItemError)
        assert outcome.reason is ErrorReason.UNAVAILABLE
        assert "scripted service at 127.0.0.1" in outcome.message
        assert time.monotonic() - start <= 1.5
        assert client.calls >= 2


def test_a_service_that_is_gone_for_a_moment_is_tried_again(served):
    with served(fail(grpc.StatusCode.UNAVAILABLE), fail(grpc.StatusCode.CANCELLED), score_all) as (client, _):
        assert isinstance(client.score(items(1), 30)["i0"], Verdict)
        assert client.calls == 3


def test_a_dead_address_leaves_items_unavailable_after_the_clients_patience(make_client):
    with make_client("nobody", "127.0.0.1:1", patience_seconds=0.5) as client:
        start = time.monotonic()
        outcomes = client.score(items(300), 60)
        assert time.monotonic() - start < 20
        assert len(outcomes) == 300
        assert {outcome.reason for outcome in outcomes.values()} == {ErrorReason.UNAVAILABLE}
        with pytest.raises(ServiceUnavailableError, match=r"nobody service at 127\.0\.0\.1:1: UNAVAILABLE"):
            client.describe(2)


def test_a_service_that_does_not_answer_in_time_is_late_and_called_once(served):
    with served(lambda _request, _context: time.sleep(1.2)) as (client, _):
        outcome = client.score(items(1), 0.4)["i0"]
        assert isinstance(outcome, ItemError)
        assert outcome.reason is ErrorReason.DEADLINE
        assert client.calls == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL])
def test_a_service_that_breaks_is_a_failed_scorer(served, code):
    with served(fail(code)) as (client, _):
        assert client.score(items(1), 5)["i0"].reason is ErrorReason.SCORER_FAILED
        assert client.calls == 1


@pytest.mark.parametrize(
    "step", [fail(grpc.StatusCode.INVALID_ARGUMENT), fail(grpc.StatusCode.UNIMPLEMENTED), full(None)]
)
def test_what_another_try_cannot_mend_is_raised(served, step):
    with served(step) as (client, _):
        with pytest.raises(ServiceError) as error:
            client.score(items(1), 5)
        assert not isinstance(error.value, ServiceUnavailableError)
        assert client.calls == 1


def test_an_item_that_the_service_forgot_is_unavailable_and_a_stranger_is_ignored(served):
    def forgetful(_request, _context):
        strange = scoring_pb2.Verdict(components={"s/v": 1.0})
        return scoring_pb2.ScoreBatchResponse(
            results=[{"id": "i1", "verdict": strange}, {"id": "x", "verdict": strange}]
        )

    with served(forgetful) as (client, _):
        outcomes = client.score(items(2), 5)
        assert outcomes["i0"] == ItemError(ErrorReason.UNAVAILABLE, "the scripted service did not answer for this item")
        assert outcomes["i1"] == Verdict({"s/v": 1.0})
        assert list(outcomes) == ["i0", "i1"]


def test_one_client_serves_many_threads(served):
    with served(score_all) as (client, _), futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: client.score(items(20), 30), range(64)))
        assert all(len(answer) == 20 for answer in answers)
        assert client.calls == 64


def test_a_closed_client_opens_again(served):
    with served(score_all) as (client, _):
        client.score(items(1), 5)
        client.close()
        assert isinstance(client.score(items(1), 5)["i0"], Verdict)


def test_a_real_service_answers_the_client(make_client, start_service):
    service = start_service("services.scorer", "--scorer", "examples.scorers.brevity:Brevity", "--workers", "2")
    with make_client("brevity", service.address) as client:
        description = client.describe()
        assert (description.name, description.max_items) == ("brevity", 512)
        assert [component.name for component in description.components] == ["brevity/short", "brevity/keywords"]
        rows = [Item(f"i{count}", "", "word " * count, {"keywords": ["word", "absent"]}) for count in (30, 90, 180)]
        outcomes = client.score([*rows, Item("bad", "", "", {"keyword": "word"})], 30)
    assert [outcomes[row.id].components for row in rows] == [
        {"brevity/short": 1.0, "brevity/keywords": 0.5},
        {"brevity/short": 0.5, "brevity/keywords": 0.5},
        {"brevity/short": 0.0, "brevity/keywords": 0.5},
    ]
    assert outcomes["bad"].message == "checks.keyword: Extra inputs are not permitted"


def test_importing_the_client_starts_nothing():
    script = (
        "import os, threading, services.client.scoring, services.client.async_scoring, services.rewards\n"
        "assert threading.active_count() == 1 and len(os.listdir('/proc/self/task')) == 1"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def slow(seconds):
    def answer(request, context):
        time.sleep(seconds)
        return score_all(request, context)

    return answer


def test_a_late_message_is_sent_to_the_next_replica_and_the_first_answer_counts(make_client):
    """The first replica never answers; its call is cancelled when the other has answered."""
    ended = threading.Event()

    def stuck(_request, context):
        context.add_callback(ended.set)
        ended.wait()

    with (
        serving(stuck) as (first, first_servicer),
        serving(score_all) as (second, second_servicer),
        make_client("scripted", f"{first}, {second}", hedge_seconds=0.1) as client,
    ):
        assert client.score(items(1), 600)["i0"] == Verdict({"s/v": 0.5}, "ok")
        assert client.calls == 2
        assert (len(first_servicer.requests), len(second_servicer.requests)) == (1, 1)
        assert ended.wait(20)


def test_messages_side_by_side_are_hedged_at_the_other_replica(make_client):
    """Half of four messages meet the replica that hangs, whoever else asks meanwhile."""
    ended = threading.Event()
    with (
        serving(lambda _request, _context: ended.wait()) as (stuck, _),
        serving(score_all) as (well, _),
        make_client("scripted", f"{stuck},{well}", hedge_seconds=0.2, message_items=1) as client,
    ):
        outcomes = client.score(items(4), 5)
        ended.set()
    assert all(isinstance(outcome, Verdict) for outcome in outcomes.values())


def test_a_message_is_tried_again_at_the_other_replica(make_client):
    with (
        serving(fail(grpc.StatusCode.UNAVAILABLE)) as (broken, servicer),
        serving(score_all) as (well, _),
        make_client("scripted", f"{broken},{well}", message_items=1) as client,
    ):
        assert all(isinstance(outcome, Verdict) for outcome in client.score(items(40), 30).values())
    assert len(servicer.requests) == 20


def test_a_hedge_that_fails_leaves_the_first_call_alone(make_client):
    with (
        serving(slow(1.5)) as (late, _),
        serving(fail(grpc.StatusCode.UNAVAILABLE)) as (broken, second),
        make_client("scripted", f"{late},{broken}", hedge_seconds=0.2) as client,
    ):
        assert client.score(items(1), 30)["i0"] == Verdict({"s/v": 0.5}, "ok")
        assert len(second.requests) == 1


def test_replicas_take_turns_and_one_that_is_gone_costs_no_verdict(make_client):
    with ExitStack() as stack:
        replicas = [stack.enter_context(serving(score_all)) for _ in range(3)]
        addresses = ",".join([*(address for address, _ in replicas), "127.0.0.1:1"])
        with make_client("scripted", addresses, message_items=1, patience_seconds=5.0) as client:
            outcomes = client.score(items(40), 30)
        assert all(isinstance(outcome, Verdict) for outcome in outcomes.values())
        assert sum(len(servicer.requests) for _, servicer in replicas) == 40
        assert min(len(servicer.requests) for _, servicer in replicas) >= 8


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("127.0.0.1:1,,127.0.0.1:2", "has an empty part"),
        ("", "has an empty part"),
        ("scorers", "'scorers' has no port"),
    ],
)
def test_what_is_no_address_is_refused(make_client, address, complaint):
    with pytest.raises(WrongAddressError, match=complaint):
        make_client("scripted", address)


def test_outcomes_stream_as_their_messages_are_answered(served):
    def late_first(request, context):
        if request.items[0].id == "i0":
            time.sleep(0.5)
        return score_all(request, context)

    with served(late_first, message_items=1) as (client, _):
        found = list(client.stream(items(3), 30))
    assert [item_id for item_id, _ in found][-1] == "i0"
    assert {item_id for item_id, _ in found} == {"i0", "i1", "i2"}


@pytest.mark.parametrize("busy", [False, True], ids=["hangs", "is full"])
def test_who_leaves_a_stream_waits_for_nobody(busy):
    """Calls under way are cancelled, and those that would be tried again are not."""
    ended = threading.Event()

    def first_only(request, context):
        if request.items[0].id == "i0":
            return score_all(request, context)
        if busy:
            return full(100)(request, context)
        context.add_callback(ended.set)
        ended.wait(20)
        return score_all(request, context)

    with serving(first_only) as (address, servicer), ScoringClient("scripted", address, message_items=1) as client:
        stream = client.stream(items(20), 15)
        assert next(stream)[0] == "i0"
        while len(servicer.requests) < 2:
            time.sleep(0.02)
        start = time.monotonic()
        stream.close()
        assert time.monotonic() - start < 5
        assert busy or ended.wait(5)
        made = client.calls
        time.sleep(0.5)
        assert client.calls == made
        assert len(servicer.requests) < 20


def test_options_weights_and_fresh_reach_every_message(served):
    with served(score_all, message_items=2) as (client, servicer):
        client.score(items(5), 30, options={"percent": "ratio"}, weights={"s/v": 2.0}, fresh=True)
    assert len(servicer.requests) == 3
    for request in servicer.requests:
        assert request.options_json == '{"percent": "ratio"}'
        assert dict(request.weights) == {"s/v": 2.0}
        assert request.fresh


def test_large_options_leave_room_for_the_items(served):
    options = {"text": "x" * (10 * MIB)}
    with served(score_all) as (client, servicer):
        outcomes = client.score([*items(6, "y" * MIB), Item("huge", "", "z" * (7 * MIB))], 60, options=options)
    assert "a message holds at most" in outcomes.pop("huge").message
    assert all(isinstance(outcome, Verdict) for outcome in outcomes.values())
    assert max(request.ByteSize() for request in servicer.requests) <= 16 * MIB


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"options": {"a": float("nan")}}, "options cannot be written as JSON"),
        ({"weights": {"a": "much"}}, "weights must map names of components to numbers"),
    ],
)
def test_options_and_weights_that_cannot_be_sent_are_refused(served, asked, complaint):
    with served(score_all) as (client, servicer):
        with pytest.raises(ValueError, match=complaint):
            client.score(items(1), 5, **asked)
        assert servicer.requests == []
