"""Calls that groups share: asked together, answered apart, and failing alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import ClassVar

import grpc
import pytest

from services.client.channel import ServiceError
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


def test_groups_ask_a_quick_scorer_together_and_each_gets_its_own(clients):
    async def play():
        scorers, addresses = Scorers(), {"quick": "here:1", "other": "here:2"}

        def ask(*responses):
            return scorers.score("run", addresses, 2, items(*responses), time.monotonic() + 5)

        first, calls = await ask("a")
        assert first == {
            "a0": Scored({"quick/length": 1, "other/length": 1}, {}, {"quick": "measured", "other": "measured"})
        }
        assert calls == {"quick": 1, "other": 1}
        answers = await asyncio.gather(ask("bb", "ccc"), ask("dddd"))
        assert [sorted(answer) for answer, _ in answers] == [["bb0", "ccc1"], ["dddd0"]]
        assert answers[1][0]["dddd0"].components == {"quick/length": 4, "other/length": 4}
        assert sum((Counter(calls) for _, calls in answers), Counter()) == {"quick": 1, "other": 1}
        return clients[0].asked

    asked = asyncio.run(play())
    assert sorted(asked[2:]) == [("other", ["bb0", "ccc1", "dddd0"]), ("quick", ["bb0", "ccc1", "dddd0"])]


def test_a_scorer_that_was_slow_once_holds_up_no_group_by_anothers_item(clients):
    async def play():
        scorers = Scorers()

        async def ask(response):
            await scorers.score("run", {"slow": "here:1"}, 2, items(response), time.monotonic() + 5)
            return response

        await ask("late")
        order = [await done for done in asyncio.as_completed([ask("late"), ask("a"), ask("b")])]
        return order, clients[0].asked

    order, asked = asyncio.run(play())
    assert order[-1] == "late" and sorted(order[:2]) == ["a", "b"]
    assert len(asked) == 4


def test_a_slow_item_among_quick_ones_is_waited_for_by_its_own_group_alone(clients, monkeypatch):
    monkeypatch.setattr("services.queue.shared_calls.QUICK_SECONDS", 0.1)

    async def play():
        scorers, began = Scorers(), time.monotonic()

        async def ask(response):
            answer, _ = await scorers.score("run", {"slow": "here:1"}, 2, items(response), began + 5)
            return response, list(answer), clients[0].asked[-1][1]

        await ask("a")
        return [await done for done in asyncio.as_completed([ask("late"), ask("bb"), ask("ccc")])], clients[0].asked

    answers, asked = asyncio.run(play())
    assert [(response, got) for response, got, _ in answers[:2]] in (
        [("bb", ["bb0"]), ("ccc", ["ccc0"])],
        [("ccc", ["ccc0"]), ("bb", ["bb0"])],
    )
    assert answers[2][:2] == ("late", ["late0"])
    assert sorted(asked[1][1]) == ["bb0", "ccc0", "late0"]
    assert sorted(ids for _, ids in asked[2:]) == [["bb0"], ["ccc0"], ["late0"]]


def test_a_group_that_leaves_ends_nobody_elses_call(clients):
    async def play():
        scorers = Scorers()

        def ask(response):
            return scorers.score("run", {"quick": "here:1"}, 2, items(response), time.monotonic() + 5)

        await ask("a")
        leaves, stays = asyncio.create_task(ask("b")), asyncio.create_task(ask("cc"))
        await asyncio.sleep(0)
        leaves.cancel()
        return (await stays)[0]["cc0"].components

    assert asyncio.run(play()) == {"quick/length": 2}


def test_connections_are_one_runs_and_the_oldest_are_closed(clients):
    async def play():
        scorers = Scorers()
        for n in range(RUNS + 1):
            for _ in range(2):
                await scorers.score(f"run-{n}", {"quick": "here:1"}, 2, items("a"), time.monotonic() + 5)

    asyncio.run(play())
    assert [each.closed for each in clients] == [True] + [False] * RUNS


def test_an_error_that_is_no_services_reaches_everyone():
    class Broken:
        def logprobs(self, *_, **__):
            raise RuntimeError("boom")

    async def asked():
        logprobs = Logprobs(Broken())  # pyright: ignore[reportArgumentType]
        with pytest.raises(RuntimeError, match="boom"):
            await logprobs.ask("a", sequences(1), time.monotonic() + 5)

    asyncio.run(asked())
