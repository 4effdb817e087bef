"""Generalised advantage estimation: by hand, its two limits, a sequence's independence of its neighbours."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.gae import gae


def index(lengths):
    return torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64))


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def test_by_hand():
    """Discount 1/2, trace 1/2. Values 1, 2, 4 with reward 8; then a value 3 with reward 1.

    deltas: 0 + 1 - 1 = 0, 0 + 2 - 2 = 0, 8 - 4 = 4; advantages: 4, 4 / 4 = 1, 1 / 4. The other: 1 - 3.
    """
    found = gae(tensor([1.0, 2.0, 4.0, 3.0]), index([3, 0, 1]), tensor([8.0, 99.0, 1.0]), discount=0.5, trace=0.5)
    assert found.advantages.tolist() == [0.25, 1.0, 4.0, -2.0]
    assert found.returns.tolist() == [1.25, 3.0, 8.0, 1.0]


lengths = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def draw(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
    return values, index(sizes), torch.randn(len(sizes), generator=generator, dtype=torch.float64)


@settings(deadline=None)
@given(lengths, st.integers(0, 999), st.floats(0, 1))
def test_with_trace_1_the_return_is_the_discounted_reward_whatever_the_values(sizes, seed, discount):
    values, sequences, rewards = draw(sizes, seed)
    found = gae(values, sequences, rewards, discount=discount, trace=1.0)
    expected = [
        discount ** (size - 1 - t) * float(reward)
        for size, reward in zip(sizes, rewards, strict=True)
        for t in range(size)
    ]
    assert found.returns.tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(lengths, st.integers(0, 999), st.floats(0, 1))
def test_with_trace_0_the_return_is_one_step_ahead(sizes, seed, discount):
    values, sequences, rewards = draw(sizes, seed)
    found = gae(values, sequences, rewards, discount=discount, trace=0.0)
    rows = values.split(sizes)
    expected = [
        float(reward) if t + 1 == len(row) else discount * float(row[t + 1])
        for row, reward in zip(rows, rewards, strict=True)
        for t in range(len(row))
    ]
    assert found.returns.tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(lengths, st.integers(0, 999), st.floats(0, 1), st.floats(0, 1))
def test_it_is_the_discounted_sum_of_one_step_errors(sizes, seed, discount, trace):
    values, sequences, rewards = draw(sizes, seed)
    found = gae(values, sequences, rewards, discount=discount, trace=trace)
    expected = []
    for row, reward in zip(values.split(sizes), rewards.tolist(), strict=True):
        v = [*row.tolist(), 0.0]
        deltas = [(reward if t + 1 == len(row) else 0.0) + discount * v[t + 1] - v[t] for t in range(len(row))]
        expected += [
            math.fsum((discount * trace) ** (k - t) * deltas[k] for k in range(t, len(row))) for t in range(len(row))
        ]
    assert found.advantages.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_perfect_value_head_has_no_advantages():
    found = gae(tensor([2.0, 2.0, 2.0]), index([3]), tensor([2.0]))
    assert not found.advantages.any()


def test_float32_is_computed_in_float64():
    sizes = [4000]
    values, sequences, rewards = draw(sizes, 1)
    single = gae(values.float(), sequences, rewards.float(), trace=1.0)
    assert single.returns.dtype == torch.float32
    assert (single.returns == rewards.float()).all()


def test_no_tokens_and_no_sequences():
    assert gae(tensor([]), index([]), tensor([])).advantages.shape == (0,)
    assert gae(tensor([]), index([0, 0]), tensor([1.0, 2.0])).returns.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"values": [1.0]}, r"must be \[N\], \[N\] and \[B\]"),
        ({"sequences": [1, 0]}, "sequence_index must ascend within 0 to 1"),
        ({"sequences": [0, 2]}, "sequence_index must ascend within 0 to 1"),
        ({"rewards": [math.nan, 0.0]}, "must be finite"),
        ({"values": [math.inf, 0.0]}, "must be finite"),
        ({"discount": 1.1}, "discount must lie between 0 and 1, not 1.1"),
        ({"trace": -0.1}, "trace must lie between 0 and 1, not -0.1"),
    ],
)
def test_bad_input_is_refused(arguments, said):
    given_ = {"values": [1.0, 2.0], "sequences": [0, 1], "rewards": [1.0, 0.0]} | arguments
    options = {name: value for name, value in given_.items() if name in ("discount", "trace")}
    with pytest.raises(ValueError, match=said):
        gae(tensor(given_["values"]), torch.tensor(given_["sequences"]), tensor(given_["rewards"]), **options)
