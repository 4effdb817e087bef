"""Completions that were cut off: kept, masked, dropped or penalised, by hand."""

import tomllib

import pytest

from benchmarks.bad_jobs import GOOD
from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from trainer.config import JobFileError, parse_job
from trainer.overlong import LENGTH_PENALTY, Overlong, soft_punishment
from trainer.steps import make_step


def completion(reward, tokens, cut=False):
    reason = FinishReason.LENGTH if cut else FinishReason.STOP
    ids = tuple(range(tokens))
    return ScoredCompletion(Completion(ids, (-1.0,) * tokens, "t", reason, 0), {"math/x": reward})


GROUP = ScoredGroup("p", "math", (1,), (completion(1.0, 4), completion(0.0, 6), completion(0.0, 10, cut=True)))


def step(overlong, *groups):
    return make_step(groups or [GROUP], {"math/x": 1.0}, "group_mean", "drop_sample", 0, overlong=overlong)


def advantages(overlong, *groups):
    return [sample.advantage for sample in step(overlong, *groups).samples]


def test_kept_as_any_other():
    assert advantages(Overlong()) == pytest.approx([2 / 3, -1 / 3, -1 / 3])
    assert step(Overlong()).metrics["rollout/left_out"] == 0.0


def test_masked_it_is_compared_with_and_not_trained_on():
    assert advantages(Overlong("mask")) == pytest.approx([2 / 3, -1 / 3])
    metrics = step(Overlong("mask")).metrics
    assert (metrics["rollout/left_out"], metrics["rollout/truncated"]) == (1.0, pytest.approx(1 / 3))
    assert metrics["reward/total"] == pytest.approx(1 / 3)


def test_dropped_it_is_not_even_compared_with():
    assert advantages(Overlong("drop")) == pytest.approx([0.5, -0.5])
    metrics = step(Overlong("drop")).metrics
    assert (metrics["rollout/left_out"], metrics["reward/total"]) == (1.0, 0.5)
    # what was sampled is told whole
    assert (metrics["rollout/length"], metrics["reward/math/x"]) == (pytest.approx(20 / 3), pytest.approx(1 / 3))


@pytest.mark.parametrize("rule", ["mask", "drop"])
def test_a_step_of_cut_completions_alone_has_no_sample(rule):
    nothing = ScoredGroup("p", "math", (1,), (completion(1.0, 10, cut=True), completion(0.0, 10, cut=True)))
    assert step(Overlong(rule), nothing).samples == ()
    assert step(Overlong(rule), nothing).metrics["rollout/left_out"] == 2.0
    # beside another group it changes nothing
    assert advantages(Overlong(rule), nothing, GROUP) == advantages(Overlong(rule))


@pytest.mark.parametrize(("length", "penalty"), [(0, 0.0), (6, 0.0), (7, -0.25), (8, -0.5), (10, -1.0), (11, -1.0)])
def test_the_penalty_is_dapos(length, penalty):
    """L_max 10, L_cache 4: 0 up to 6 tokens, -1 from 10 on."""
    assert soft_punishment(length, 10, 4) == penalty


def test_penalised_the_penalty_is_part_of_the_reward():
    """Lengths 4, 6 and 10 with L_max 10 and L_cache 5: penalties 0, -1/5 and -1, times 1/2."""
    made = step(Overlong("penalise", 10, 5, 0.5))
    rewards = [1.0, -0.1, -0.5]
    assert [sample.reward for sample in made.samples] == pytest.approx(rewards)
    mean = sum(rewards) / 3
    assert [sample.advantage for sample in made.samples] == pytest.approx([reward - mean for reward in rewards])
    assert made.metrics[f"reward/{LENGTH_PENALTY}"] == pytest.approx(-0.4)
    assert made.samples[1].components == {"math/x": 0.0, LENGTH_PENALTY: pytest.approx(-0.2)}
    assert made.metrics["rollout/left_out"] == 0.0


def job(rollout=None, advantage=None):
    tree = tomllib.loads(GOOD)
    tree["rollout"].update(rollout or {})
    tree["advantage"].update(advantage or {})
    return parse_job(tree)


def test_the_job_file_says_it():
    assert job().rollout.overlong().rule == "keep"
    # a fifth of 64 tokens
    assert job({"truncated": "penalise"}).rollout.overlong() == Overlong("penalise", 64, 12, 1.0)
    own = {"truncated": "penalise", "penalised_tokens": 64, "length_penalty": 0.5}
    assert job(own).rollout.overlong() == Overlong("penalise", 64, 64, 0.5)


@pytest.mark.parametrize(
    ("rollout", "advantage", "said"),
    [
        ({"truncated": "mask", "length_penalty": 1.0}, {}, "need truncated = 'penalise'"),
        ({"penalised_tokens": 3}, {}, "need truncated = 'penalise'"),
        ({"truncated": "penalise", "penalised_tokens": 65}, {}, "at most max_new_tokens, 64"),
        ({"truncated": "penalise"}, {"combine": "gated", "gates": ["math/syntax"]}, "combine = 'gated' does not add"),
        ({"truncated": "penalise"}, {"normalise": "max_rl"}, "can make a reward negative"),
    ],
)
def test_what_does_not_go_together_is_refused(rollout, advantage, said):
    with pytest.raises(JobFileError, match=said):
        job(rollout, advantage)
