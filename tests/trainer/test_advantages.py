"""Advantages: hand-computed groups, missing components, and rewards that are equal but for noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.advantages import MissingRewardError, ScoredCompletion, compute_advantages


def completions(rewards, group="p", name="math/correct"):
    return [ScoredCompletion(group, {name: reward}) for reward in rewards]


def compute(rewards, normalise="group_mean_std"):
    return compute_advantages(completions(rewards), {"math/correct": 1.0}, normalise)


def test_group_mean_std_by_hand():
    seen = compute([1.0, 0.0, 0.0, 1.0])
    # mean 1/2, sample variance (4 * 1/4) / 3
    assert seen.advantages == pytest.approx(np.array([0.5, -0.5, -0.5, 0.5]) / math.sqrt(1 / 3), abs=1e-15)
    assert seen.groups == 1 and seen.zero_signal_groups == 0


def test_group_mean_and_none_by_hand():
    assert compute([3.0, 1.0, 2.0], "group_mean").advantages.tolist() == [1.0, -1.0, 0.0]
    assert compute([3.0, 1.0, 2.0], "none").advantages.tolist() == [3.0, 1.0, 2.0]


def test_groups_are_normalised_apart_and_keep_their_places():
    mixed = [
        ScoredCompletion("a", {"r": 1.0}),
        ScoredCompletion("b", {"r": 10.0}),
        ScoredCompletion("a", {"r": 3.0}),
        ScoredCompletion("b", {"r": 30.0}),
    ]
    seen = compute_advantages(mixed, {"r": 1.0}, "group_mean")
    assert seen.advantages.tolist() == [-1.0, -10.0, 1.0, 10.0]
    assert seen.groups == 2


def test_components_are_weighted_and_a_negative_weight_turns_one_round():
    pair = [ScoredCompletion("p", {"a": 1.0, "b": 0.5}), ScoredCompletion("p", {"a": 0.0, "b": 0.25})]
    seen = compute_advantages(pair, {"a": 2.0, "b": -4.0}, "none")
    assert seen.rewards.tolist() == [0.0, -1.0]


def test_a_missing_component_changes_nothing_for_the_others():
    others = compute([1.0, 0.0, 0.5])
    broken = ScoredCompletion("p", {}, frozenset({"math/correct"}))
    seen = compute_advantages([*completions([1.0, 0.0, 0.5]), broken], {"math/correct": 1.0})
    assert seen.advantages[:3].tolist() == others.advantages.tolist()
    assert seen.kept.tolist() == [True, True, True, False]
    assert seen.advantages[3] == 0.0 and math.isnan(seen.rewards[3])
    assert seen.dropped_completions == 1 and seen.dropped_groups == 0


def test_what_the_rest_of_the_group_has_and_one_has_not_is_missing():
    rows = [ScoredCompletion("p", {"a": 1.0, "b": 1.0}), ScoredCompletion("p", {"a": 1.0})]
    assert compute_advantages(rows, {"a": 1.0, "b": 1.0}).kept.tolist() == [True, False]


def test_what_no_completion_of_a_group_has_does_not_apply_to_it():
    rows = [
        ScoredCompletion("sum", {"math/correct": 1.0}),
        ScoredCompletion("sum", {"math/correct": 0.0}),
        ScoredCompletion("sort", {"code/tests": 1.0}),
        ScoredCompletion("sort", {"code/tests": 0.0}),
    ]
    seen = compute_advantages(rows, {"math/correct": 1.0, "code/tests": 3.0}, "group_mean")
    assert seen.kept.all()
    assert seen.advantages.tolist() == [0.5, -0.5, 1.5, -1.5]


def test_a_component_of_weight_zero_may_be_missing():
    rows = [ScoredCompletion("p", {"a": 1.0, "b": 5.0}), ScoredCompletion("p", {"a": 0.0}, frozenset({"b"}))]
    seen = compute_advantages(rows, {"a": 1.0, "b": 0.0}, "group_mean", missing="fail")
    assert seen.advantages.tolist() == [0.5, -0.5]


def test_drop_group_drops_the_whole_group_and_no_other():
    rows = [
        *completions([1.0, 0.0]),
        *completions([1.0, 0.0], "q"),
        ScoredCompletion("q", {}, frozenset({"math/correct"})),
    ]
    seen = compute_advantages(rows, {"math/correct": 1.0}, missing="drop_group")
    assert seen.kept.tolist() == [True, True, False, False, False]
    assert seen.dropped_groups == 1 and seen.dropped_completions == 3
    assert not seen.advantages[2:].any()


def test_fail_names_the_completion_and_the_component():
    rows = [*completions([1.0]), ScoredCompletion("p", {}, frozenset({"math/correct"}))]
    with pytest.raises(MissingRewardError, match="completion 1 has no 'math/correct'"):
        compute_advantages(rows, {"math/correct": 1.0}, missing="fail")


@pytest.mark.parametrize("normalise", ["group_mean_std", "group_mean"])
@pytest.mark.parametrize("rewards", [[0.7] * 4, [0.3], [1.0, 1.0 + 1e-8], [0.0, 0.0], [1e6, 1e6 + 0.1]])
def test_equal_rewards_give_zero_and_are_counted(normalise, rewards):
    seen = compute(rewards, normalise)
    assert seen.advantages.tolist() == [0.0] * len(rewards)
    assert seen.zero_signal_groups == 1 and seen.kept.all()


def test_noise_of_cancelling_weights_is_no_signal():
    rows = [
        ScoredCompletion("p", {"a": 0.1, "b": 0.2, "c": 0.3}),
        ScoredCompletion("p", {"a": 0.0, "b": 0.0, "c": 0.0}),
    ]
    assert 0.1 + 0.2 - 0.3 != 0.0
    seen = compute_advantages(rows, {"a": 1.0, "b": 1.0, "c": -1.0})
    assert seen.advantages.tolist() == [0.0, 0.0]


def test_a_small_but_real_difference_is_signal():
    assert compute([0.0, 1e-9]).advantages == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])


def test_a_whole_group_missing_is_counted():
    rows = [ScoredCompletion("p", {}, frozenset({"r"})), *completions([1.0, 0.0], "q", "r")]
    seen = compute_advantages(rows, {"r": 1.0})
    assert seen.dropped_groups == 1 and seen.groups == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weights": {"math/corect": 1.0}}, r"no completion has any .*math/corect.*they have math/correct"),
        ({"weights": {"math/correct": 1.0}, "normalise": "zscore"}, "must be one of group_mean_std"),
        ({"weights": {"math/correct": 1.0}, "missing": "zero"}, "must be one of drop_sample"),
    ],
)
def test_bad_arguments_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        compute_advantages(completions([1.0, 0.0]), **arguments)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="completion 0: component 'math/correct' is nan"):
        compute([float("nan")])


rewards_of_groups = st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=6), min_size=1, max_size=5)


@given(rewards_of_groups, st.integers(-50, 50), st.integers(1, 30))
def test_a_shift_and_a_scale_of_all_rewards_change_nothing(groups, shift, scale):
    rows = [ScoredCompletion(g, {"r": float(r)}) for g, rewards in enumerate(groups) for r in rewards]
    moved = [ScoredCompletion(c.group, {"r": scale * c.components["r"] + shift}) for c in rows]
    first, second = (compute_advantages(x, {"r": 1.0}).advantages for x in (rows, moved))
    assert second == pytest.approx(first, abs=1e-9)


@given(rewards_of_groups)
def test_each_group_has_mean_zero_and_spread_one_or_nothing(groups):
    rows = [ScoredCompletion(g, {"r": float(r)}) for g, rewards in enumerate(groups) for r in rewards]
    seen = compute_advantages(rows, {"r": 1.0})
    silent = 0
    for g, rewards in enumerate(groups):
        own = seen.advantages[[c.group == g for c in rows]]
        assert own.sum() == pytest.approx(0.0, abs=1e-9)
        if len(set(rewards)) > 1:
            assert own.std(ddof=1) == pytest.approx(1.0)
        else:
            silent += 1
            assert not own.any()
    assert seen.zero_signal_groups == silent
