"""From scored groups to samples, and accuracy: what is missing is never a number."""

import math

import pytest

from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from services.verdicts import Component
from trainer.advantages import MissingRewardError
from trainer.combination import Combination
from trainer.evaluation import measure
from trainer.steps import make_step

WEIGHTS = {"math/correctness": 1.0, "safety/toxicity": -0.5}


def scored(correct=None, toxicity=0.0, missing=(), tokens=(5, 6), version=3, reason=FinishReason.STOP):
    components = {} if correct is None else {"math/correctness": correct}
    if "safety" not in missing:
        components["safety/toxicity"] = toxicity
    completion = Completion(tuple(tokens), tuple(-1.0 for _ in tokens), "text", reason, version)
    return ScoredCompletion(completion, components, dict.fromkeys(missing, "WORKER_DIED"))


def group(*completions, domain="math", name="p"):
    return ScoredGroup(name, domain, (1, 2), completions)


def step(*groups, missing="drop_sample", version=3):
    return make_step(groups, WEIGHTS, "group_mean_std", missing, policy_version=version)


def test_advantages_by_hand():
    made = step(group(scored(1.0), scored(0.0, toxicity=0.2)))
    # rewards 1.0 and -0.1: mean 0.45, sample deviation 1.1 / sqrt(2)
    assert [s.advantage for s in made.samples] == pytest.approx([1 / math.sqrt(2), -1 / math.sqrt(2)])
    assert made.metrics["reward/total"] == pytest.approx(0.45)
    assert made.metrics["reward/math/correctness"] == pytest.approx(0.5)


def test_a_missing_score_is_no_zero():
    made = step(group(scored(1.0), scored(0.0), scored(missing=("math",))))
    alone = step(group(scored(1.0), scored(0.0)))
    assert [s.advantage for s in made.samples] == [s.advantage for s in alone.samples]
    assert made.metrics["reward/math/correctness"] == 0.5
    assert made.metrics["missing/math"] == 1.0
    assert made.metrics["group/dropped_completions"] == 1.0


def test_a_missing_score_drops_its_group_or_fails_the_step_by_policy():
    groups = [group(scored(1.0), scored(missing=("math",))), group(scored(1.0), scored(0.0), name="q")]
    assert len(step(*groups, missing="drop_group").samples) == 2
    with pytest.raises(MissingRewardError, match="math/correctness"):
        step(*groups, missing="fail")


def test_equal_prompts_of_one_step_are_groups_of_their_own():
    made = step(group(scored(1.0), scored(1.0)), group(scored(0.0), scored(0.0)))
    assert {s.advantage for s in made.samples} == {0.0}
    assert made.metrics["group/zero_signal"] == 2.0


def test_completions_without_tokens_are_left_out():
    made = step(group(scored(1.0, tokens=()), scored(0.0)))
    assert [s.completion_ids for s in made.samples] == [(5, 6)]


def test_staleness_length_and_truncation():
    long = scored(1.0, tokens=(1, 2, 3, 4), version=1, reason=FinishReason.LENGTH)
    metrics = step(group(long, scored(0.0)), version=4).metrics
    assert (metrics["rollout/staleness"], metrics["rollout/length"], metrics["rollout/truncated"]) == (3.0, 3.0, 0.5)


def test_accuracy_counts_what_is_missing_apart():
    components = {
        "math/correctness": Component("math/correctness", ""),
        "safety/toxicity": Component("safety/toxicity", "", higher_is_better=False),
    }
    groups = [
        group(scored(1.0)),
        group(scored(0.5)),
        group(scored(missing=("math",))),
        group(scored(toxicity=0.0), domain="talk"),
    ]
    accuracy = measure(groups, {"math": "math/correctness", "talk": "safety/toxicity"}, components)
    assert accuracy.by_domain == {"math": 0.5, "talk": 1.0}
    assert (accuracy.overall, accuracy.scored, accuracy.missing) == (pytest.approx(2 / 3), 3, 1)


def test_accuracy_of_what_could_not_be_scored_is_no_number():
    components = {"math/correctness": Component("math/correctness", "")}
    accuracy = measure([group(scored(missing=("math",)))], {"math": "math/correctness"}, components)
    assert (accuracy.overall, accuracy.by_domain, accuracy.scored, accuracy.missing) == (None, {}, 0, 1)


def test_a_sample_carries_its_group_its_rewards_and_the_advantage_of_each_component():
    made = step(group(scored(1.0), scored(0.0, toxicity=0.2)), group(scored(1.0), domain="talk", name="q"))
    first, second, third = made.samples
    assert (first.group, second.group, third.group, third.domain) == (0, 0, 1, "talk")
    assert (first.reward, second.reward) == (1.0, -0.1)
    assert second.components == {"math/correctness": 0.0, "safety/toxicity": 0.2}
    root = pytest.approx(1 / math.sqrt(2))
    assert first.component_advantages == {"math/correctness": root, "safety/toxicity": pytest.approx(-1 / math.sqrt(2))}


def test_domains_weigh_apart_and_a_domains_own_component_can_be_missing():
    groups = [
        group(scored(1.0), scored(0.0), scored(1.0, missing=("safety",)), domain="math"),
        group(scored(1.0), scored(0.0), scored(1.0, missing=("safety",)), domain="talk", name="q"),
    ]
    made = make_step(
        groups,
        {"math/correctness": 1.0},
        "none",
        "drop_sample",
        policy_version=3,
        domain_weights={"talk": {"math/correctness": 5.0, "safety/toxicity": -1.0}},
    )
    assert [sample.reward for sample in made.samples] == [1.0, 0.0, 1.0, 5.0, 0.0]


def test_a_gate_that_is_missing_drops_the_sample():
    groups = [group(scored(1.0, toxicity=1.0), scored(1.0), scored(1.0, missing=("safety",)))]
    gated = Combination("gated", gates=("safety/toxicity",))
    made = make_step(groups, {"math/correctness": 2.0}, "none", "drop_sample", 3, combination=gated)
    assert [sample.reward for sample in made.samples] == [2.0, 0.0]


def test_groups_without_signal_are_filtered_and_told():
    groups = [group(scored(1.0), scored(1.0)), group(scored(1.0), scored(0.0), name="q")]
    made = make_step(groups, WEIGHTS, "group_mean", "drop_sample", 3, drop_zero_signal=True)
    assert [sample.group for sample in made.samples] == [1, 1]
    assert (made.metrics["group/filtered"], made.metrics["group/zero_signal"]) == (1.0, 1.0)
    assert step(*groups).metrics["group/filtered"] == 0.0


def test_whitened_advantages_have_spread_one_over_the_step():
    groups = [group(scored(1.0), scored(0.0)), group(scored(0.75), scored(0.25), name="q")]
    made = make_step(groups, WEIGHTS, "group_mean", "drop_sample", 3, whitened=True)
    # 0.5, -0.5, 0.25, -0.25: sample variance 0.625 / 3
    by_hand = [value / math.sqrt(0.625 / 3) for value in (0.5, -0.5, 0.25, -0.25)]
    assert [sample.advantage for sample in made.samples] == pytest.approx(by_hand)


def test_a_gate_that_is_missing_for_a_whole_group_is_not_open():
    groups = [group(scored(1.0, missing=("safety",)), scored(0.0, missing=("safety",)))]
    gated = Combination("gated", gates=("safety/toxicity",))
    assert make_step(groups, {"math/correctness": 2.0}, "none", "drop_sample", 3, combination=gated).samples == ()
