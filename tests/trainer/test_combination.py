"""Combinations of components: hand-computed sums, gates and orders, and refusals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.advantages import ScoredCompletion, compute_advantages
from trainer.combination import Combination


def group_of(*rows, name="p", domain=""):
    return [ScoredCompletion(name, components, domain=domain) for components in rows]


def test_weighted_sum_lets_the_large_component_win_and_normalise_first_does_not():
    rows = group_of({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 100.0})
    weights = {"a": 2.0, "b": 1.0}
    assert compute_advantages(rows, weights).advantages == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])
    first = compute_advantages(rows, weights, combination=Combination("normalise_first"))
    # each component is +-sqrt(1/2); 2 - 1 remains
    assert first.advantages == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
    assert first.rewards.tolist() == [2.0, 100.0]


def test_normalise_first_tells_apart_what_the_sum_does_not():
    # GDPO's example: (0, 1) and (0, 2) have the same advantages once the sum is normalised.
    def of(second):
        rows = group_of({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": second})
        return compute_advantages(rows, {"a": 1.0, "b": 1.0}, combination=Combination("normalise_first"))

    assert of(0.0).advantages == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])
    assert of(1.0).advantages == pytest.approx([-math.sqrt(2.0), math.sqrt(2.0)])


def test_normalise_first_of_components_that_cancel_is_no_signal():
    rows = group_of({"a": 0.1, "b": 0.3}, {"a": 0.7, "b": 0.9}, {"a": 0.2, "b": 0.4})
    seen = compute_advantages(rows, {"a": 1.0, "b": -1.0}, combination=Combination("normalise_first"))
    assert seen.advantages.tolist() == [0.0, 0.0, 0.0]


def test_a_gate_multiplies_the_sum_of_the_others():
    rows = group_of({"f": 1.0, "a": 1.0, "b": 0.5}, {"f": 0.0, "a": 1.0, "b": 1.0}, {"f": 0.5, "a": 1.0, "b": 1.0})
    seen = compute_advantages(rows, {"a": 1.0, "b": 2.0}, "none", combination=Combination("gated", gates=("f",)))
    assert seen.rewards.tolist() == [2.0, 0.0, 1.5]


def test_two_gates_must_both_be_open_and_one_of_another_domain_is():
    gated = Combination("gated", gates=("f", "g"))
    rows = [
        *group_of({"f": 1.0, "g": 0.0, "a": 1.0}, {"f": 1.0, "g": 1.0, "a": 1.0}),
        *group_of({"f": 1.0, "a": 1.0}, {"f": 0.0, "a": 1.0}, name="q"),
    ]
    assert compute_advantages(rows, {"a": 1.0}, "none", combination=gated).rewards.tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "f": 0.0}])
def test_a_missing_gate_is_a_missing_reward(weights):
    rows = [*group_of({"f": 1.0, "a": 1.0}), ScoredCompletion("p", {"a": 1.0}, frozenset({"f"}))]
    seen = compute_advantages(rows, weights, "none", combination=Combination("gated", gates=("f",)))
    assert seen.kept.tolist() == [True, False]


def test_lexicographic_breaks_ties_of_the_first_by_the_next():
    rows = group_of({"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 9.0}, {"a": 0.0, "b": 50.0}, {"a": 0.0, "b": 2.0})
    in_order = Combination("lexicographic", order=("a", "b"))
    seen = compute_advantages(rows, {"a": 1.0, "b": 1.0}, "none", combination=in_order)
    # b's four values have ranks 0, 2, 3, 1 of 3, and half of the gap of 1
    assert seen.rewards == pytest.approx([1.0, 1.0 + 1 / 3, 0.5, 1 / 6])


def test_lexicographic_takes_the_values_of_the_next_where_the_first_are_all_equal():
    rows = group_of({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 5.0})
    in_order = Combination("lexicographic", order=("a", "b"))
    seen = compute_advantages(rows, {"a": 2.0, "b": -1.0}, "group_mean", combination=in_order)
    assert seen.advantages.tolist() == [1.0, -1.0]


def test_lexicographic_needs_a_place_for_every_weight():
    in_order = Combination("lexicographic", order=("a",))
    with pytest.raises(ValueError, match="order lacks 'b', which has a weight; it is a"):
        compute_advantages(group_of({"a": 1.0, "b": 1.0}), {"a": 1.0, "b": 1.0}, combination=in_order)


scores = st.lists(st.tuples(*[st.integers(0, 3).map(lambda x: x / 7)] * 4), min_size=1, max_size=10)


@given(scores, st.sampled_from(["none", "group_mean", "group_mean_std", "leave_one_out"]))
def test_lexicographic_advantages_have_the_order_of_the_tuples(rows, normalise):
    names = ("a", "b", "c", "d")
    in_order = Combination("lexicographic", order=names)
    table = group_of(*(dict(zip(names, row, strict=True)) for row in rows))
    seen = compute_advantages(table, dict.fromkeys(names, 1.0), normalise, combination=in_order).advantages
    for left, one in zip(rows, seen, strict=True):
        for right, other in zip(rows, seen, strict=True):
            assert (left > right) == (one > other)


@pytest.mark.parametrize("kind", ["weighted_sum", "normalise_first", "gated", "lexicographic"])
def test_a_group_that_nothing_applies_to_has_no_signal(kind):
    chosen = {"gated": {"gates": ("g",)}, "lexicographic": {"order": ("a",)}}.get(kind, {})
    rows = [*group_of({"a": 1.0, "g": 1.0}, {"a": 0.0, "g": 1.0}), *group_of({}, {}, name="q")]
    seen = compute_advantages(rows, {"a": 1.0}, "group_mean", combination=Combination(kind, **chosen))
    assert seen.advantages.tolist() == [0.5, -0.5, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["weighted_sum", "normalise_first"])
def test_weights_that_are_all_zero_now_teach_nothing(kind):
    seen = compute_advantages(group_of({"a": 1.0}, {"a": 0.0}), {"a": 0.0}, combination=Combination(kind))
    assert not seen.advantages.any() and seen.zero_signal_groups == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "sum"}, "must be one of weighted_sum, normalise_first, gated, lexicographic, not 'sum'"),
        ({"kind": "gated"}, "combine = 'gated' needs gates"),
        ({"kind": "lexicographic", "gates": ("a",)}, "gates is for combine = 'gated', not 'lexicographic'"),
        ({"order": ("a",)}, "order is for combine = 'lexicographic', not 'weighted_sum'"),
        ({"kind": "lexicographic", "order": ("a", "a")}, "order names a component twice: a, a"),
    ],
)
def test_a_bad_combination_says_what_is_wrong(arguments, said):
    with pytest.raises(ValueError) as caught:
        Combination(**arguments)
    assert said in str(caught.value)


@given(st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=6), min_size=1, max_size=5), st.sampled_from(["normalise_first", "weighted_sum"]), st.booleans())
def test_one_component_is_the_same_however_it_is_combined(groups, kind, whitened):
    rows = [ScoredCompletion(g, {"r": float(r)}) for g, rewards in enumerate(groups) for r in rewards]
    seen = compute_advantages(rows, {"r": 1.0}, whitened=whitened, combination=Combination(kind))
    plain = compute_advantages(rows, {"r": 1.0}, whitened=whitened)
    assert seen.advantages == pytest.approx(plain.advantages, abs=1e-12)
    assert [table.get("r") for table in seen.named] == pytest.approx(seen.advantages.tolist(), abs=1e-12)


def test_lexicographic_takes_float_noise_for_a_tie():
    assert 0.1 + 0.2 != 0.3
    rows = group_of({"a": 0.3, "b": 1.0}, {"a": 0.1 + 0.2, "b": 0.0}, {"a": 0.0, "b": 5.0})
    in_order = Combination("lexicographic", order=("a", "b"))
    seen = compute_advantages(rows, {"a": 1.0, "b": 1.0}, "none", combination=in_order)
    assert seen.rewards == pytest.approx([0.375, 0.3, 0.15])
