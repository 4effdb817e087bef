"""Collections with real workers, a real Redis and real sockets. The policy and the scorer behind the sockets are small
stand-ins of this file, so that a test can hold them up, break them, and count what was asked of them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from redis import Redis

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc, scoring_pb2, scoring_pb2_grpc
from services.experience import Experience, ScoredGroup
from services.queue.app import make_app
from services.queue.collect import _Task
from services.queue.collection import CollectionRequest, Collections
from services.queue.embedded_redis import EmbeddedRedis
from services.rollout.engine import Completion, Finished, FinishReason

SECRET = "a prompt that nobody but the policy may see"


class StandInPolicy(rollout_pb2_grpc.RolloutServicer):
    """Answers each prompt with its text reversed; waits while `hold` is set; refuses the policy `nobody`."""

    def __init__(self) -> None:
        self.held_text = ""
        self.breaks_after: int | None = None
        """Completions after which it breaks off, once."""
        self.hold = threading.Event()
        self.asked: list[Any] = []

    def GenerateStream(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from self._sampled(request, context)

    def Generate(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = rollout_pb2.GenerateResponse()
        for finished in self._sampled(request, context):
            answer.prompts.add(
                id=finished.id, prompt_token_ids=finished.prompt_token_ids, completions=[finished.completion]
            )
        return answer

    def _sampled(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.asked.append(request)
        if request.policy == "nobody":
            context.abort(grpc.StatusCode.NOT_FOUND, "no policy 'nobody'")
        for place in range(request.samples * len(request.prompts)):
            sample, prompt = place // len(request.prompts), request.prompts[place % len(request.prompts)]
            if place == self.breaks_after:
                self.breaks_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "the engine's process ended")
            while (self.hold.is_set() or prompt.text == self.held_text) and context.is_active():
                time.sleep(0.01)
            yield rollout_pb2.FinishedCompletion(
                id=prompt.id,
                sample=sample,
                prompt_token_ids=[*prompt.token_ids, len(prompt.text)],
                completion=rollout_pb2.Completion(
                    token_ids=[sample, 2],
                    logprobs=[-0.5, -0.25],
                    text=f"{prompt.text[::-1]}{sample}",
                    finish_reason="STOP",
                    policy_version=request.min_policy_version,
                    token_versions=[request.min_policy_version] * 2,
                ),
            )

    def Logprobs(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = rollout_pb2.LogprobsResponse(policy_version=1)
        for sequence in request.sequences:
            scale = 2 if request.policy == "teacher" else 1
            answer.sequences.add(logprobs=[scale * (-float(token) - 0.5) for token in sequence.completion_token_ids])
        return answer


class StandInScorer(scoring_pb2_grpc.ScorerServicer):
    """Gives `length/characters`; an item whose checks say so is missing, always or once, or waits while `hold` is set."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.items: list[Any] = []

    def Describe(self, request: Any, context: grpc.ServicerContext) -> Any:
        return scoring_pb2.Description(name="length", checks_schema='{"properties": {"fails": {}}}')

    def ScoreBatch(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = scoring_pb2.ScoreBatchResponse()
        for item in request.items:
            result = answer.results.add(id=item.id)
            again = any(item.id == earlier.id for earlier in self.items)
            self.items.append(item)
            fails = json.loads(item.checks_json or "{}").get("fails")
            while fails == "held" and self.hold.is_set() and context.is_active():
                time.sleep(0.01)
            if fails == "always" or (fails == "once" and not again):
                result.error.reason = scoring_pb2.ItemError.UNAVAILABLE
            else:
                result.verdict.components["length/characters"] = len(item.response)
                result.verdict.label = "measured"
        return answer


def prompt(key: str, **changes: Any) -> dict[str, Any]:
    return {"key": key, "id": f"id of {key}", "domain": "words", "text": "abc", **changes}


def groups(experiences: list[Experience]) -> dict[str, ScoredGroup]:
    """By key; every one must be there."""
    found = {experience.key: experience.group for experience in experiences}
    return {key: group for key, group in found.items() if group is not None}


class Bench:
    """A test's collections, with the stand-ins behind them."""

    def __init__(self, collections: Collections, policy: StandInPolicy, scorer: StandInScorer) -> None:
        self.collections, self.policy, self.scorer = collections, policy, scorer

    def request(self, key: str, **changes: Any) -> CollectionRequest:
        fields: dict[str, Any] = {
            "key": key,
            "reply_to": "run-1",
            "policy": "policy",
            "min_policy_version": 4,
            "prompts": [prompt(key)],
            "samples": 2,
            "sampling": {"max_new_tokens": 8, "seed": 1},
            "scorers": {"words": ["length"], "free": []},
            "timeout_seconds": 30,
        }
        return CollectionRequest.model_validate({**fields, **changes})

    def receive(self, *keys: str, seconds: float = 30) -> list[Experience]:
        """All of these keys, in order of arrival; fewer where they do not come in time."""
        received: list[Experience] = []
        deadline = time.monotonic() + seconds
        while len(received) < len(keys) and time.monotonic() < deadline:
            waiting = set(keys) - {experience.key for experience in received}
            received += self.collections.receive(sorted(waiting), "run-1", deadline - time.monotonic())
        return received


@pytest.fixture(scope="module")
def stand_ins(module_environment: pytest.MonkeyPatch) -> Iterator[tuple[StandInPolicy, StandInScorer]]:
    policy, scorer = StandInPolicy(), StandInScorer()
    server = grpc.server(ThreadPoolExecutor(32))
    rollout_pb2_grpc.add_RolloutServicer_to_server(policy, server)
    scoring_pb2_grpc.add_ScorerServicer_to_server(scorer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for name in ("ROLLOUT", "LENGTH"):
        module_environment.setenv(f"ASSAY_{name}_ADDRESS", f"127.0.0.1:{port}")
    module_environment.setenv("ASSAY_CROOKED_ADDRESS", "no port")
    yield policy, scorer
    policy.hold.clear()
    scorer.hold.clear()
    server.stop(None).wait()


@pytest.fixture
def bench(stand_ins: tuple[StandInPolicy, StandInScorer], redis: Redis, redis_server: EmbeddedRedis) -> Bench:
    policy, scorer = stand_ins
    policy.hold.clear()
    policy.held_text, policy.breaks_after = "", None
    scorer.hold.clear()
    policy.asked.clear()
    scorer.items.clear()
    return Bench(Collections(redis, make_app(redis_server.url)), policy, scorer)


def test_groups_come_back_scored_each_under_its_key(bench: Bench, workers: Any) -> None:
    prompts = [
        prompt("k0", checks={"fails": "once"}),
        prompt("k1", text=SECRET, checks={"fails": "always"}),
        prompt("k2", domain="free", text="xyz"),
    ]
    policies = {"reference_policy": "anchor", "teacher_policy": "teacher"}
    bench.collections.enqueue(bench.request("k", prompts=prompts, scoring_attempts=2, **policies))
    worker = workers.one("rollouts")
    experiences = bench.receive("k0", "k1", "k2")
    assert [experience.error for experience in experiences] == [""] * 3
    found = groups(experiences)
    first, second, third = found["k0"], found["k1"], found["k2"]
    assert (first.prompt_id, first.domain, first.prompt_token_ids) == ("id of k0", "words", (3,))
    assert [scored.completion.text for scored in first.completions] == ["cba0", "cba1"]
    assert [scored.components for scored in first.completions] == [{"length/characters": 4}] * 2, "a second try helped"
    assert [scored.labels for scored in first.completions] == [{"length": "measured"}] * 2
    assert [scored.components for scored in second.completions] == [{}, {}], "missing is no number"
    assert [scored.missing for scored in second.completions] == [{"length": "UNAVAILABLE"}] * 2
    assert [(scored.components, scored.missing) for scored in third.completions] == [({}, {})] * 2
    assert [scored.ref_logprobs for scored in third.completions] == [(-0.5, -2.5), (-1.5, -2.5)]
    assert [scored.teacher_logprobs for scored in third.completions] == [(-1.0, -5.0), (-3.0, -5.0)]
    assert {scored.completion.policy_version for group in found.values() for scored in group.completions} == {4}
    calls = sum((Counter(experience.calls) for experience in experiences), Counter())
    # groups that are sampled at about the same time ask their scorer, twice, and for their log-probabilities together
    assert calls["length"] in (2, 4), "every call is counted with one group"
    assert 1 + 2 <= calls["rollout"] <= 1 + 2 * 3
    assert len({item.id for item in bench.scorer.items}) == 4
    assert experiences[0].key == "k2", "nothing to wait for"
    assert SECRET not in worker.log


def test_a_group_that_fails_says_why_and_hides_no_other(bench: Bench, workers: Any) -> None:
    worker = workers.one("rollouts")
    bench.collections.enqueue(bench.request("a", policy="nobody", prompts=[prompt("a", text=SECRET)]))
    scorers = {"words": ["unheard_of"], "wrong": ["crooked"], "good": ["length"]}
    prompts = [prompt(domain, domain=domain, text=SECRET) for domain in scorers]
    bench.collections.enqueue(bench.request("b", scorers=scorers, prompts=prompts))
    errors = {experience.key: experience.error for experience in bench.receive("a", *scorers)}
    assert "NOT_FOUND: no policy 'nobody'" in errors["a"]
    assert "no address for 'unheard_of': ASSAY_UNHEARD_OF_ADDRESS is not set" in errors["words"]
    assert errors["wrong"] == "address 'no port' has no port; write host:port"
    assert errors["good"] == ""
    assert SECRET not in "".join(errors.values()) + worker.log


def test_a_slow_score_holds_up_no_other_group(bench: Bench, workers: Any) -> None:
    workers.one("rollouts")
    bench.scorer.hold.set()
    prompts = [prompt("slow", checks={"fails": "held"}), *(prompt(f"k{number}") for number in range(7))]
    bench.collections.enqueue(bench.request("task", prompts=prompts))
    keys = [each["key"] for each in prompts]
    assert {experience.key for experience in bench.receive(*keys[1:])} == set(keys[1:])
    assert bench.receive("slow", seconds=0.1) == []
    bench.scorer.hold.clear()
    (slow,) = bench.receive("slow")
    assert [scored.components for scored in groups([slow])["slow"].completions] == [{"length/characters": 4}] * 2


def test_a_group_comes_while_others_are_sampled(bench: Bench, workers: Any) -> None:
    workers.one("rollouts")
    bench.policy.held_text = "long"
    prompts = [prompt("a"), prompt("b"), prompt("long", text="long")]
    bench.collections.enqueue(bench.request("task", prompts=prompts, samples=1))
    assert {experience.key for experience in bench.receive("a", "b")} == {"a", "b"}
    assert bench.receive("long", seconds=0.1) == []
    bench.policy.held_text = ""
    assert [experience.error for experience in bench.receive("long")] == [""]


def test_a_policy_that_goes_away_in_between_costs_nothing(bench: Bench, workers: Any, redis: Redis) -> None:
    workers.one("rollouts")
    bench.policy.breaks_after = 4  # completions of three prompts, one after the other: the first has both of its own
    bench.collections.enqueue(bench.request("task", prompts=[prompt("a"), prompt("b"), prompt("c")]))
    found = groups(bench.receive("a", "b", "c"))
    assert {key: len(group.completions) for key, group in found.items()} == {"a": 2, "b": 2, "c": 2}
    assert {scored.completion.text for group in found.values() for scored in group.completions} == {"cba0", "cba1"}
    asked = [[each.id for each in request.prompts] for request in bench.policy.asked]
    assert asked == [["id of a", "id of b", "id of c"], ["id of b", "id of c"]]
    nothing_more(bench, redis, "a", "b", "c")


def test_a_worker_that_slept_through_its_lease_delivers_nothing_twice(bench: Bench, workers: Any, redis: Redis) -> None:
    asleep = workers.one("rollouts")
    bench.policy.hold.set()
    bench.collections.enqueue(bench.request("k"))
    while not bench.policy.asked:
        time.sleep(0.02)
    asleep.process.send_signal(signal.SIGSTOP)
    workers.another("rollouts")
    while len(bench.policy.asked) < 2:
        time.sleep(0.02)
    bench.policy.hold.clear()
    assert len(bench.receive("k")) == 1
    asleep.process.send_signal(signal.SIGCONT)
    while asleep.log.count('"event": "collected"') < 1:
        time.sleep(0.02)
    nothing_more(bench, redis, "k")


def test_what_was_sampled_before_the_policy_failed_is_not_lost(bench: Bench, workers: Any) -> None:
    workers.one("rollouts")
    bench.policy.held_text = "for ever"
    prompts = [prompt("a"), prompt("never", text="for ever")]
    bench.collections.enqueue(bench.request("task", prompts=prompts, samples=1, timeout_seconds=1))
    found = {experience.key: experience for experience in bench.receive("a", "never")}
    assert found["a"].error == "" and "DEADLINE_EXCEEDED" in found["never"].error


def test_what_is_scored_too_late_is_missing(bench: Bench, workers: Any) -> None:
    workers.one("rollouts")
    bench.scorer.hold.set()
    prompts = [prompt("late", checks={"fails": "held"}), prompt("soon")]
    bench.collections.enqueue(bench.request("task", prompts=prompts, timeout_seconds=1))
    found = groups(bench.receive("late", "soon"))
    assert [(scored.components, scored.missing) for scored in found["late"].completions] == [
        ({}, {"length": "DEADLINE"})
    ] * 2
    assert [scored.missing for scored in found["soon"].completions] == [{}, {}]


def test_a_killed_worker_s_groups_come_once_and_only_those_left_are_made_again(
    bench: Bench, workers: Any, redis: Redis
) -> None:
    worker = workers.one("rollouts")
    bench.scorer.hold.set()
    prompts = [prompt("held", checks={"fails": "held"}), prompt("a"), prompt("b")]
    bench.collections.enqueue(bench.request("task", prompts=prompts))
    assert {experience.key for experience in bench.receive("a", "b")} == {"a", "b"}
    bench.policy.hold.set()
    bench.collections.enqueue(bench.request("not begun"))
    while len(bench.policy.asked) < 2:
        time.sleep(0.02)
    worker.kill()
    bench.policy.hold.clear()
    bench.scorer.hold.clear()
    workers.one("rollouts")
    assert {experience.key for experience in bench.receive("held", "not begun")} == {"held", "not begun"}
    asked = sorted(tuple(each.id for each in request.prompts) for request in bench.policy.asked[2:])
    assert asked == [("id of held",), ("id of not begun",)]
    nothing_more(bench, redis, "held", "a", "b", "not begun")


def test_deliveries_of_one_key_make_one_experience(bench: Bench, workers: Any, redis: Redis) -> None:
    bench.policy.hold.set()
    workers.one("rollouts")
    for _ in range(3):
        bench.collections.enqueue(bench.request("k"))
    bench.collections.enqueue(bench.request("another task", prompts=[prompt("k")]))
    time.sleep(2.5)  # longer than the visibility time-out: the first message is delivered again as well
    bench.policy.hold.clear()
    assert len(bench.receive("k")) == 1
    nothing_more(bench, redis, "k")
    assert len(bench.policy.asked) == 2, "one for each task"
    bench.collections.enqueue(bench.request("k"))
    assert len(bench.receive("k")) == 1, "a trainer that asks again after taking it gets it again"


def test_what_is_withdrawn_is_not_made(bench: Bench, workers: Any, redis: Redis) -> None:
    workers.one("rollouts")
    prompts = [prompt("a"), prompt("b"), prompt("c", checks={"fails": "held"})]
    bench.collections.withdraw(["b"])
    bench.collections.enqueue(bench.request("none", prompts=[prompt("b")]))
    assert len(bench.receive("b")) == 1, "who asks again wants it again"
    bench.policy.hold.set()
    bench.collections.enqueue(bench.request("task", prompts=prompts))
    while len(bench.policy.asked) < 2:
        time.sleep(0.02)
    bench.collections.withdraw(["a"])
    bench.scorer.items.clear()
    bench.policy.hold.clear()
    assert {experience.key for experience in bench.receive("b", "c")} == {"b", "c"}
    assert not any(item.id.startswith("a/") for item in bench.scorer.items), "sampled by then, but not scored"
    bench.collections.deliver("run-1", Experience("d", error="x"))
    bench.collections.withdraw(["d", "e"])
    assert not bench.collections.deliver("run-1", Experience("e", error="x"))
    nothing_more(bench, redis, "a", "b", "c", "d", "e")


def test_redis_may_restart_during_a_collection(bench: Bench, workers: Any, redis_server: EmbeddedRedis) -> None:
    bench.policy.hold.set()
    worker = workers.one("rollouts")
    bench.collections.enqueue(bench.request("k"))
    while not bench.policy.asked:
        time.sleep(0.02)
    redis_server.stop()
    time.sleep(1.0)  # long enough for the worker to lose its connection
    redis_server.start()
    bench.policy.hold.clear()
    assert [experience.error for experience in bench.receive("k")] == [""]
    bench.collections.enqueue(bench.request("l"))
    assert len(bench.receive("l")) == 1
    assert "Connection to broker lost" in worker.log and worker.process.poll() is None


def test_a_task_that_is_given_up_begins_no_group(caplog: pytest.LogCaptureFixture) -> None:
    """What is sampled meanwhile would be begun in a task that ends, and be told to asyncio's log."""

    class Away:
        def open(self, keys: list[str]) -> set[str]:
            raise ConnectionError("Redis is away")

    class Ready:
        def generate_stream(self, policy: str, prompts: list[Any], *_: Any, **__: Any) -> Iterator[Finished]:
            completion = Completion((1,), (0.0,), "a", FinishReason.STOP, 4)
            yield from (Finished(place, 0, (1,), completion) for place in range(len(prompts)))

    prompts = [prompt(f"k{number}") for number in range(2000)]
    fields = {"key": "t", "reply_to": "r", "policy": "p", "min_policy_version": 0, "scorers": {"words": []}}
    request = CollectionRequest.model_validate(
        {**fields, "prompts": prompts, "samples": 1, "sampling": {"max_new_tokens": 1}}
    )
    collector: Any = SimpleNamespace(collections=Away(), rollout=Ready(), slots=asyncio.Semaphore(1))
    with pytest.raises(ConnectionError):
        asyncio.run(_Task(collector, request).run())
    assert not caplog.records


def nothing_more(bench: Bench, redis: Redis, *keys: str) -> None:
    """The queue runs empty without a second experience."""
    while redis.llen("rollouts") or redis.hlen("unacked"):
        time.sleep(0.05)
    assert bench.collections.receive(keys, "run-1", 0.1) == []


def test_environments_answer_between_turns(bench: Bench, workers: Any) -> None:
    workers.one("rollouts")
    tool = {"path": "examples.environments.calculator:Calculator"}
    prompts = [prompt("a", text="2*3>clac<"), prompt("free", text="2*3>clac<", domain="free"), prompt("dull")]
    bench.collections.enqueue(bench.request("task", prompts=prompts, environment=tool, sampling={"max_new_tokens": 40}))
    broken = {"path": "examples.environments.calculator:Calculator", "kwargs": {"colour": "red"}}
    bench.collections.enqueue(bench.request("broken", environment=broken))
    bench.collections.enqueue(bench.request("nowhere", environment={"path": "examples.nothing:Here"}))
    experiences = bench.receive("a", "free", "dull", "broken", "nowhere")
    errors = {experience.key: experience.error for experience in experiences if experience.error}
    assert errors.keys() == {"nowhere"} and "'examples.nothing:Here' cannot be imported" in errors["nowhere"]
    found = groups(experiences)
    texts = ["<calc>3*20 = 60\n\n06 = 0", "<calc>3*21 = 63\n\n36 = 0"]
    for key in ("a", "free"):
        completions = [scored.completion for scored in found[key].completions]
        assert [completion.text for completion in completions] == texts
        assert [completion.token_ids for completion in completions] == [(0, 2, 6, 0, 2), (1, 2, 6, 0, 2)]
        assert {completion.given for completion in completions} == {(False, False, True, False, False)}
    assert [scored.components["length/characters"] for scored in found["a"].completions] == list(map(len, texts))
    assert [scored.completion.given for scored in found["dull"].completions] == [(), ()]
    for scored in found["broken"].completions:
        assert (scored.components, scored.missing) == ({}, {"length": "environment: TypeError"})
