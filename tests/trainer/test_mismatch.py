"""How far the sampler is from the trainer: by hand, over ranks, and where numbers are extreme or no numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.loss_batches import batch_of
from trainer.composite import Composite
from trainer.mismatch import Bounds, Mismatch, clip_bounds, measure
from trainer.places import METRICS
from trainer.term import make_term


class Alone:
    """A group of one."""

    def gather(self, value):
        return [value]

    def gather_bytes(self, data):
        return [data]


PLAIN = Bounds()


def told(trainer, sampler, staleness=None, lengths=None, bounds=PLAIN, mask=None):
    batch = batch_of(trainer, lengths, inference_logprobs=sampler)
    batch = batch if mask is None else replace(batch, loss_mask=torch.tensor(mask))
    mismatch = Mismatch(bounds)
    mismatch.add(batch, None if staleness is None else torch.tensor(staleness))
    return {name.removeprefix("mismatch/"): value for name, value in mismatch.metrics(Alone()).items()}


def test_three_tokens_by_hand():
    """Log ratios 0, log 2 and -log 4: ratios 1, 2 and 1/4."""
    two, four = math.log(2), math.log(4)
    seen = told([-1.0, -1.0, -3.0], [-1.0, -1.0 - two, -3.0 + four], staleness=[0, 1, 1], lengths=[2, 1])
    assert seen["kl"] == pytest.approx((four - two) / 3)
    assert seen["kl_k3"] == pytest.approx(((2 - 1 - two) + (0.25 - 1 + four)) / 3)
    assert seen["kl/staleness_0"] == 0.0 and seen["kl/staleness_1"] == pytest.approx((four - two) / 2)
    assert seen["difference_max"] == pytest.approx(four)
    # sorted ratios 1/4, 1, 2: 2% of the way from the first to the second, and 98% from the second to the last
    quantiles = [seen[f"ratio_{name}"] for name in ("p01", "p50", "p99", "max")]
    assert quantiles == pytest.approx([0.25 + 0.02 * 0.75, 1.0, 1.98, 2.0])
    assert seen["clipped"] == pytest.approx(2 / 3)
    # geometric means: sqrt(2) of the first sequence, 1/4 of the second
    assert (seen["sequence_ratio_min"], seen["sequence_ratio_max"]) == pytest.approx((0.25, math.sqrt(2)))
    assert seen["lost"] == 0.0


def test_every_number_that_a_step_has_may_be_watched():
    assert set(told([-1.0], [-1.1])) == set(METRICS["mismatch"])


def test_masked_tokens_do_not_count():
    seen = told([-1.0, -9.0, -1.5], [-1.0, -1.0, -1.5], staleness=[0, 3, 0], mask=[True, False, True])
    assert (seen["kl"], seen["ratio_max"], seen["clipped"]) == (0.0, 1.0, 0.0)
    assert "kl/staleness_3" not in seen


def test_demonstrations_have_no_sampler():
    mismatch = Mismatch(Bounds())
    mismatch.add(batch_of([-1.0, -2.0]), None)
    assert mismatch.metrics(Alone()) == {}


def test_extremes_do_not_overflow_and_nan_is_counted_apart():
    seen = told([-math.inf, -0.0, math.nan, -1.0], [-1.0, -900.0, -1.0, -1.0], staleness=[0, 0, 0, 0])
    assert seen["lost"] == 1.0
    assert all(math.isfinite(value) for value in seen.values())
    assert seen["difference_max"] == pytest.approx(1e4 - 1)
    assert seen["ratio_max"] == pytest.approx(math.exp(20))
    assert seen["clipped"] == 0.5  # of four: the two extremes
    assert told([math.nan], [-1.0]) == {"lost": 1.0}


@given(st.lists(st.floats(-30, 0), min_size=1, max_size=20), st.lists(st.floats(-30, 0), min_size=20, max_size=20))
def test_k3_is_never_negative_and_quantiles_ascend(trainer, sampler):
    seen = told(trainer, sampler[: len(trainer)])
    assert seen["kl_k3"] >= 0
    ordered = [seen[f"ratio_{name}"] for name in ("p01", "p50", "p99", "max")]
    assert ordered == sorted(ordered)


def test_k1_and_k3_estimate_the_same_divergence():
    """The exact mean over tokens that the sampler draws from (1/2, 1/4, 1/4), the trainer being (1/4, 1/4, 1/2)."""
    drawn = np.log([0.25 / 0.5] * 2 + [1.0] + [2.0])
    seen = measure(drawn, drawn, np.zeros(0), 0)
    assert seen["kl"] == pytest.approx(seen["kl_k3"])
    assert seen["kl"] == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5))


@pytest.mark.parametrize(
    ("terms", "bounds"),
    [
        ([("kl", {}), ("dapo", {})], Bounds(0.8, 1.28)),
        ([("gspo", {})], Bounds(1 - 3e-4, 1 + 4e-4, "sequence")),
        ([("grpo", {"eps_low": 0.1, "span": "segment"})], Bounds(0.9, 1.2, "segment")),
        ([("grpo", {"eps_high": {"schedule": "linear", "start": 0.2, "end": 0.4}})], Bounds(0.8, 1.3)),
        ([("reinforce", {}), ("kl", {})], Bounds(0.8, 1.2)),
    ],
)
def test_bounds_are_those_of_the_policy_term_at_the_step(terms, bounds):
    composite = Composite(
        [make_term(f"t{place}", type=type, kwargs=kwargs) for place, (type, kwargs) in enumerate(terms)]
    )
    found = clip_bounds(composite, 5, 11)
    assert (found.low, found.high, found.span) == (pytest.approx(bounds.low), pytest.approx(bounds.high), bounds.span)


def test_a_sequence_is_clipped_as_a_whole_where_its_term_does_so():
    """Ratios 2 and 1/2: apart from each other both are outside, their geometric mean is 1."""
    two = math.log(2)
    assert told([-1.0, -1.0], [-1.0 - two, -1.0 + two])["clipped"] == 1.0
    assert told([-1.0, -1.0], [-1.0 - two, -1.0 + two], bounds=Bounds(span="sequence"))["clipped"] == 0.0


@pytest.mark.parametrize(("ranks", "case"), [("one_rank", "mismatch:0"), ("two_ranks", "mismatch:2")])
def test_the_engine_tells_of_all_tokens_of_all_ranks_whatever_the_cut(ranks, case, request):
    results = [found[case] for found, _ in request.getfixturevalue(ranks)]
    assert all(found["told"] == results[0]["told"] for found in results)
    logs, staleness = np.array(results[0]["logs"]), np.array(results[0]["staleness"])
    # of 24 tokens 4 are given: each sequence's second, where it has one
    assert len(logs) == 20
    for seen in results[0]["told"]:
        assert seen["mismatch/kl"] == pytest.approx(-logs.mean(), abs=1e-6)
        assert seen["mismatch/difference_max"] == pytest.approx(np.abs(logs).max(), abs=1e-6)
        assert seen["mismatch/ratio_p99"] == pytest.approx(np.quantile(np.exp(logs), 0.99), abs=1e-6)
        outside = (np.exp(logs) < 0.8) | (np.exp(logs) > 1.2)
        assert seen["mismatch/clipped"] == pytest.approx(outside.mean())
        for age in (0, 1, 2):
            assert seen[f"mismatch/kl/staleness_{age}"] == pytest.approx(-logs[staleness == age].mean(), abs=1e-6)
