"""The score-function terms by hand."""

import pytest
import torch

from tests.trainer.loss_batches import batch_of, metric, values_and_gradients
from trainer.losses.reinforce import length, reinforce


def test_reinforce_by_hand():
    values, gradients = values_and_gradients(reinforce, batch_of([-1.0, -7.0], advantages=[2.0, -3.0]))
    assert values == gradients == [-2.0, 3.0]


def groups(lengths, index, tokens, sequences):
    return batch_of(
        [-1.0] * sum(lengths),
        lengths,
        group_index=torch.tensor(index),
        group_tokens=torch.tensor(tokens),
        group_sequences=torch.tensor(sequences),
    )


def test_length_is_relative_to_the_group_of_the_whole_step():
    # A group of 1 and 3 tokens; a group with one of its two sequences elsewhere, where it has 8 tokens.
    batch = groups([1, 3, 2], [0, 0, 1], [4, 10], [2, 2])
    values, gradients = values_and_gradients(length, batch)
    assert values == gradients == pytest.approx([-0.5, 0.5, 0.5, 0.5, -0.6, -0.6], abs=1e-12)
    assert metric(length(batch), "relative_length") == pytest.approx((0.5 + 1.5 + 0.4) / 3)


def test_length_has_no_gradient_where_all_are_equally_long():
    assert values_and_gradients(length, groups([2, 2, 3], [0, 0, 1], [4, 3], [2, 1]))[1] == [0.0] * 7


def test_a_sequence_without_tokens_has_no_length():
    batch = groups([2, 0, 4], [0, 0, 0], [6], [2])
    assert values_and_gradients(length, batch)[1] == pytest.approx([-1 / 3] * 2 + [1 / 3] * 4)
    assert length(batch).metrics["relative_length"].count == 2
