"""Calls that groups share: asked together, answered apart, and failing alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import ClassVar

import grpc
import pytest

from services.client.channel import ServiceError, ServiceUnavailableError
from services.queue.shared_calls import RUNS, Logprobs, Scorers
from services.rollout.engine import SequenceLogprobs, TokenSequence
from services.scored import Scored
from services.verdicts import Item


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
        counted = Counter()
        answers = await asyncio.gather(
            logprobs.ask("a", sequences(2, 3), soon + 9, counted),
            logprobs.ask("b", sequences(4), soon, counted),
            logprobs.ask("a", sequences(5), soon, counted),
        )
        return answers, policy.asked, counted

    answers, calls, counted = asyncio.run(asked())
    assert answers == [((-2.0, -3.0), (-3.0, -4.0)), ((-4.0, -5.0),), ((-5.0, -6.0),)]
    assert sorted((policy, count) for policy, count, _ in calls) == [("a", 3), ("b", 1)]
    assert all(seconds <= 5 for _, _, seconds in calls)  # the earliest deadline holds for all
    assert counted == {"rollout": 2}


def test_one_groups_fault_is_not_anothers():
    async def asked():
        logprobs = Logprobs(Policy())  # pyright: ignore[reportArgumentType]
        soon = time.monotonic() + 5
        tasks = [logprobs.ask("a", sequences(token), soon, Counter()) for token in (2, 13, 5)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(asked())
    assert (first, third) == (((-2.0, -3.0),), ((-5.0, -6.0),))
    assert isinstance(second, ServiceError) and "token 13" in str(second)


def test_a_service_that_is_away_is_waited_for_once():
    class Away:
        asked = 0

        def logprobs(self, *_, **__):
            self.asked += 1
            raise ServiceUnavailableError("rollout", "here", grpc.StatusCode.UNAVAILABLE, "away")

    async def asked():
        policy = Away()
        logprobs = Logprobs(policy)  # pyright: ignore[reportArgumentType]
        soon = time.monotonic() + 5
        found = await asyncio.gather(
            *(logprobs.ask("a", sequences(n), soon, Counter()) for n in range(3)), return_exceptions=True
        )
        return found, policy.asked

    found, times = asyncio.run(asked())
    assert [type(each) for each in found] == [ServiceUnavailableError] * 3
    assert times == 1


def test_a_group_that_is_given_up_takes_nothing_from_the_others():
    async def asked():
        logprobs = Logprobs(Policy())  # pyright: ignore[reportArgumentType]
        soon = time.monotonic() + 5
        given_up = asyncio.create_task(logprobs.ask("a", sequences(13), soon, Counter()))
        kept = asyncio.create_task(logprobs.ask("a", sequences(2), soon, Counter()))
        await asyncio.sleep(0)
        given_up.cancel()
        return await kept, given_up

    answer, given_up = asyncio.run(asked())
    assert answer == ((-2.0, -3.0),) and given_up.cancelled()


class Clients:
    """Scorers `quick` and `slow`: each says how long the response is, the slow one of `late` after `seconds`."""

    seconds = 1.2
    made: ClassVar[list] = []

    def __init__(self, addresses, *, retries):
        self.asked, self.closed, self.calls = [], False, dict.fromkeys(addresses, 0)
        self.made.append(self)

    async def score(self, items, timeout_seconds):
        ((scorer, asked),) = items.items()
        self.asked.append((scorer, [item.id for item in asked]))
        self.calls = {**self.calls, scorer: self.calls[scorer] + 1}
        await asyncio.sleep(self.seconds if any(item.response == "late" for item in asked) else 0.0)
        return {item.id: Scored({f"{scorer}/length": len(item.response)}, {}, {scorer: "measured"}) for item in asked}

    async def close(self):
        self.closed = True


@pytest.fixture
def clients(monkeypatch):
    monkeypatch.setattr("services.queue.shared_calls.AsyncScoring", Clients)
    monkeypatch.setattr(Clients, "made", [])
    return Clients.made


def items(*responses):
    return [Item(response + str(n), "prompt", response, {}) for n, response in enumerate(responses)]


async def ask(scorers, addresses, *responses, run="run"):
    """What is said, and the calls that were counted with it."""
    calls = Counter()
    return await scorers.score(run, addresses, 2, items(*responses), time.monotonic() + 5, calls), calls


def test_groups_ask_a_quick_scorer_together_and_each_gets_its_own(clients):
    async def play():
        scorers, both = Scorers(), {"quick": "here:1", "other": "here:2"}
        first, calls = await ask(scorers, both, "a")
        labels = {"quick": "measured", "other": "measured"}
        assert first == {"a0": Scored({"quick/length": 1, "other/length": 1}, {}, labels)}
        assert calls == {"quick": 1, "other": 1}
        answers = await asyncio.gather(ask(scorers, both, "bb", "ccc"), ask(scorers, both, "dddd"))
        assert [sorted(answer) for answer, _ in answers] == [["bb0", "ccc1"], ["dddd0"]]
        assert answers[1][0]["dddd0"].components == {"quick/length": 4, "other/length": 4}
        assert sum((calls for _, calls in answers), Counter()) == {"quick": 1, "other": 1}
        return clients[0].asked

    asked = asyncio.run(play())
    assert sorted(asked[2:]) == [("other", ["bb0", "ccc1", "dddd0"]), ("quick", ["bb0", "ccc1", "dddd0"])]


def test_a_group_without_time_costs_no_other_its_scores(clients):
    """Together with one whose deadline is near, the others' items would be missing for that deadline."""

    async def play():
        scorers = Scorers()
        await ask(scorers, {"quick": "here:1"}, "a")
        hurried = scorers.score("run", {"quick": "here:1"}, 2, items("bb"), time.monotonic() + 0.2, Counter())
        return await asyncio.gather(hurried, ask(scorers, {"quick": "here:1"}, "ccc"))

    asyncio.run(play())
    assert sorted(clients[0].asked[1:]) == [("quick", ["bb0"]), ("quick", ["ccc0"])]


async def told(scorers, response):
    answer, _ = await ask(scorers, {"slow": "here:1"}, response)
    return response, list(answer)


def test_a_group_that_leaves_ends_nobody_elses_call(clients):
    async def play():
        scorers = Scorers()
        await told(scorers, "a")
        leaves, stays = asyncio.create_task(told(scorers, "b")), asyncio.create_task(told(scorers, "cc"))
        await asyncio.sleep(0)
        leaves.cancel()
        return await stays

    assert asyncio.run(play()) == ("cc", ["cc0"])


def test_connections_are_one_runs_and_the_oldest_are_closed(clients):
    async def play():
        scorers = Scorers()
        for n in range(RUNS + 1):
            for _ in range(2):
                await ask(scorers, {"quick": "here:1"}, "a", run=f"run-{n}")

    asyncio.run(play())
    assert [each.closed for each in clients] == [True] + [False] * RUNS


def test_connections_in_use_are_never_closed(clients):
    async def play():
        scorers = Scorers()
        asked = [
            asyncio.create_task(ask(scorers, {"quick": "here:1"}, "late", run=f"run-{n}")) for n in range(RUNS + 4)
        ]
        await asyncio.sleep(0.05)
        assert not any(each.closed for each in clients) and len(clients) == RUNS + 4
        assert all(answer for answer, _ in await asyncio.gather(*asked))

    asyncio.run(play())
    assert sum(each.closed for each in clients) == 4


def test_an_error_that_is_no_services_reaches_everyone():
    class Broken:
        def logprobs(self, *_, **__):
            raise RuntimeError("boom")

    async def asked():
        logprobs = Logprobs(Broken())  # pyright: ignore[reportArgumentType]
        with pytest.raises(RuntimeError, match="boom"):
            await logprobs.ask("a", sequences(1), time.monotonic() + 5, Counter())

    asyncio.run(asked())
