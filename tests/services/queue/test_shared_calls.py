"""Calls that groups share: asked together, answered apart, and failing alone."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from services.client.channel import ServiceError
from services.queue.shared_calls import RUNS, Logprobs, Scorers
from services.rollout.engine import SequenceLogprobs, TokenSequence


class Policy:
    """Gives each token minus its id; refuses token 13."""

    def __init__(self):
        self.asked = []

    def logprobs(self, policy, sequences, *, timeout_seconds):
        self.asked.append((policy, len(sequences), timeout_seconds))
        if any(13 in each.completion_token_ids for each in sequences):
            raise ServiceError("rollout", "here", grpc.StatusCode.INVALID_ARGUMENT, "token 13")
        return SequenceLogprobs(tuple(tuple(-float(t) for t in s.completion_token_ids) for s in sequences), 0)


def sequences(*tokens):
    return [TokenSequence((1,), (token, token + 1)) for token in tokens]


def test_what_is_asked_at_the_same_time_is_one_call():
    async def asked():
        policy = Policy()
        logprobs = Logprobs(policy)  # pyright: ignore[reportArgumentType]
        soon = time.monotonic() + 5
        answers = await asyncio.gather(
            logprobs.ask("a", sequences(2, 3), soon + 9),
            logprobs.ask("b", sequences(4), soon),
            logprobs.ask("a", sequences(5), soon),
        )
        return answers, policy.asked, logprobs.calls

    answers, calls, counted = asyncio.run(asked())
    assert answers == [((-2.0, -3.0), (-3.0, -4.0)), ((-4.0, -5.0),), ((-5.0, -6.0),)]
    assert sorted((policy, count) for policy, count, _ in calls) == [("a", 3), ("b", 1)]
    assert all(seconds <= 5 for _, _, seconds in calls)  # the earliest deadline holds for all
    assert counted == 2


def test_one_groups_fault_is_not_anothers():
    async def asked():
        logprobs = Logprobs(Policy())  # pyright: ignore[reportArgumentType]
        soon = time.monotonic() + 5
        tasks = [logprobs.ask("a", sequences(token), soon) for token in (2, 13, 5)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(asked())
    assert (first, third) == (((-2.0, -3.0),), ((-5.0, -6.0),))
    assert isinstance(second, ServiceError) and "token 13" in str(second)


def test_a_group_that_is_given_up_takes_nothing_from_the_others():
    async def asked():
        logprobs = Logprobs(Policy())  # pyright: ignore[reportArgumentType]
        soon = time.monotonic() + 5
        given_up = asyncio.create_task(logprobs.ask("a", sequences(13), soon))
        kept = asyncio.create_task(logprobs.ask("a", sequences(2), soon))
        await asyncio.sleep(0)
        given_up.cancel()
        return await kept, given_up

    answer, given_up = asyncio.run(asked())
    assert answer == ((-2.0, -3.0),) and given_up.cancelled()


def test_connections_are_one_runs_and_the_oldest_are_closed(monkeypatch):
    closed = []

    class Clients:
        def __init__(self, addresses, *, retries):
            self.addresses, self.calls = addresses, {"math": 0}

        async def close(self):
            closed.append(self)

    monkeypatch.setattr("services.queue.shared_calls.AsyncScoring", Clients)

    async def use():
        scorers = Scorers()
        first = await scorers.of("run-0", {"math": "here:1"}, 2)
        assert await scorers.of("run-0", {"math": "here:1"}, 2) is first
        assert await scorers.of("run-0", {"math": "there:1"}, 2) is not first
        first.calls = {"math": 3}
        assert scorers.new_calls(first) == {"math": 3}
        assert scorers.new_calls(first) == {"math": 0}
        for n in range(1, RUNS + 1):
            await scorers.of(f"run-{n}", {"math": "here:1"}, 2)
        assert closed[0] is first and len(closed) == 2

    asyncio.run(use())


def test_an_error_that_is_no_services_reaches_everyone():
    class Broken:
        def logprobs(self, *_, **__):
            raise RuntimeError("boom")

    async def asked():
        logprobs = Logprobs(Broken())  # pyright: ignore[reportArgumentType]
        with pytest.raises(RuntimeError, match="boom"):
            await logprobs.ask("a", sequences(1), time.monotonic() + 5)

    asyncio.run(asked())
