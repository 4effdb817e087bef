"""What goes over the wire comes back the same, and what cannot go is named."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.gen.assay.v1 import scoring_pb2
from services.verdicts import Component, ErrorReason, Item, ItemError, Verdict, parse_checks
from services.wire import (
    ScorerDescription,
    description_from_wire,
    description_to_wire,
    item_to_wire,
    outcome_from_wire,
    outcome_to_wire,
)

text = st.text(st.characters(exclude_categories=["Cs"]))
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(st.none() | st.booleans() | st.integers(-(2**70), 2**70) | finite | text, st.lists, max_leaves=5)


@given(st.dictionaries(text, finite, min_size=1), text, st.dictionaries(text, text))
def test_a_verdict_comes_back_the_same(components, label, evidence):
    verdict = Verdict(components, label, evidence)
    sent = outcome_to_wire("i", verdict).SerializeToString()
    assert outcome_from_wire(scoring_pb2.ItemResult.FromString(sent)) == verdict


@pytest.mark.parametrize("reason", ErrorReason)
def test_every_reason_comes_back_the_same(reason):
    error = ItemError(reason, "because")
    result = outcome_to_wire("i", error)
    assert outcome_from_wire(result) == error
    assert not result.HasField("verdict"), "no number can be read out of an error"


def test_a_result_without_an_outcome_or_for_a_reason_unknown_is_no_score():
    for result in (
        scoring_pb2.ItemResult(id="i"),
        scoring_pb2.ItemResult(id="i", error=scoring_pb2.ItemError(reason=99)),  # pyright: ignore
        scoring_pb2.ItemResult(id="i", error=scoring_pb2.ItemError()),
    ):
        outcome = outcome_from_wire(result)
        assert isinstance(outcome, ItemError)
        assert outcome.reason is ErrorReason.SCORER_FAILED


@settings(max_examples=50)
@given(text, text, text, st.dictionaries(text, json_values), text, st.floats(0, 4_000_000))
def test_an_item_is_sent_whole(id_, prompt, response, checks, trace, seconds):
    sent = item_to_wire(Item(id_, prompt, response, checks, trace, seconds))
    assert (sent.id, sent.prompt, sent.response, sent.trace_id) == (id_, prompt, response, trace)
    assert parse_checks(sent.checks_json) == checks
    assert seconds <= sent.timeout_ms / 1000 < seconds + 0.0011
    assert (sent.timeout_ms == 0) == (seconds == 0), "a short time must not turn into the default"


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (Item("i", "", "", {"a": {1, 2}}), "checks cannot be written as JSON"),
        (Item("i", "", "", {"a": math.nan}), "checks cannot be written as JSON"),
        (Item("i", "\ud800", ""), "prompt and response must be strings without lone surrogates"),
        (Item("i", "", None), "prompt and response must be strings"),  # pyright: ignore
        (Item("i", "", "", timeout_seconds=-1.0), "timeout_seconds 0 or more"),
        (Item("i", "", "", timeout_seconds=math.inf), "timeout_seconds 0 or more"),
        (Item("i", "", "", timeout_seconds=math.nan), "timeout_seconds 0 or more"),
    ],
)
def test_an_item_that_cannot_be_sent_is_told_why(item, field):
    with pytest.raises(ValueError, match=field):
        item_to_wire(item)


def test_a_description_comes_back_the_same():
    components = (Component("a/b", "what", -1.0, 2.0, False), Component("a/c", "", 0.0, 1.0))
    description = ScorerDescription("a", "1", components, {"type": "object"}, 512, 1 << 24, True)
    assert description_from_wire(description_to_wire(description)) == description
