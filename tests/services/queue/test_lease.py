"""Leases: one holder at a time, tokens that grow, and a holder that notices that it lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from services.queue.embedded_redis import EmbeddedRedis
from services.queue.lease import Leases


def test_one_holder_and_growing_tokens(redis: Redis) -> None:
    leases = Leases(redis)
    first = leases.acquire("a")
    assert first is not None
    assert leases.acquire("a") is None
    other = leases.acquire("b")
    assert other is not None and other > first
    leases.release("a", first)
    second = leases.acquire("a")
    assert second is not None and second > other


def test_sixteen_threads_get_one_lease(redis: Redis) -> None:
    leases = Leases(redis)
    barrier = threading.Barrier(16)

    def take(_: int) -> int | None:
        barrier.wait()
        return leases.acquire("contested")

    with ThreadPoolExecutor(16) as pool:
        tokens = list(pool.map(take, range(16)))
    assert sum(token is not None for token in tokens) == 1


def test_a_lease_that_ran_out_goes_to_the_next_and_the_old_holder_cannot_renew_or_release(redis: Redis) -> None:
    leases = Leases(redis, seconds=0.05)
    old = leases.acquire("a")
    assert old is not None
    time.sleep(0.06)
    new = Leases(redis).acquire("a")
    assert new is not None and new > old
    assert not leases.check("a", old)
    assert not leases.renew("a", old)
    leases.release("a", old)
    assert leases.check("a", new)
    assert leases.acquire("a") is None, "the old holder's release must not free the new holder's lease"


def test_a_late_renewal_holds_where_nobody_came(redis: Redis) -> None:
    leases = Leases(redis, seconds=0.05)
    token = leases.acquire("a")
    assert token is not None
    time.sleep(0.06)
    assert leases.check("a", token)
    assert Leases(redis).renew("a", token)
    assert leases.acquire("a") is None


def test_a_released_lease_is_not_renewed_for_another(redis: Redis) -> None:
    leases = Leases(redis)
    token = leases.acquire("a")
    assert token is not None
    leases.release("a", token)
    assert leases.acquire("a") is not None
    assert not leases.renew("a", token)


def test_hold_renews_and_gives_back(redis: Redis) -> None:
    leases = Leases(redis, seconds=0.15)
    with leases.hold("a") as lease:
        assert lease is not None
        time.sleep(0.5)
        assert not lease.lost.is_set()
        with leases.hold("a") as second:
            assert second is None
    assert leases.acquire("a") is not None


def test_the_holder_learns_that_it_lost(redis: Redis) -> None:
    leases = Leases(redis, seconds=0.15)
    with leases.hold("a") as lease:
        assert lease is not None
        redis.hset("assay:lease:a", "token", lease.token + 1)
        assert lease.lost.wait(5)
        assert not leases.check("a", lease.token)


def test_a_lease_survives_a_restart_of_redis(redis: Redis, redis_server: EmbeddedRedis) -> None:
    leases = Leases(redis, seconds=5.0)
    with leases.hold("a") as lease:
        assert lease is not None
        redis_server.stop()
        redis_server.start()
        assert leases.check("a", lease.token)
        assert leases.acquire("a") is None


def test_an_exception_in_the_block_gives_the_lease_back(redis: Redis) -> None:
    leases = Leases(redis)
    with pytest.raises(ZeroDivisionError), leases.hold("a"):
        raise ZeroDivisionError
    assert leases.acquire("a") is not None


def test_of_all_copies_one_stands_by(redis: Redis) -> None:
    leases = Leases(redis)
    sent: list[str] = []
    assert leases.acquire("a") is not None
    assert leases.stand_by("a", "", sent.append)
    assert not leases.stand_by("a", "", sent.append), "a second original"
    assert leases.stand_by("a", sent[0], sent.append)
    assert not leases.stand_by("a", sent[0], sent.append), "a double of the copy"
    assert leases.stand_by("a", sent[1], sent.append)
    assert len(sent) == 3


def test_a_copy_that_took_over_leaves_the_place_to_another(redis: Redis) -> None:
    leases = Leases(redis)
    sent: list[str] = []
    token = leases.acquire("a")
    assert token is not None and leases.stand_by("a", "", sent.append)
    leases.release("a", token)
    assert leases.acquire("a") is not None
    assert leases.stand_by("a", sent[0], sent.append), "its own message, delivered again, stands by for it"
    assert not leases.stand_by("a", "", sent.append)


def test_a_copy_that_is_used_up_keeps_nobody_from_standing_by(redis: Redis) -> None:
    leases = Leases(redis)
    sent: list[str] = []
    for _ in range(2):
        token = leases.acquire("a")
        assert token is not None
        assert leases.stand_by("a", "", sent.append), "the copy of the time before took over and is gone"
        leases.release("a", token)


def test_a_worker_that_died_between_sending_and_noting_is_stood_in_for(redis: Redis) -> None:
    leases = Leases(redis)
    assert leases.acquire("a") is not None

    def die(ticket: str) -> None:
        raise KeyboardInterrupt(ticket)

    sent: list[str] = []
    assert leases.stand_by("a", "", sent.append)
    with pytest.raises(KeyboardInterrupt) as died:
        leases.stand_by("a", sent[0], die)
    assert not leases.stand_by("a", died.value.args[0], sent.append)
    assert leases.stand_by("a", sent[0], sent.append)
