"""Collections with real workers, a real Redis and real sockets. The policy and the scorer behind the sockets are small
stand-ins of this file, so that a test can hold them up, break them, and count what was asked of them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from pydantic import ValidationError
from redis import Redis

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc, scoring_pb2, scoring_pb2_grpc
from services.experience import Experience
from services.queue.app import make_app
from services.queue.collection import CollectionRequest, Collections
from services.queue.embedded_redis import EmbeddedRedis

SECRET = "a prompt that nobody but the policy may see"


class StandInPolicy(rollout_pb2_grpc.RolloutServicer):
    """Answers each prompt with its text reversed; waits while `hold` is set; refuses the policy `nobody`."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.asked: list[Any] = []

    def Generate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(request)
        if request.policy == "nobody":
            context.abort(grpc.StatusCode.NOT_FOUND, "no policy 'nobody'")
        while self.hold.is_set() and context.is_active():
            time.sleep(0.01)
        answer = rollout_pb2.GenerateResponse()
        for prompt in request.prompts:
            completions = answer.prompts.add(id=prompt.id, prompt_token_ids=[len(prompt.text)])
            for sample in range(request.samples):
                completions.completions.add(
                    token_ids=[sample, 2],
                    logprobs=[-0.5, -0.25],
                    text=f"{prompt.text[::-1]}{sample}",
                    finish_reason="STOP",
                    policy_version=request.min_policy_version,
                )
        return answer

    def Logprobs(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = rollout_pb2.LogprobsResponse(policy_version=1)
        for sequence in request.sequences:
            answer.sequences.add(logprobs=[-float(token) - 0.5 for token in sequence.completion_token_ids])
        return answer


class StandInScorer(scoring_pb2_grpc.ScorerServicer):
    """Gives `length/characters`; an item whose checks say so is missing, always or once."""

    def __init__(self) -> None:
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
            if fails == "always" or (fails == "once" and not again):
                result.error.reason = scoring_pb2.ItemError.UNAVAILABLE
            else:
                result.verdict.components["length/characters"] = len(item.response)
                result.verdict.label = "measured"
        return answer


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
            "prompts": [{"id": "p0", "domain": "words", "text": "abc", "checks": {}}],
            "samples": 2,
            "sampling": {"max_new_tokens": 8, "seed": 1},
            "scorers": {"words": ["length"], "free": []},
            "timeout_seconds": 30,
        }
        return CollectionRequest.model_validate({**fields, **changes})

    def collect(self, *keys: str, timeout_seconds: float = 30) -> list[Experience]:
        return list(self.collections.collect(keys, "run-1", timeout_seconds))


@pytest.fixture(scope="module")
def stand_ins(module_environment: pytest.MonkeyPatch) -> Iterator[tuple[StandInPolicy, StandInScorer]]:
    policy, scorer = StandInPolicy(), StandInScorer()
    server = grpc.server(ThreadPoolExecutor(8))
    rollout_pb2_grpc.add_RolloutServicer_to_server(policy, server)
    scoring_pb2_grpc.add_ScorerServicer_to_server(scorer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for name in ("ROLLOUT", "LENGTH"):
        module_environment.setenv(f"ASSAY_{name}_ADDRESS", f"127.0.0.1:{port}")
    yield policy, scorer
    policy.hold.clear()
    server.stop(None).wait()


@pytest.fixture
def bench(stand_ins: tuple[StandInPolicy, StandInScorer], redis: Redis, redis_server: EmbeddedRedis) -> Bench:
    policy, scorer = stand_ins
    policy.hold.clear()
    policy.asked.clear()
    scorer.items.clear()
    return Bench(Collections(redis, make_app(redis_server.url)), policy, scorer)


def test_samples_come_back_scored(bench: Bench, workers: Any) -> None:
    prompts = [
        {"id": "p0", "domain": "words", "text": "abc", "checks": {"fails": "once"}},
        {"id": "p1", "domain": "words", "text": SECRET, "checks": {"fails": "always"}},
        {"id": "p2", "domain": "free", "text": "xyz"},
    ]
    bench.collections.enqueue(bench.request("k", prompts=prompts, reference_policy="anchor", scoring_attempts=2))
    worker = workers.one("rollouts")
    (experience,) = bench.collect("k")
    assert experience.error == ""
    first, second, third = experience.groups
    assert (first.prompt_id, first.domain, first.prompt_token_ids) == ("p0", "words", (3,))
    assert [scored.completion.text for scored in first.completions] == ["cba0", "cba1"]
    assert [scored.components for scored in first.completions] == [{"length/characters": 4}] * 2, "a second try helped"
    assert [scored.labels for scored in first.completions] == [{"length": "measured"}] * 2
    assert [scored.components for scored in second.completions] == [{}, {}], "missing is no number"
    assert [scored.missing for scored in second.completions] == [{"length": "UNAVAILABLE"}] * 2
    assert [(scored.components, scored.missing) for scored in third.completions] == [({}, {})] * 2
    assert [scored.ref_logprobs for scored in third.completions] == [(-0.5, -2.5), (-1.5, -2.5)]
    assert {scored.completion.policy_version for group in experience.groups for scored in group.completions} == {4}
    assert experience.calls == {"rollout": 2, "length": 2}
    assert len({item.id for item in bench.scorer.items}) == 4
    assert experience.generate_seconds > 0 and experience.score_seconds > 0.2, "the pause before the second try counts"
    assert SECRET not in worker.log


def test_a_collection_that_fails_says_why_and_names_no_prompt(bench: Bench, workers: Any) -> None:
    worker = workers.one("rollouts")
    prompts = [{"id": "p0", "domain": "words", "text": SECRET}]
    bench.collections.enqueue(bench.request("a", policy="nobody", prompts=prompts))
    bench.collections.enqueue(bench.request("b", scorers={"words": ["unheard_of"]}, prompts=prompts))
    errors = {experience.key: experience.error for experience in bench.collect("a", "b")}
    assert "NOT_FOUND: no policy 'nobody'" in errors["a"]
    assert errors["b"].startswith("the collector failed with ")
    assert SECRET not in "".join(errors.values()) + worker.log


def test_a_killed_worker_s_collection_comes_once(bench: Bench, workers: Any, redis: Redis) -> None:
    bench.policy.hold.set()
    worker = workers.one("rollouts")
    bench.collections.enqueue(bench.request("k"))
    while not bench.policy.asked:
        time.sleep(0.02)
    worker.kill()
    bench.policy.hold.clear()
    workers.one("rollouts")
    (experience,) = bench.collect("k")
    assert len(experience.groups) == 1 and len(bench.policy.asked) == 2
    nothing_more(bench, redis)


def test_deliveries_of_one_key_make_one_experience(bench: Bench, workers: Any, redis: Redis) -> None:
    bench.policy.hold.set()
    workers.one("rollouts")
    for _ in range(3):
        bench.collections.enqueue(bench.request("k"))
    time.sleep(2.5)  # longer than the visibility time-out: the first message is delivered again as well
    bench.policy.hold.clear()
    assert len(bench.collect("k")) == 1
    nothing_more(bench, redis)
    assert len(bench.policy.asked) == 1
    bench.collections.enqueue(bench.request("k"))
    assert len(bench.collect("k")) == 1, "a trainer that asks again after taking it gets it again"


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
    assert [experience.error for experience in bench.collect("k")] == [""]
    bench.collections.enqueue(bench.request("l"))
    assert len(bench.collect("l")) == 1
    assert "Connection to broker lost" in worker.log and worker.process.poll() is None


def nothing_more(bench: Bench, redis: Redis) -> None:
    """The queue runs empty without a second experience."""
    while redis.llen("rollouts") or redis.hlen("unacked"):
        time.sleep(0.05)
    with pytest.raises(TimeoutError):
        bench.collect("k", timeout_seconds=0.1)


# ---- without a worker


def test_experiences_come_in_order_of_arrival_without_strangers_and_doubles(bench: Bench) -> None:
    for key in ("b", "stranger", "a", "b"):
        bench.collections.deliver("run-1", Experience(key, error="x"))
    assert not bench.collections.deliver("run-1", Experience("b", error="late"))
    iterator = bench.collections.collect(["a", "b", "c"], "run-1", 30)
    assert {next(iterator).key, next(iterator).key} == {"a", "b"}
    threading.Timer(0.2, bench.collections.deliver, ["run-1", Experience("c", error="x")]).start()
    assert [experience.key for experience in iterator] == ["c"]


def test_a_ring_that_was_lost_is_made_up_for(bench: Bench, redis: Redis) -> None:
    bench.collections.deliver("run-1", Experience("before", error="x"))
    redis.delete("assay:bell:run-1")
    lost = threading.Timer(0.2, bench.collections.deliver, ["another-bell", Experience("during", error="x")])
    lost.start()
    assert [experience.key for experience in bench.collect("before", "during")] == ["before", "during"]


def test_the_trainer_is_told_what_is_outstanding(bench: Bench) -> None:
    bench.collections.deliver("run-1", Experience("a", error="x"))
    with pytest.raises(TimeoutError, match=r"2 of 3 collections did not come within 0\.1 seconds; one of them is 'b'"):
        bench.collect("a", "b", "c", timeout_seconds=0.1)


def test_memory_is_given_free_and_what_was_not_taken_stays(bench: Bench, redis: Redis) -> None:
    for key in ("a", "b"):
        bench.collections.deliver("run-1", Experience(key, error="x"))
    iterator = bench.collections.collect(["a", "b"], "run-1", 1)
    next(iterator), next(iterator)
    assert redis.strlen("assay:experience:a") == 0 and redis.ttl("assay:experience:a") > 0
    assert redis.strlen("assay:experience:b") > 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"samples": 0}, "samples"),
        ({"prompts": []}, "prompts"),
        ({"prompts": [{"id": "p", "domain": "unknown", "text": "t"}]}, "prompts[0].domain"),
        ({"sampling": {"max_new_tokens": 8, "temperature": -1}}, "sampling.temperature"),
        ({"sampling": {"max_new_tokens": 0}}, "sampling.max_new_tokens"),
        ({"sampling": {"max_new_tokens": 8, "seed": 2**64}}, "sampling.seed"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"colour": "red"}, "colour"),
        ({"prompts": [{"id": "p", "domain": "math", "text": "private \ud800"}]}, "prompts.0.text"),
    ],
)
def test_bad_requests_name_the_field(bench: Bench, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        bench.request("k", **changes)
    assert field in str(refused.value)
    assert "private" not in str(refused.value), "it ends in the trainer's log"
