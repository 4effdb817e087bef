"""Rewards: which scorers an item goes to, what counts in its total, and that a part of a sum is no sum."""

import asyncio

import pytest

from services.addresses import UnknownAddressError
from services.client.channel import ServiceError
from services.rewards import Asking, AsyncRewards, Plan, Rewards
from services.verdicts import Item


@pytest.fixture(scope="module")
def puppet(start_service):
    return start_service("services.scorer", "--scorer", "puppet:Puppet", "--workers", "2")


@pytest.fixture(scope="module")
def brevity(start_service):
    return start_service("services.scorer", "--scorer", "examples.scorers.brevity:Brevity", "--workers", "1")


@pytest.fixture(params=["threads", "asyncio"])
def rewarded(request, puppet, brevity):
    """A function that scores askings by a plan, through the client of either kind."""
    addresses = {"puppet": puppet.address, "brevity": brevity.address, "gone": "127.0.0.1:1"}
    settings = {"retries": 0, "patience_seconds": 0.2}

    def score(plan, *askings):
        if request.param == "threads":
            with Rewards(plan, addresses, **settings) as rewards:
                return rewards.score(askings, 30.0)

        async def ask():
            async with AsyncRewards(plan, addresses, **settings) as rewards:
                return await rewards.score(askings, 30.0)

        return asyncio.run(ask())

    return score


WEIGHTS = {"puppet/value": 2.0, "brevity/short": -0.5, "math/correctness": 1.0}


def test_components_of_all_scorers_of_a_domain_are_weighed(rewarded):
    plan = Plan(WEIGHTS, {"both": ("puppet", "brevity")})
    found = rewarded(plan, Asking("both", Item("a", "", "value 0.25")), Asking("puppet", Item("b", "", "value 0.75")))
    assert found["a"].total == 2.0 * 0.25 - 0.5  # math/correctness is nobody's who scores it
    assert found["b"].total == 1.5
    assert found["a"].scored.labels == {"puppet": "done", "brevity": "short"}
    assert found["a"].scored.evidence["puppet"] == {"said": "something"}


def test_a_part_of_a_sum_is_no_sum(rewarded):
    plan = Plan(WEIGHTS, {"both": ("puppet", "brevity"), "with-gone": ("puppet", "gone")})
    found = rewarded(plan, Asking("both", Item("a", "", "raise")), Asking("with-gone", Item("b", "", "value 0.5")))
    assert (found["a"].total, found["b"].total) == (None, None)
    assert found["a"].scored.components["brevity/short"] == 1.0
    assert found["a"].scored.missing == {"puppet": "SCORER_FAILED"}
    assert found["a"].scored.messages == {"puppet": "the scorer raised ValueError"}
    assert found["b"].scored.missing == {"gone": "UNAVAILABLE"}


def test_a_weight_of_a_component_that_its_scorer_does_not_have_is_refused(rewarded):
    plan = Plan({"puppet/value": 1.0, "brevity/shrt": -0.5}, {"both": ("puppet", "brevity")})
    askings = Asking("both", Item("a", "", "value 0.5"))
    with pytest.raises(ValueError, match=r"unknown component 'brevity/shrt'; known: brevity/short, brevity/keywords"):
        rewarded(plan, askings)


def test_without_a_weight_there_is_no_total(rewarded):
    assert rewarded(Plan({}), Asking("puppet", Item("a", "", "value 0.5")))["a"].total is None


def test_options_are_checks_of_every_item_that_says_nothing_else(rewarded):
    plan = Plan({"brevity/keywords": 1.0}, options={"brevity": {"keywords": ["absent"]}})
    found = rewarded(
        plan,
        Asking("brevity", Item("a", "", "word")),
        Asking("brevity", Item("b", "", "word", {"keywords": ["word"]})),
    )
    assert (found["a"].total, found["b"].total) == (0.0, 1.0)


def test_wrong_options_and_domains_are_named(rewarded):
    with pytest.raises(ServiceError, match="options_json: unknown key 'keyword'; known: limit"):
        rewarded(Plan(WEIGHTS, options={"puppet": {"keyword": 1}}), Asking("puppet", Item("a", "", "")))
    with pytest.raises(ValueError, match="no address for scorer 'maths'"):
        rewarded(Plan(WEIGHTS), Asking("maths", Item("a", "", "")))
    with pytest.raises(UnknownAddressError, match="no address for 'style'"):
        Rewards(Plan(WEIGHTS, {"math": ("style",)}))
