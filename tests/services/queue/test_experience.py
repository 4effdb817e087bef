"""Experience keeps everything on its way through bytes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.experience import (
    Experience,
    ScoredCompletion,
    ScoredGroup,
    experience_from_bytes,
    experience_to_bytes,
    groups_from_bytes,
    groups_to_bytes,
)
from services.rollout.engine import Completion, FinishReason

tokens = st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple)
nats = st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(tuple)
text = st.text(max_size=8)
names = st.dictionaries(text, text, max_size=3)

scored = st.builds(
    ScoredCompletion,
    completion=st.builds(
        Completion,
        token_ids=tokens,
        logprobs=nats,
        text=text,
        finish_reason=st.sampled_from(FinishReason),
        policy_version=st.integers(0, 2**64 - 1),
        token_versions=tokens,
        given=st.lists(st.booleans(), max_size=4).map(tuple),
    ),
    components=st.dictionaries(text, st.floats(allow_nan=False), max_size=3),
    missing=names,
    labels=names,
    ref_logprobs=nats,
    teacher_logprobs=nats,
)
groups = st.builds(
    ScoredGroup,
    prompt_id=text,
    domain=text,
    prompt_token_ids=tokens,
    completions=st.lists(scored, max_size=3).map(tuple),
)
experiences = st.builds(
    Experience,
    key=text,
    group=st.none() | groups,
    calls=st.dictionaries(text, st.integers(0, 2**64 - 1), max_size=3),
    error=text,
)


@given(experiences)
def test_nothing_is_lost(experience: Experience) -> None:
    assert experience_from_bytes(experience_to_bytes(experience)) == experience


def test_log_probabilities_are_rounded_to_single_precision() -> None:
    completion = Completion((1,), (-0.1,), "a", FinishReason.STOP, 0)
    sent = Experience("k", ScoredGroup("p", "math", (5,), (ScoredCompletion(completion, {"m/x": 0.1}),)))
    group = experience_from_bytes(experience_to_bytes(sent)).group
    assert group is not None
    got = group.completions[0]
    assert got.completion.logprobs == (-0.10000000149011612,)
    assert got.components == {"m/x": 0.1}


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="Experience"):
        experience_from_bytes(b"\xff\xff not protobuf")


def test_infinite_log_probabilities_survive() -> None:
    completion = Completion((1,), (-math.inf,), "", FinishReason.LENGTH, 3)
    sent = Experience("k", ScoredGroup("p", "d", (), (ScoredCompletion(completion),)))
    assert experience_from_bytes(experience_to_bytes(sent)) == sent


@given(st.lists(groups, max_size=3))
def test_groups_travel_together(sent: list[ScoredGroup]) -> None:
    assert groups_from_bytes(groups_to_bytes(sent)) == sent
