"""What all adapters share: texts of conversations, checks out of columns and labels, what becomes of a missing reward."""

import asyncio

import numpy as np
import pytest

from services.adapters import verl
from services.adapters.checks import of_label, pick, plain
from services.adapters.openrlhf import answer, make_askings
from services.adapters.source import MissingRewardError, Source
from services.conversation import prompt_text, response_text
from services.rewards import Plan, Reward
from services.scored import Scored

SECRET = "XYZZY-4711"


def message(role, content):
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("as it is", "as it is"),
        ([], ""),
        ([message("user", "alone")], "alone"),
        ([message("user", [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}])], "ab"),
        ([message("system", "Be brief."), message("user", "Hi")], "system: Be brief.\n\nuser: Hi"),
    ],
)
def test_prompts_as_text(prompt, text):
    assert prompt_text(prompt) == text


def test_a_response_is_what_the_assistant_said():
    turns = [
        message("assistant", None),
        message("tool", SECRET),
        message("assistant", "first"),
        message("assistant", "last"),
    ]
    assert response_text(turns) == "first\n\nlast"
    assert response_text("as it is") == "as it is"
    assert response_text([message("user", SECRET)]) == ""


def test_checks_out_of_columns():
    row = {"gold": np.int64(4), "tests": np.array([[1, 2]]), "none": None, "nested": {"x": (np.float32(0.5),)}}
    assert pick(["gold", "none"], row) == {"gold": 4}
    assert pick({"cases": "tests", "more": "nested"}, row) == {"cases": [[1, 2]], "more": {"x": [0.5]}}
    assert type(plain(np.int64(4))) is int and type(plain({"a": np.bool_(True)})["a"]) is bool
    with pytest.raises(ValueError, match="no column 'answer' for the check 'gold'; there are 'gold', 'tests'"):
        pick({"gold": "answer"}, row)


def test_a_prompt_that_verl_does_not_bring_is_named():
    compute_score = verl.reward_function(Plan(), prompt="question")
    with pytest.raises(ValueError, match=r"extra_info has no 'question' .*; it has 'index'"):
        asyncio.run(asyncio.wait_for(compute_score("any", "4", "4", {"index": 0}), 60))


def test_checks_out_of_a_label():
    assert of_label("4", "gold") == {"gold": "4"}
    assert of_label(None, "gold") == {}
    assert of_label('{"gold": [4]}', None) == of_label({"gold": [4]}, None) == {"gold": [4]}
    for wrong in ("4", SECRET, None, "[1]"):
        with pytest.raises(ValueError, match="no JSON object of checks") as fault:
            of_label(wrong, None)
        assert SECRET not in str(fault.value)


ABSENT = Reward(None, Scored({}, {"math": "DEADLINE"}, {}, {}, {"math": "took too long"}))
PRESENT = Reward(0.5, Scored({"math/correctness": 0.5}, {}, {"math": "correct"}))
UNWEIGHED = Reward(None, Scored({"math/format": 1.0}, {}, {"math": "correct"}))


def test_what_a_missing_reward_becomes():
    def totals(missing, *rewards):
        return Source(Plan(), missing=missing).totals(rewards)

    assert totals(None, ABSENT, PRESENT) == [None, 0.5]
    assert totals(-2, ABSENT, PRESENT) == [-2, 0.5]
    assert totals("raise", PRESENT) == [0.5]
    with pytest.raises(
        MissingRewardError, match="1 of 2 responses have no reward; the first: math: DEADLINE: took too long"
    ):
        totals("raise", PRESENT, ABSENT)
    with pytest.raises(MissingRewardError, match="has a weight; they gave math/format"):
        totals("raise", UNWEIGHED)
    with pytest.raises(MissingRewardError, match="takes no None"):
        Source(Plan(), missing=None).numbers([ABSENT])


@pytest.mark.parametrize("wrong", ["drop", True, float("nan"), "0"])
def test_what_missing_cannot_be(wrong):
    with pytest.raises(ValueError, match="it must be 'raise', a number or None"):
        Source(Plan(), missing=wrong)


def responses(*pairs):
    askings = make_askings(
        [query for query, _ in pairs], [prompt for _, prompt in pairs], ["4"] * len(pairs), "math", "gold"
    )
    return [asking.item.response for asking in askings]


def test_responses_of_openrlhf_begin_after_the_prompt_and_end_before_special_tokens():
    assert responses(
        ("Q: a A: b", "Q: a "),
        ("<s>Q a b</s></s>", "Q a"),
        ("Q<|im_end|>\nA 4<|im_end|>\n<|endoftext|>", "Q<|im_end|>\nA"),
        ("Q</s> in the middle", "Q"),
        ("Q Q", "Q"),
    ) == [" A: b", " b", " 4", "</s> in the middle", " Q"]
    with pytest.raises(ValueError, match="query 1 does not hold its prompt") as fault:
        responses(("Q b", "Q"), (SECRET, "Q"))
    assert SECRET not in str(fault.value)


def test_answers_to_openrlhf():
    assert answer([0.5], [PRESENT])["rewards"] == 0.5
    assert answer([0.5, 0.0], [PRESENT, ABSENT]) == {"rewards": [0.5, 0.0], "scores": [0.5, 0.0], "extra_logs": {}}
    assert answer([], []) == {"rewards": [], "scores": [], "extra_logs": {}}
