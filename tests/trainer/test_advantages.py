"""Advantages: hand-computed groups, missing components, and rewards that are equal but for noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.advantages import MissingRewardError, ScoredCompletion, compute_advantages
from trainer.combination import Combination
from trainer.normalisation import NORMALISATIONS


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


def group_of(*rows, name="p", domain=""):
    return [ScoredCompletion(name, components, domain=domain) for components in rows]


def test_leave_one_out_is_the_reward_minus_the_mean_of_the_others():
    assert compute([1.0, 0.0, 0.5], "leave_one_out").advantages == pytest.approx([0.75, -0.75, 0.0])


def test_max_rl_divides_by_the_success_rate():
    assert compute([1.0, 0.0, 0.0, 0.0], "max_rl").advantages.tolist() == [3.0, -1.0, -1.0, -1.0]
    assert compute([0.0, 0.0], "max_rl").advantages.tolist() == [0.0, 0.0]


def test_max_rl_refuses_negative_rewards():
    with pytest.raises(ValueError, match=r"one of them is -0\.5; rewards must be 0 or more: take 'group_mean'"):
        compute([1.0, -0.5], "max_rl")


def test_reinforce_plus_plus_whitens_the_whole_step():
    rows = [*completions([1.0, 0.0]), *completions([2.0, 5.0], "q")]
    seen = compute_advantages(rows, {"math/correct": 1.0}, "reinforce_plus_plus")
    # mean 2, sample variance (1 + 4 + 0 + 9) / 3
    assert seen.advantages == pytest.approx(np.array([-1.0, -2.0, 0.0, 3.0]) / math.sqrt(14 / 3))


def test_reinforce_plus_plus_baseline_whitens_after_the_groups_mean():
    rows = [*completions([1.0, 0.0]), *completions([2.0, 5.0], "q"), *completions([4.0, 4.0], "r")]
    seen = compute_advantages(rows, {"math/correct": 1.0}, "reinforce_plus_plus_baseline")
    # 0.5, -0.5, -1.5, 1.5, 0, 0: mean 0, sample variance 5 / 5
    assert seen.advantages == pytest.approx([0.5, -0.5, -1.5, 1.5, 0.0, 0.0])
    assert seen.advantages[4:].tolist() == [0.0, 0.0] and seen.zero_signal_groups == 1
    same = compute_advantages(rows, {"math/correct": 1.0}, "group_mean", whitened=True)
    assert same.advantages.tolist() == seen.advantages.tolist()


def test_whitening_leaves_out_what_is_missing():
    rows = [*completions([1.0, 0.0]), ScoredCompletion("p", {}, frozenset({"math/correct"}))]
    seen = compute_advantages(rows, {"math/correct": 1.0}, "reinforce_plus_plus")
    assert seen.advantages == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5), 0.0])


@pytest.mark.parametrize("normalise", sorted(set(NORMALISATIONS) - {"none"}))
def test_one_completion_alone_has_no_advantage(normalise):
    assert compute([0.7], normalise).advantages.tolist() == [0.0]


def test_a_domain_weighs_as_it_says_and_the_rest_as_everywhere():
    rows = [
        *group_of({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}, name="p", domain="math"),
        *group_of({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}, name="q", domain="code"),
    ]
    seen = compute_advantages(rows, {"a": 1.0, "b": 2.0}, "none", domain_weights={"math": {"a": 10.0}})
    assert seen.rewards.tolist() == [12.0, 0.0, 3.0, 0.0]


def test_a_domain_can_leave_a_component_out():
    rows = [*group_of({"a": 1.0, "b": 0.0}, domain="math"), ScoredCompletion("p", {"a": 0.0}, frozenset({"b"}), "math")]
    seen = compute_advantages(rows, {"a": 1.0, "b": 2.0}, "none", missing="fail", domain_weights={"math": {"b": 0.0}})
    assert seen.rewards.tolist() == [1.0, 0.0]


def test_groups_without_signal_are_dropped_on_demand_and_counted():
    rows = [*completions([1.0, 1.0]), *completions([1.0, 0.0], "q"), ScoredCompletion("r", {}, frozenset({"math/correct"}))]
    seen = compute_advantages(rows, {"math/correct": 1.0}, drop_zero_signal=True)
    assert seen.kept.tolist() == [False, False, True, True, False]
    assert (seen.zero_signal_groups, seen.filtered_groups, seen.dropped_groups, seen.dropped_completions) == (1, 1, 1, 1)
    assert compute_advantages(rows, {"math/correct": 1.0}).filtered_groups == 0


def test_named_advantages_are_those_of_each_component_alone():
    rows = group_of({"a": 1.0, "b": 3.0}, {"a": 0.0, "b": 5.0})
    seen = compute_advantages(rows, {"a": 5.0, "b": 0.0}, "group_mean")
    assert seen.named == ({"a": 0.5, "b": -1.0}, {"a": -0.5, "b": 1.0})


def test_named_advantages_leave_out_what_is_missing_and_what_is_not_kept():
    rows = [
        *group_of({"a": 1.0, "b": 3.0}, {"a": 0.0, "b": 5.0}, {"a": 0.5}),
        ScoredCompletion("p", {"b": 9.0}, frozenset({"a"})),
    ]
    seen = compute_advantages(rows, {"a": 1.0}, "group_mean")
    assert seen.named == ({"a": 0.5, "b": -1.0}, {"a": -0.5, "b": 1.0}, {"a": 0.0}, {})


def test_named_advantages_are_whitened_where_the_whole_is():
    rows = [*group_of({"a": 3.0}, {"a": 0.0}), *group_of({"a": 1.0}, {"a": 1.0}, name="q")]
    seen = compute_advantages(rows, {"a": 1.0}, "reinforce_plus_plus")
    assert [table["a"] for table in seen.named] == seen.advantages.tolist()


def test_named_advantages_under_max_rl_have_no_negative_component():
    rows = group_of({"a": 1.0, "b": -1.0}, {"a": 0.0, "b": 1.0})
    assert compute_advantages(rows, {"a": 1.0}, "max_rl").named == ({"a": 1.0}, {"a": -1.0})


def test_no_completions_are_no_advantages():
    seen = compute_advantages([], {"a": 1.0}, "reinforce_plus_plus")
    assert (len(seen.advantages), seen.groups, seen.named) == (0, 0, ())


@given(rewards_of_groups)
def test_whitened_advantages_have_mean_zero_and_spread_one(groups):
    rows = [ScoredCompletion(g, {"r": float(r)}) for g, rewards in enumerate(groups) for r in rewards]
    for normalise in ("reinforce_plus_plus", "reinforce_plus_plus_baseline"):
        seen = compute_advantages(rows, {"r": 1.0}, normalise).advantages
        assert seen.sum() == pytest.approx(0.0, abs=1e-9)
        assert not seen.any() or seen.std(ddof=1) == pytest.approx(1.0)


extreme = st.floats(-1e150, 1e150, allow_nan=False, allow_subnormal=True)


@given(st.lists(st.tuples(st.integers(0, 3), extreme, extreme), min_size=1, max_size=12), st.booleans())
def test_no_finite_score_makes_an_advantage_that_is_not(rows, whitened):
    table = [ScoredCompletion(group, {"a": a, "b": b}) for group, a, b in rows]
    for normalise in sorted(set(NORMALISATIONS) - {"max_rl"}):
        for kind in ("weighted_sum", "normalise_first"):
            seen = compute_advantages(table, {"a": 1.0, "b": -2.0}, normalise, whitened=whitened, combination=Combination(kind))
            assert np.isfinite(seen.advantages).all(), (normalise, kind)
            assert all(math.isfinite(value) for table in seen.named for value in table.values())


def test_an_advantage_of_zero_stays_zero_when_the_others_cancel_but_for_noise():
    rows = [*completions([0.1, 0.7, 0.3]), *completions([4.0, 4.0], "q")]
    centred = np.array([0.1, 0.7, 0.3]) - np.mean([0.1, 0.7, 0.3])
    assert centred.sum() != 0.0
    seen = compute_advantages(rows, {"math/correct": 1.0}, "reinforce_plus_plus_baseline")
    assert seen.advantages[3:].tolist() == [0.0, 0.0] and seen.zero_signal_groups == 1


@pytest.mark.parametrize("size", [1e-200, 1e-300, 1e200])
def test_spreads_of_very_small_and_very_large_rewards_are_finite(size):
    half = [math.sqrt(0.5), -math.sqrt(0.5)]
    assert compute([size, 0.0]).advantages == pytest.approx(half)
    assert compute([size, 0.0], "reinforce_plus_plus").advantages == pytest.approx(half)
