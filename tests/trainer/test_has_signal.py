"""What the pipeline asks of a group alone, before it is one of a step: whether it teaches anything."""

import tomllib

import pytest

from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from tests.trainer.data_jobs import JOB
from trainer.advantages import MissingRewardError
from trainer.config import parse_job
from trainer.learner import Learner
from trainer.reward_weights import RewardWeights

RISES = {"schedule": "linear", "start": 0.0, "end": 1.0}


def learner(weights, missing="drop_sample", **rollout):
    """One that can judge and not train: no model is loaded for it."""
    tree = tomllib.loads(JOB) | {"data": {"train": "train.jsonl"}}
    tree["rewards"] = {"scorers": {"math": ["math"], "code": ["code"]}, "weights": weights, "missing": missing}
    tree["rollout"] |= rollout
    made = Learner.__new__(Learner)
    made._config, made._segmenter = parse_job(tree), None
    made._rewards = RewardWeights.of(made._config.rewards)
    return made


def group(*components, missing=(), reason=FinishReason.STOP):
    completion = Completion((5, 6), (-1.0, -1.0), "", reason, 0, (0, 0))
    scored = [ScoredCompletion(completion, dict(each)) for each in components]
    lost = [ScoredCompletion(completion, {}, {scorer: "DEADLINE"}) for scorer in missing]
    return ScoredGroup("0/p", "math", (1,), (*scored, *lost))


def test_rewards_that_differ_are_a_signal():
    judge = learner({"math/correctness": 1.0, "code/tests": 1.0})
    assert judge.has_signal(group({"math/correctness": 1.0}, {"math/correctness": 0.0}), 0)
    assert not judge.has_signal(group({"math/correctness": 1.0}, {"math/correctness": 1.0}), 0)


def test_a_domain_that_does_not_count_yet_has_no_signal():
    judge = learner({"math/correctness": RISES, "code/tests": 1.0})
    differs = group({"math/correctness": 1.0}, {"math/correctness": 0.0})
    assert [judge.has_signal(differs, step) for step in (0, 9)] == [False, True]
    assert [sample.advantage for sample in judge._made([differs], 0).samples] == [0.0, 0.0]


def test_a_prompt_to_which_nothing_that_counts_applies_has_no_signal():
    judge = learner({"math/correctness": 1.0, "code/tests": 1.0})
    assert not judge.has_signal(group({"math/format": 1.0}, {"math/format": 0.0}), 0)


def test_a_group_that_could_not_be_scored_is_the_steps_to_judge():
    judge = learner({"math/correctness": 1.0, "code/tests": 1.0})
    assert judge.has_signal(group(missing=("math", "math")), 0)
    with pytest.raises(MissingRewardError):
        learner({"math/correctness": 1.0, "code/tests": 1.0}, "fail").has_signal(group(missing=("math", "math")), 0)


def test_a_group_of_which_everything_was_cut_off_has_no_signal_where_that_is_left_out():
    cut = group({"math/correctness": 1.0}, {"math/correctness": 0.0}, reason=FinishReason.LENGTH)
    weights = {"math/correctness": 1.0, "code/tests": 1.0}
    told = [learner(weights, truncated=rule).has_signal(cut, 0) for rule in ("keep", "mask", "drop")]
    assert told == [True, False, False]
