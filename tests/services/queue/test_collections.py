"""The way between trainer and collectors, without workers: what is received, once, in which order, and at what cost."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from services.experience import Experience
from services.queue.app import make_app
from services.queue.collection import CollectionRequest, Collections
from services.queue.connection import connect
from services.queue.embedded_redis import EmbeddedRedis


@pytest.fixture
def collections(redis: Redis, redis_server: EmbeddedRedis) -> Collections:
    return Collections(redis, make_app(redis_server.url))


def request(**changes: Any) -> CollectionRequest:
    fields: dict[str, Any] = {
        "key": "task",
        "reply_to": "run-1",
        "policy": "policy",
        "min_policy_version": 4,
        "prompts": [{"key": "k", "id": "p0", "domain": "words", "text": "abc"}],
        "samples": 2,
        "sampling": {"max_new_tokens": 8, "seed": 1},
        "scorers": {"words": ["length"]},
    }
    return CollectionRequest.model_validate({**fields, **changes})


def keys(experiences: list[Experience]) -> list[str]:
    return [experience.key for experience in experiences]


def test_experiences_come_in_order_of_arrival_without_strangers_and_doubles(collections: Collections) -> None:
    for key in ("b", "stranger", "a", "b"):
        collections.deliver("run-1", Experience(key, error="x"))
    assert not collections.deliver("run-1", Experience("b", error="late"))
    wanted = ["a", "b", "c", "a"]
    received = collections.receive(wanted, "run-1", 30)
    assert [(experience.key, experience.error) for experience in received] == [("b", "x"), ("a", "x")]
    assert collections.receive(wanted, "run-1", 0.0) == [], "received once"
    threading.Timer(0.2, collections.deliver, ["run-1", Experience("c", error="x")]).start()
    assert keys(collections.receive(wanted, "run-1", 30)) == ["c"]
    assert keys(collections.receive(["stranger"], "another-bell", 0.0)) == ["stranger"]


def test_waiting_ends_in_time_whoever_else_rings(collections: Collections) -> None:
    collections.deliver("run-1", Experience("stranger", error="x"))
    assert collections.receive(["a"], "run-1", 0.05) == []
    assert collections.receive([], "run-1", 0.05) == []


def test_a_ring_that_was_lost_is_made_up_for(collections: Collections, redis: Redis) -> None:
    collections.deliver("run-1", Experience("before", error="x"))
    redis.delete("assay:bell:run-1")
    assert keys(collections.receive(["before", "during"], "run-1", 30)) == ["before"]
    threading.Timer(0.2, collections.deliver, ["another-bell", Experience("during", error="x")]).start()
    assert keys(collections.receive(["during"], "run-1", 30)) == ["during"]


def test_memory_is_given_free_and_what_was_not_received_stays(collections: Collections, redis: Redis) -> None:
    for key in ("a", "b"):
        collections.deliver("run-1", Experience(key, error="x"))
    collections.receive(["a"], "run-1", 1)
    assert redis.strlen("assay:experience:a") == 0 and redis.ttl("assay:experience:a") > 0
    assert redis.strlen("assay:experience:b") > 0


def test_many_outstanding_keys_cost_one_command_and_no_bytes_twice(collections: Collections, redis: Redis) -> None:
    outstanding = [f"key-{number}" for number in range(500)]
    megabyte = "x" * 2**20
    for key in outstanding[:20]:
        collections.deliver("run-1", Experience(key, error=megabyte))
    received: list[str] = []
    before: Any = redis.info("stats")
    while found := collections.receive([key for key in outstanding if key not in received], "run-1", 0.0):
        assert len(found) <= 8
        received += keys(found)
    after: Any = redis.info("stats")
    assert received == outstanding[:20]
    assert after["total_net_output_bytes"] - before["total_net_output_bytes"] < 20.5 * 2**20


def test_what_is_received_while_redis_cannot_note_it_is_not_lost(
    collections: Collections, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = Collections(connect(redis_server.url, patience_seconds=0.1), make_app(redis_server.url))
    hasty.deliver("run-1", Experience("a", error="x"))
    look = hasty._look

    def look_and_lose_redis(**arguments: Any) -> Any:
        answer = look(**arguments)
        redis_server.stop()
        return answer

    monkeypatch.setattr(hasty, "_look", look_and_lose_redis)
    try:
        assert keys(hasty.receive(["a"], "run-1", 1)) == ["a"]
    finally:
        redis_server.start()


def test_redis_without_its_memory_gives_nothing_and_takes_anew(collections: Collections, redis: Redis) -> None:
    collections.deliver("run-1", Experience("a", error="x"))
    collections.receive(["a"], "run-1", 1)
    collections.deliver("run-1", Experience("b", error="x"))
    redis.flushall()
    redis.script_flush()
    assert collections.receive(["b"], "run-1", 0.05) == []
    assert collections.deliver("run-1", Experience("a", error="a second time"))
    assert collections.receive(["b"], "run-1", 0.05) == [], "nobody asks for a key that was received"
    collections.enqueue(request(prompts=[{"key": "b", "id": "p", "domain": "words", "text": "t"}]))
    collections.deliver("run-1", Experience("b", error="again"))
    assert keys(collections.receive(["b"], "run-1", 1)) == ["b"]


def test_only_what_was_received_or_withdrawn_is_asked_for_anew(collections: Collections) -> None:
    prompts = [
        {"key": key, "id": key, "domain": "words", "text": "t"} for key in ("new", "waits", "taken", "withdrawn")
    ]
    for key in ("waits", "taken"):
        collections.deliver("run-1", Experience(key, error="x"))
    collections.receive(["taken"], "run-1", 1)
    collections.withdraw(["withdrawn"])
    asked = [prompt["key"] for prompt in prompts]
    assert collections.open(asked) == {"new"}
    collections.enqueue(request(prompts=prompts))
    assert collections.open(asked) == {"new", "taken", "withdrawn"}
    assert keys(collections.receive(asked, "run-1", 1)) == ["waits"]


def test_withdrawn_groups_are_deleted_and_never_come(collections: Collections, redis: Redis) -> None:
    collections.deliver("run-1", Experience("a", error="x"))
    collections.withdraw(["a", "b"])
    assert not collections.deliver("run-1", Experience("b", error="x"))
    assert collections.receive(["a", "b"], "run-1", 0.05) == []
    assert redis.strlen("assay:experience:a") == 0 and redis.ttl("assay:experience:b") > 0
    collections.withdraw([])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"samples": 0}, "samples"),
        ({"prompts": []}, "prompts"),
        ({"prompts": [{"key": "k", "id": "p", "domain": "unknown", "text": "t"}]}, "prompts[0].domain"),
        (
            {"prompts": [{"key": k, "id": "p", "domain": "words", "text": "t"} for k in "ab"]},
            "the id 'p' is there twice",
        ),
        (
            {"prompts": [{"key": "k", "id": i, "domain": "words", "text": "t"} for i in "ab"]},
            "the key 'k' is there twice",
        ),
        ({"sampling": {"max_new_tokens": 8, "temperature": -1}}, "sampling.temperature"),
        ({"sampling": {"max_new_tokens": 0}}, "sampling.max_new_tokens"),
        ({"sampling": {"max_new_tokens": 8, "seed": 2**64}}, "sampling.seed"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"colour": "red"}, "colour"),
        ({"prompts": [{"key": "k", "id": "p", "domain": "math", "text": "private \ud800"}]}, "prompts.0.text"),
    ],
)
def test_bad_requests_name_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        request(**changes)
    assert field in str(refused.value)
    assert "private" not in str(refused.value), "it ends in the trainer's log"
