"""Micro-batches: every token once whatever the cut, equal numbers over ranks, lost log-probabilities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.batching import make_micro_batches
from trainer.losses.aggregation import Counts
from trainer.sample import Sample

A = Sample([1, 2], [3, 4, 5], logprobs=[-1.0, -2.0, -3.0], advantage=0.5)
B = Sample([6], [7], logprobs=[-4.0], advantage=-2.0)


def test_two_samples_by_hand():
    (batch,) = make_micro_batches([A, B], 4)
    assert batch.input_ids.tolist() == [[6, 7, 0, 0, 0], [1, 2, 3, 4, 5]]
    assert batch.attention_mask.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.known.sequence_index.tolist() == [0, 1, 1, 1]
    assert batch.position.tolist() == [1, 2, 3, 4]
    assert batch.known.loss_mask.tolist() == [True] * 4
    assert batch.known.inference_logprobs is not None and batch.known.inference_logprobs.tolist() == [
        -4.0,
        -1.0,
        -2.0,
        -3.0,
    ]
    assert batch.known.advantages is not None and batch.known.advantages.tolist() == [-2.0, 0.5, 0.5, 0.5]
    assert batch.known.ref_logprobs is None
    assert batch.counts == Counts(tokens=4, sequences=2)


def test_demonstrations_have_neither_behaviour_nor_advantages():
    (batch,) = make_micro_batches([Sample([1], [2, 3])], 1)
    assert batch.known.inference_logprobs is None and batch.known.advantages is None
    packed = batch.pack({"trainer_logprobs": torch.zeros(2)}, 0, 1)
    with pytest.raises(ValueError, match=r"needs advantages.*demonstrations have none"):
        packed.require("advantages")


def test_lost_log_probabilities_drop_their_token_and_are_counted():
    lost = Sample([1], [2, 3, 4], [-1.0, math.nan, -1.0], [-math.inf, -1.0, -1.0], advantage=1.0)
    gone = Sample([1], [2], [math.nan], [-1.0], advantage=1.0)
    (batch,) = make_micro_batches([lost, gone], 2)
    assert batch.known.loss_mask.tolist() == [False, False, False, True]
    assert batch.known.inference_logprobs is not None and batch.known.inference_logprobs.tolist() == [
        0.0,
        0.0,
        0.0,
        -1.0,
    ]
    assert batch.known.ref_logprobs is not None and batch.known.ref_logprobs.isfinite().all()
    assert batch.counts == Counts(tokens=1, sequences=1, dropped_tokens=3)


samples = st.lists(
    st.builds(
        lambda prompt, completion, advantage: Sample(prompt, completion, [-1.0] * len(completion), None, advantage),
        st.lists(st.integers(1, 99), min_size=1, max_size=6),
        st.lists(st.integers(1, 99), min_size=1, max_size=6),
        st.floats(-3, 3, width=32),
    ),
    max_size=9,
)


@settings(deadline=None)
@given(samples, st.integers(1, 5), st.integers(1, 4))
def test_ranks_together_hold_every_token_once_in_equally_many_batches(given_samples, size, world_size):
    ranks = [make_micro_batches(given_samples, size, rank=r, world_size=world_size) for r in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1 and ranks[0]
    seen = []
    for batch in (batch for batches in ranks for batch in batches):
        assert len(batch.input_ids) <= size
        if batch.counts.tokens == 0:
            assert batch.input_ids.shape == (1, 2) and not batch.known.loss_mask.any()
            continue
        for row, ids in enumerate(batch.input_ids):
            own = batch.known.sequence_index == row
            first = int(batch.position[own][0])
            completion = ids[batch.position[own]].tolist()
            assert batch.attention_mask[row].sum() == first + len(completion)
            assert batch.known.advantages is not None
            seen.append((ids[:first].tolist(), completion, float(batch.known.advantages[own][0])))
    expected = [(list(s.prompt_ids), list(s.completion_ids), s.advantage) for s in given_samples]
    assert sorted(seen) == sorted(expected)
    tokens = Counts.total(batch.counts for batches in ranks for batch in batches)
    assert tokens == Counts(sum(len(s.completion_ids) for s in given_samples), len(given_samples))


def test_the_cut_is_deterministic_and_sorted_by_length():
    many = [Sample([1], [2] * n) for n in (5, 1, 4, 1, 3)]
    widths = [batch.input_ids.shape for batch in make_micro_batches(many, 2)]
    assert widths == [(2, 2), (2, 5), (1, 6)]


def test_a_placeholder_has_the_tensors_of_its_step():
    placeholder = make_micro_batches([A], 1, rank=1, world_size=2)[0]
    assert placeholder.known.advantages is not None and placeholder.known.inference_logprobs is not None
    assert placeholder.counts == Counts(0, 0, 0)


@pytest.mark.parametrize(
    ("given_samples", "said"),
    [
        ([A, Sample([], [1])], "sample 1: prompt_ids is empty"),
        ([Sample([1], [])], "sample 0: completion_ids is empty"),
        ([Sample([1], [2, 3], [-1.0])], "sample 0: 1 logprobs for 2 completion tokens"),
        ([Sample([1], [2], [-1.0], [-1.0, -2.0])], "sample 0: 2 ref_logprobs for 1 completion tokens"),
        ([Sample([1], [2], [-1.0], None, math.inf)], "sample 0: advantage is inf"),
        ([A, Sample([1], [2])], "some samples have logprobs and some have not"),
    ],
)
def test_samples_that_cannot_be_trained_on_are_named(given_samples, said):
    with pytest.raises(ValueError, match=said):
        make_micro_batches(given_samples, 2)


def test_an_empty_micro_batch_size_is_refused():
    with pytest.raises(ValueError, match="micro_batch_size must be at least 1, not 0"):
        make_micro_batches([A], 0)


def rollout(length, group, reward, domain="math", **options):
    return Sample([1], [2] * length, [-1.0] * length, None, 0.5, group=group, reward=reward, domain=domain, **options)


GROUPS = [
    rollout(3, group=7, reward=0.25),
    rollout(1, group=9, reward=1.0, domain="code"),
    rollout(2, group=7, reward=1.0),
    rollout(4, group=9, reward=1.0 + 1e-9, domain="code"),
    rollout(1, group=7, reward=0.5),
]


def test_whole_groups_stay_together_with_their_pairs():
    """Group 9 holds 5 tokens and no preference: its rewards are equal but for rounding. Group 7: sample 2 over 0."""
    batches = make_micro_batches(GROUPS, 3, whole_groups=True)
    assert [batch.known.group_index.tolist() for batch in batches] == [[0, 0, 0], [0, 0]]
    first, second = (batch.known for batch in batches)
    assert (first.chosen.tolist(), first.rejected.tolist()) == ([1], [0])
    assert second.chosen.tolist() == second.rejected.tolist() == []
    assert first.rewards.tolist() == [0.25, 1.0, 0.5]
    assert (first.group_tokens.tolist(), first.group_sequences.tolist()) == ([6], [3])
    assert (first.domain_index.tolist(), second.domain_index.tolist()) == ([1, 1, 1], [0, 0])
    assert batches[0].domains == ("code", "math")
    assert Counts.total(b.counts for b in batches) == Counts(tokens=11, sequences=5, groups=2, pairs=1)


def test_a_group_that_is_dealt_out_is_counted_once_and_knows_its_whole_size():
    batches = make_micro_batches(GROUPS, 1)
    assert [batch.known.group_tokens.tolist() for batch in batches] == [[5], [6], [6], [6], [5]]
    assert Counts.total(b.counts for b in batches) == Counts(tokens=11, sequences=5, groups=2)
    assert batches[0].known.chosen is None


def test_a_group_larger_than_a_micro_batch_is_one_of_its_own():
    sizes = [len(batch.input_ids) for batch in make_micro_batches(GROUPS, 1, whole_groups=True)]
    assert sorted(sizes) == [2, 3]


def test_a_sequence_of_which_every_token_is_lost_is_in_no_pair_and_no_count():
    best = Sample([1], [2, 3], [math.nan] * 2, None, 0.5, group=0, reward=9.0)
    middle, worst = rollout(1, group=0, reward=1.0), rollout(2, group=0, reward=0.0)
    (batch,) = make_micro_batches([best, middle, worst], 3, whole_groups=True)
    assert (batch.known.chosen.tolist(), batch.known.rejected.tolist()) == ([1], [2])
    assert batch.known.group_tokens.tolist() == [3] and batch.known.group_sequences.tolist() == [2]
    assert batch.counts == Counts(tokens=3, sequences=2, groups=1, pairs=1, dropped_tokens=2)


def test_segments_are_numbered_through_and_counted_where_a_token_counts():
    one = rollout(3, group=0, reward=0.0, segments=[0, 0, 1])
    lost = Sample([1], [2, 3], [-1.0, math.nan], None, 0.5, group=0, reward=1.0, segments=[0, 1])
    (batch,) = make_micro_batches([one, lost], 2)
    assert batch.known.segment_index.tolist() == [0, 1, 2, 2, 3]
    assert batch.counts.segments == 3


def test_a_placeholder_belongs_to_the_step_and_adds_nothing():
    placeholder = make_micro_batches(GROUPS, 9, rank=1, world_size=2, whole_groups=True)[0]
    assert placeholder.counts == Counts(0, 0)
    assert placeholder.known.chosen.tolist() == [] and placeholder.known.group_index.tolist() == [0]
    assert not placeholder.known.loss_mask.any() and placeholder.domains == ("code", "math")


@pytest.mark.parametrize("segments", [[1, 1, 1], [0, 2, 2], [0, 1, 0]])
def test_segments_that_jump_are_refused(segments):
    with pytest.raises(ValueError, match="segments must begin with 0 and grow by at most 1"):
        make_micro_batches([rollout(3, group=0, reward=0.0, segments=segments)], 1)
