"""Advantages from a value head over micro-batches: by hand, and whitened over all ranks."""

import pytest
import torch

from trainer.batching import make_micro_batches
from trainer.estimation import estimate_advantages
from trainer.sample import Sample


class Constant:
    """An engine whose value head says the same for each token."""

    def __init__(self, value):
        self._value = value

    def scores(self, batch, wanted):
        assert wanted == {"values"}
        return {"values": torch.full(batch.known.loss_mask.shape, self._value)}


class Group:
    """Two ranks, of which the other one holds the same as this one."""

    def gather(self, value):
        return [value, value]


SAMPLES = [
    Sample([1], [2, 3], [-1.0, -1.0], None, 9.0, group=0, reward=1.0),
    Sample([1], [2], [-1.0], None, 9.0, group=0, reward=0.0),
]


def estimated(whiten):
    batches = make_micro_batches(SAMPLES, 1)
    return estimate_advantages(Constant(0.5), batches, Group(), gamma=0.5, gae_lambda=0.5, whiten=whiten)


def test_by_hand():
    """Reward 0: delta = 0 - 0.5. Reward 1: deltas 0.25 - 0.5 and 1 - 0.5, the first advantage -0.25 + 0.25 * 0.5."""
    short, long = (batch.known for batch in estimated(whiten=False))
    assert (short.advantages.tolist(), long.advantages.tolist()) == ([-0.5], [-0.125, 0.5])
    assert (short.returns.tolist(), long.returns.tolist()) == ([0.0], [0.375, 1.0])
    assert long.old_values.tolist() == [0.5, 0.5]


def test_whitened_over_all_ranks():
    """Six numbers, each twice: mean -1/24, squares about it 0.507..., divided by 5."""
    seen = torch.cat([batch.known.advantages for batch in estimated(whiten=True)])
    plain = torch.tensor([-0.5, -0.125, 0.5])
    twice = plain.repeat(2)
    assert seen.tolist() == pytest.approx(((plain - twice.mean()) / twice.std()).tolist())
