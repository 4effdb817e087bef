"""Fan-out: which component came from where, what is missing and why, and what was tried again."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from services.async_scoring import AsyncScoring
from services.client.channel import ServiceError
from services.scored import Scored, merge
from services.scoring import Scoring
from services.verdicts import ErrorReason, Item, ItemError, Verdict


@pytest.fixture(scope="module")
def puppet(start_service):
    return start_service("services.scorer", "--scorer", "puppet:Puppet", "--workers", "2")


@pytest.fixture(scope="module")
def brevity(start_service):
    return start_service("services.scorer", "--scorer", "examples.scorers.brevity:Brevity", "--workers", "1")


def test_each_item_gets_the_components_of_all_its_scorers(puppet, brevity):
    with Scoring({"puppet": puppet.address, "brevity": brevity.address, "unused": "127.0.0.1:1"}) as scoring:
        scored = scoring.score(
            {
                "puppet": [Item("a", "", "value 0.25", {"limit": 3}), Item("b", "", "raise")],
                "brevity": [Item("a", "", "value 0.25", {"keywords": ["value"]}), Item("c", "", "word")],
            },
            30,
        )
        assert scored == {
            "a": Scored(
                {"puppet/value": 0.25, "puppet/batch": 1.0, "brevity/short": 1.0, "brevity/keywords": 1.0},
                {},
                {"puppet": "done", "brevity": "short"},
            ),
            "b": Scored({}, {"puppet": "SCORER_FAILED"}, {}),
            "c": Scored({"brevity/short": 1.0, "brevity/keywords": 1.0}, {}, {"brevity": "short"}),
        }
        assert scoring.calls == {"puppet": 1, "brevity": 1, "unused": 0}


def test_each_scorer_gets_the_checks_that_it_knows(puppet, brevity):
    item = Item("a", "", "value 0.25", {"limit": 3, "keywords": ["absent"]})
    with Scoring({"puppet": puppet.address, "brevity": brevity.address}) as scoring:
        scored = scoring.score({"puppet": [item], "brevity": [item]}, 30)["a"]
    assert scored.missing == {}
    assert scored.components["brevity/keywords"] == 0.0


def test_equal_items_are_judged_once_and_all_get_the_verdict(puppet):
    items = [Item(name, "", "value 0.25", trace_id=name) for name in ("a", "b", "c")]
    with Scoring({"puppet": puppet.address}) as scoring:
        scored = scoring.score({"puppet": [*items, Item("d", "", "value 0.5")]}, 30)
    # the component says how many items came in one batch
    assert {name: each.components for name, each in scored.items()} == {
        **{name: {"puppet/value": 0.25, "puppet/batch": 2.0} for name in "abc"},
        "d": {"puppet/value": 0.5, "puppet/batch": 2.0},
    }


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        (
            Item("bad", "", "\ud83d\ude00"),
            Item("good", "", "\U0001f600"),
        ),  # two halves of a character, and the character
        (Item("bad", "", "", {"limit": Decimal(3)}), Item("good", "", "", {"limit": "3"})),
        (Item("bad", "", "", {"limit": {1: {2}, "a": 1}}), Item("good", "", "", {"limit": 3})),
    ],
)
def test_an_item_that_cannot_be_sent_is_equal_to_none_that_can(puppet, bad, good):
    with Scoring({"puppet": puppet.address}) as scoring:
        scored = scoring.score({"puppet": [bad, good]}, 30)
    assert scored["bad"].missing == {"puppet": "INVALID_ITEM"}
    assert scored["good"].components["puppet/value"] == 1.0


def test_what_may_pass_is_tried_again_and_what_may_not_is_not(puppet, tmp_path):
    with Scoring({"puppet": puppet.address}, retries=2) as scoring:
        late_once = Item("late", "", f"once {tmp_path / 'once'}", timeout_seconds=1.0)
        bad = Item("bad", "", "", {"limit": "x"}, timeout_seconds=1.0)
        scored = scoring.score({"puppet": [late_once, bad, Item("good", "", "", timeout_seconds=1.0)]}, 60)
        assert scored["late"].components["puppet/value"] == 1.0
        assert scored["bad"].missing == {"puppet": "INVALID_ITEM"}
        assert scored["good"].missing == {}
        before = scoring.calls["puppet"]
        assert scoring.score({"puppet": [Item("x", "", "none")]}, 30)["x"].missing == {"puppet": "SCORER_FAILED"}
        assert scoring.calls["puppet"] == before + 1
        assert scoring.score({"puppet": [Item("x", "", "exit")]}, 30)["x"].missing == {"puppet": "WORKER_DIED"}
        assert scoring.calls["puppet"] == before + 4


def test_a_scorer_that_is_gone_is_missing_and_the_others_are_not(puppet):
    addresses = {"puppet": puppet.address, "gone": "127.0.0.1:1"}
    with Scoring(addresses, retries=1, patience_seconds=0.2) as scoring:
        scored = scoring.score({"puppet": [Item("a", "", "value 0.5")], "gone": [Item("a", "", "")]}, 30)
    assert scored["a"].components["puppet/value"] == 0.5
    assert scored["a"].missing == {"gone": "UNAVAILABLE"}
    assert scored["a"].labels == {"puppet": "done"}


def test_a_scorer_that_comes_back_between_tries_gives_its_verdicts(start_service):
    first = start_service("services.scorer", "--scorer", "puppet:Puppet", "--workers", "1")
    first.end()
    port = first.address.rpartition(":")[2]
    with Scoring({"puppet": first.address}, retries=8, patience_seconds=0.2) as scoring, ThreadPoolExecutor() as thread:
        # nobody answers, so that the scorer cannot even be asked which checks it knows
        scored = thread.submit(scoring.score, {"puppet": [Item("a", "", "value 0.5"), Item("b", "", "value 0.5")]}, 60)
        time.sleep(0.5)
        start_service("services.scorer", "--scorer", "puppet:Puppet", "--workers", "1", "--port", port)
        assert {name: each.missing for name, each in scored.result().items()} == {"a": {}, "b": {}}


def test_the_time_is_for_everything(puppet):
    with Scoring({"puppet": puppet.address}, retries=50) as scoring:
        scored = scoring.score({"puppet": [Item("a", "", "sleep 600", timeout_seconds=600)]}, 1.5)
        assert scored["a"].missing == {"puppet": "DEADLINE"}
        assert scoring.calls["puppet"] <= 2


@pytest.mark.parametrize("hangs", [False, True], ids=["nobody there", "nobody answers"])
@pytest.mark.parametrize("kind", [Scoring, AsyncScoring])
def test_who_cannot_be_asked_for_a_description_takes_no_more_than_the_time(kind, hangs):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if hangs:
            silent.listen()
        scoring = kind({"x": f"127.0.0.1:{silent.getsockname()[1]}"}, patience_seconds=20.0)
        asked = {"x": [Item("a", "", "")]}
        start = time.monotonic()
        scored = scoring.score(asked, 0.5) if kind is Scoring else asyncio.run(scoring.score(asked, 0.5))
        assert time.monotonic() - start < 5
        assert scored["a"].missing["x"] in ("DEADLINE", "UNAVAILABLE")


def test_options_of_a_scorer_that_nobody_knows_are_refused():
    with Scoring({"math": "127.0.0.1:1"}) as scoring, pytest.raises(ValueError, match=r"no address for scorer 'maths'"):
        scoring.score({"math": []}, 1, {"maths": {"percent": "ratio"}})


def test_an_unknown_scorer_is_named():
    with (
        Scoring({"math": "127.0.0.1:1"}) as scoring,
        pytest.raises(ValueError, match=r"no address for scorer 'maths'.*math"),
    ):
        scoring.score({"maths": []}, 1)


def test_an_address_of_something_else_is_an_error(start_service):
    bell = start_service("bell")
    with Scoring({"math": bell.address}) as scoring, pytest.raises(ServiceError, match="math service at"):
        scoring.score({"math": [Item("a", "", "")]}, 5)


def test_two_scorers_may_not_return_one_component():
    with pytest.raises(ValueError, match="component 'a/b' is returned by two scorers"):
        merge({"x": {"i": Verdict({"a/b": 1.0})}, "y": {"i": Verdict({"a/b": 1.0})}})


def test_merging_turns_outcomes_round():
    late = ItemError(ErrorReason.DEADLINE, "late")
    assert merge({"x": {"i": Verdict({"x/v": 0.5}, "yes"), "j": late}, "y": {"j": Verdict({"y/v": 0.1}, "no")}}) == {
        "i": Scored({"x/v": 0.5}, {}, {"x": "yes"}),
        "j": Scored({"y/v": 0.1}, {"x": "DEADLINE"}, {"y": "no"}),
    }
    assert merge({}) == {}
