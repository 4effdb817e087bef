"""Preference terms: values and gradients by hand, gradcheck, incomplete pairs, statistics of the step, hostile inputs."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.composite import Composite
from trainer.losses import group_preference, preference, preference_absolute, preference_reference_free
from trainer.losses.aggregation import Counts
from trainer.losses.packed import PackedBatch
from trainer.term import make_term

TERMS = {
    **preference.TERMS,
    **preference_absolute.TERMS,
    **preference_reference_free.TERMS,
    **group_preference.TERMS,
}
STATISTICS = {"kl": 0.4, "delta": -0.2}


def s(x):
    return 1 / (1 + math.exp(-x))


def softplus(x):
    return math.log1p(math.exp(x))


def pack(lengths, logprobs, dtype=torch.float64, **fields):
    """Sequences of these lengths; tensors of tokens among the fields are lists of floats."""
    index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
    tokens = {"ref_logprobs", "rewards", "values"}
    tensors = {n: torch.tensor(v, dtype=dtype if n in tokens else torch.int64) for n, v in fields.items()}
    return PackedBatch(
        trainer_logprobs=torch.tensor(logprobs, dtype=dtype).requires_grad_(),
        sequence_index=index,
        sequence_count=len(lengths),
        loss_mask=torch.ones(len(index), dtype=torch.bool),
        statistics=STATISTICS,
        **tensors,
    )


def one_pair():
    """Log-ratios: chosen 1 - 0.5 = 0.5 over two tokens, rejected -1 over one. Log-probabilities: -3 and -3."""
    return pack(
        [2, 1],
        [-1.0, -2.0, -3.0],
        ref_logprobs=[-2.0, -1.5, -2.0],
        rewards=[0.75, 0.25],
        chosen=[0],
        rejected=[1],
        group_index=[0, 0],
        group_tokens=[3],
    )


L3 = softplus(-3.0)
ODDS = (-1.5 - math.log(1 - math.exp(-1.5))) - (-3 - math.log(1 - math.exp(-3.0)))
# Term, arguments, value, gradient of a chosen token, gradient of a rejected token; z = 3 where beta is 2.
BY_HAND = [
    ("dpo", {"beta": 2.0}, L3, -2 * s(-3), 2 * s(-3)),
    ("dpo", {"beta": 2.0, "length_alpha": 0.5}, softplus(-3.5), -2 * s(-3.5), 2 * s(-3.5)),
    ("dpo", {"beta": 2.0, "reward_margin": 2.0}, softplus(-2.0), -2 * s(-2), 2 * s(-2)),
    ("dpo", {"beta": 2.0, "reward_weight": 2.0}, L3 / 4, -s(-3) / 2, s(-3) / 2),
    ("cdpo", {"beta": 2.0}, L3 + 0.3, 2 * (0.1 - s(-3)), -2 * (0.1 - s(-3))),
    ("robust_dpo", {"beta": 2.0}, L3 - 0.375, -2 * (s(-3) + 0.125), 2 * (s(-3) + 0.125)),
    ("ipo_sum", {"beta": 0.25}, 0.25, -1.0, 1.0),
    ("ipo_mean", {"beta": 0.25}, 0.5625, -0.75, 1.5),
    ("hinge", {"beta": 2.0}, 0.0, 0.0, 0.0),
    ("hinge", {"beta": 0.5}, 0.25, -0.5, 0.5),
    ("hinge", {"beta": 2.0, "reward_margin": 5.0}, 0.5, -2.0, 2.0),
    (
        "exo",
        {"beta": 2.0, "label_smoothing": 0.1},
        s(3) * math.log(s(3) / 0.9) + s(-3) * math.log(s(-3) / 0.1),
        2 * s(3) * s(-3) * (3 - math.log(9)),
        -2 * s(3) * s(-3) * (3 - math.log(9)),
    ),
    (
        "discopop",
        {"beta": 2.0, "temperature": 0.5},
        s(-6) * L3 + s(6) * math.exp(-3),
        2 * (-s(-6) * s(-3) + 2 * s(6) * s(-6) * (math.exp(-3) - L3) - s(6) * math.exp(-3)),
        -2 * (-s(-6) * s(-3) + 2 * s(6) * s(-6) * (math.exp(-3) - L3) - s(6) * math.exp(-3)),
    ),
    ("nca", {"beta": 2.0}, softplus(-1) + (softplus(1) + softplus(-2)) / 2, 2 * (s(1) / 2 - s(-1)), s(-2)),
    ("sppo_hard", {"beta": 0.25}, 3.25, -3.0, 2.0),
    ("apo_zero", {"beta": 2.0}, s(-1) + s(-2), -2 * s(1) * s(-1), 2 * s(2) * s(-2)),
    ("apo_down", {"beta": 2.0}, s(1) + s(-3), 2 * (s(1) * s(-1) - s(3) * s(-3)), 2 * s(3) * s(-3)),
    ("bco", {"beta": 2.0, "delta": 0.5}, softplus(-0.5) + softplus(-2.5), -2 * s(-0.5), 2 * s(-2.5)),
    ("bco", {"beta": 2.0}, softplus(-1.2) + softplus(-1.8), -2 * s(-1.2), 2 * s(-1.8)),
    (
        "kto",
        {"beta": 2.0, "kl": 0.3, "desirable_weight": 2.0, "undesirable_weight": 3.0},
        s(-0.4) + 1.5 * s(-2.6),
        -2 * s(0.4) * s(-0.4),
        3 * s(2.6) * s(-2.6),
    ),
    ("kto", {"beta": 2.0}, (s(-0.2) + s(-2.8)) / 2, -s(0.2) * s(-0.2), s(2.8) * s(-2.8)),
    ("simpo", {"beta": 2.0, "gamma": 0.5}, softplus(-2.5), -s(-2.5), 2 * s(-2.5)),
    ("simpo", {"beta": 2.0, "gamma": 0.5, "reward_margin": 1.0}, softplus(-2.0), -s(-2), 2 * s(-2)),
    ("cpo", {"beta": 0.5}, math.log(2), -0.25, 0.25),
    ("cpo", {"beta": 0.5, "reward_weight": 1.0}, math.log(2) / 2, -0.125, 0.125),
    ("orpo", {}, softplus(-ODDS), -s(-ODDS) / (1 - math.exp(-1.5)) / 2, s(-ODDS) / (1 - math.exp(-3))),
    ("nll_chosen", {}, 1.5, -0.5, 0.0),
    ("nll_chosen", {"average": False}, 3.0, -1.0, 0.0),
    ("group_preference", {"beta": 2.0}, L3, -2 * s(-3), 2 * s(-3)),
]


@pytest.mark.parametrize(("name", "kwargs", "value", "chosen", "rejected"), BY_HAND)
def test_a_pair_by_hand(name, kwargs, value, chosen, rejected):
    batch = one_pair()
    values = TERMS[name].function(batch, **kwargs).values
    (gradient,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
    assert values.tolist() == pytest.approx([value], abs=1e-12)
    assert gradient.tolist() == pytest.approx([chosen, chosen, rejected], abs=1e-12)


def test_every_term_is_tried_by_hand():
    assert {name for name, *_ in BY_HAND} | {"kto_unpaired"} == set(TERMS)


def test_unpaired_kto_by_hand():
    """Rewards 0.75 and 0.25 around the threshold, then a sequence without tokens that would be desirable."""
    batch = pack([2, 1, 0], [-1.0, -2.0, -3.0], ref_logprobs=[-2.0, -1.5, -2.0], rewards=[0.75, 0.25, 0.9])
    term = TERMS["kto_unpaired"].function
    weights = {"desirable_weight": 2.0, "undesirable_weight": 3.0}
    values = term(batch, beta=2.0, kl=0.3, **weights).values
    (gradient,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
    assert values.tolist() == pytest.approx([2 * s(-0.4), 3 * s(-2.6), 0.0], abs=1e-12)
    assert gradient.tolist() == pytest.approx([-4 * s(0.4) * s(-0.4)] * 2 + [6 * s(2.6) * s(-2.6)], abs=1e-12)
    assert term(batch, beta=2.0, kl=0.3, threshold=0.8).values.tolist() == pytest.approx([s(0.4), s(-2.6), 0.0])


def test_the_reference_point_is_never_below_zero():
    batch = replace(one_pair(), statistics={"kl": -3.0})
    assert TERMS["kto"].function(batch, beta=2.0).values.item() == pytest.approx((s(-1) + s(-2)) / 2, abs=1e-12)


def test_metrics_are_of_whole_pairs_in_units_of_reward():
    batch = pack(
        [2, 1, 1, 0],
        [-1.0, -2.0, -3.0, -1.0],
        ref_logprobs=[-2.0, -1.5, -2.0, -1.0],
        chosen=[0, 1, 2],
        rejected=[1, 0, 3],
    )
    metrics = TERMS["dpo"].function(batch, beta=2.0).metrics
    assert {name: (float(m.total), m.count) for name, m in metrics.items()} == {
        "chosen_reward": (-1.0, 2.0),
        "rejected_reward": (-1.0, 2.0),
        "reward_gap": (0.0, 2.0),
        "accuracy": (1.0, 2.0),
    }


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if term.scope == "pair"])
def test_a_pair_that_lost_a_sequence_is_nothing(name):
    """The second pair's rejected sequence has no token that counts; the third pair's chosen has none."""
    batch = pack(
        [2, 1, 0],
        [-1.0, -2.0, -3.0],
        ref_logprobs=[-2.0, -1.5, -2.0],
        rewards=[0.75, 0.25, 0.0],
        chosen=[0, 1, 2],
        rejected=[1, 2, 0],
    )
    values = TERMS[name].function(batch).values
    assert values[1:].tolist() == [0.0, 0.0]
    (gradient,) = torch.autograd.grad(values[1:].sum(), batch.trainer_logprobs, retain_graph=True)
    assert not gradient.any()
    assert values[0].item() == TERMS[name].function(one_pair()).values.item()


@pytest.mark.parametrize("name", TERMS)
def test_nothing_at_all_is_nothing(name):
    empty = {"ref_logprobs": [], "rewards": [], "chosen": [], "rejected": [], "group_index": [], "group_tokens": []}
    output = TERMS[name].function(pack([], [], **empty))
    assert output.values.shape == (0,)
    assert all(metric.count == 0 and float(metric.total) == 0 for metric in output.metrics.values())


def random_batch(lengths, seed=0, dtype=torch.float64):
    """Groups of three sequences; each has a pair of its first two."""
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    groups = len(lengths) // 3
    return pack(
        lengths,
        (-3 * torch.rand(tokens, generator=generator) - 0.05).tolist(),
        dtype,
        ref_logprobs=(-3 * torch.rand(tokens, generator=generator) - 0.05).tolist(),
        rewards=[0.9, 0.1, 0.4] * groups,
        chosen=[3 * group for group in range(groups)],
        rejected=[3 * group + 1 for group in range(groups)],
        group_index=[group for group in range(groups) for _ in range(3)],
        group_tokens=[sum(lengths[3 * group : 3 * group + 3]) for group in range(groups)],
    )


OPTIONS = {
    "dpo": {"length_alpha": 0.1, "reward_margin": 0.5, "reward_weight": 0.5},
    "cdpo": {"reward_margin": 0.5},
    "robust_dpo": {"reward_weight": 1.0},
    "simpo": {"reward_margin": 0.5, "reward_weight": 2.0},
}


@pytest.mark.parametrize("options", [{}, OPTIONS])
@pytest.mark.parametrize("name", TERMS)
def test_gradcheck(name, options):
    batch = random_batch([3, 2, 1, 2, 4, 1])

    def values(logprobs):
        return TERMS[name].function(replace(batch, trainer_logprobs=logprobs), **options.get(name, {})).values

    assert torch.autograd.gradcheck(values, (batch.trainer_logprobs,))


def test_a_group_is_the_mean_over_its_ordered_pairs():
    """Log-ratios 0.5, -1, 0.25 with rewards 2, 1, 1 (two ordered pairs), then a group of equals, then one alone."""
    batch = pack(
        [1, 1, 1, 1, 1, 1, 0],
        [-1.0] * 6,
        ref_logprobs=[-1.5, 0.0, -1.25, -1.0, -2.0, -3.0],
        rewards=[2.0, 1.0, 1.0, 5.0, 5.0, 7.0, 1.0],
        group_index=[1, 1, 1, 0, 0, 2, 2],
        group_tokens=[2, 3, 1],
    )
    values = TERMS["group_preference"].function(batch, beta=2.0).values
    (gradient,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
    assert values.tolist() == pytest.approx([0.0, (softplus(-3.0) + softplus(-0.5)) / 2, 0.0], abs=1e-12)
    expected = [-s(-3) - s(-0.5), s(-3), s(-0.5), 0.0, 0.0, 0.0]
    assert gradient.tolist() == pytest.approx(expected, abs=1e-12)


def test_float_noise_is_no_preference():
    batch = replace(one_pair(), rewards=torch.tensor([0.1 + 0.2, 0.3], dtype=torch.float64))
    assert batch.rewards[0] > batch.rewards[1]
    assert TERMS["group_preference"].function(batch).values.tolist() == [0.0]


def test_a_group_of_two_is_dpo():
    batch = one_pair()
    group = TERMS["group_preference"].function(batch, beta=0.3).values
    assert group.tolist() == TERMS["dpo"].function(batch, beta=0.3).values.tolist()


@pytest.mark.parametrize("name", ["kto", "kto_unpaired", "bco"])
def test_what_is_estimated_is_the_mean_over_the_step_however_it_is_cut(name):
    whole = random_batch([3, 2, 1, 2, 4, 1, 1, 1, 5])
    composite = Composite([make_term("t", type=name)])
    normalisers = composite.normalisers(Counts(tokens=20, sequences=9, pairs=3))

    def run(batches):
        parts = [composite.measure(batch, 0, 1)["t"] for batch in batches]
        found = {key: sum(float(p[key].total) for p in parts) / sum(p[key].count for p in parts) for key in parts[0]}
        loss = sum(composite.loss(batch, normalisers, 0, 1, {"t": found}).loss for batch in batches)
        leaves = [batch.trainer_logprobs for batch in batches]
        return found, loss.item(), torch.cat(torch.autograd.grad(loss, leaves))

    ratios = whole.sequence_sums(whole.trainer_logprobs.detach() - whole.ref_logprobs)
    expected = 0.1 * ratios[[0, 1, 3, 4, 6, 7]].mean() if name == "bco" else ratios.mean()
    statistics, loss, gradient = run([whole])
    (key,) = statistics
    assert statistics[key] == pytest.approx(float(expected), abs=1e-14)
    cut, cut_loss, cut_gradient = run([cut_groups(whole, 0, 1), cut_groups(whole, 1, 3)])
    assert cut[key] == pytest.approx(statistics[key], abs=1e-14)
    assert cut_loss == pytest.approx(loss, abs=1e-14)
    assert torch.allclose(cut_gradient, gradient, atol=1e-15, rtol=0)


def cut_groups(batch, start, end):
    """The groups from `start` to `end` of a batch of groups of three, as a batch of their own."""
    rows = slice(3 * start, 3 * end)
    tokens = (batch.sequence_index >= 3 * start) & (batch.sequence_index < 3 * end)
    pairs = slice(start, end)
    return PackedBatch(
        trainer_logprobs=batch.trainer_logprobs.detach()[tokens].requires_grad_(),
        sequence_index=batch.sequence_index[tokens] - 3 * start,
        sequence_count=3 * (end - start),
        loss_mask=batch.loss_mask[tokens],
        ref_logprobs=batch.ref_logprobs[tokens],
        rewards=batch.rewards[rows],
        chosen=batch.chosen[pairs] - 3 * start,
        rejected=batch.rejected[pairs] - 3 * start,
        group_index=batch.group_index[rows] - start,
        group_tokens=batch.group_tokens[pairs],
    )


class Operations(TorchDispatchMode):
    """Counts what is launched."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", TERMS)
def test_what_is_launched_does_not_grow_with_the_batch(name):
    def launched(groups):
        batch = random_batch([2, 3, 1] * groups)
        with Operations() as operations:
            TERMS[name].function(batch).values.sum().backward()
        return operations.count

    assert launched(2) == launched(60)


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        *((name, {"beta": 0.0}, "beta must be greater than 0, not 0.0") for name in TERMS if name not in ("orpo", "nll_chosen")),
        ("dpo", {"reward_margin": -1.0}, "reward_margin must be at least 0, not -1.0"),
        ("cpo", {"reward_weight": -1.0}, "reward_weight must be at least 0, not -1.0"),
        ("cdpo", {"label_smoothing": 0.5}, "label_smoothing must be at least 0 and below 0.5, not 0.5"),
        ("robust_dpo", {"label_smoothing": -0.1}, "label_smoothing must be at least 0 and below 0.5"),
        ("exo", {"label_smoothing": 0.0}, "label_smoothing must be above 0 and below 0.5, not 0.0"),
        ("discopop", {"temperature": 1.0}, "temperature must lie between 0 and 1, not 1.0"),
        ("simpo", {"gamma": -0.5}, "gamma must be at least 0, not -0.5"),
        ("kto", {"kl": -0.1}, "kl must be at least 0, not -0.1"),
        ("kto_unpaired", {"desirable_weight": -1.0}, "desirable_weight must be at least 0"),
    ],
)
def test_values_outside_their_range_are_refused(name, kwargs, said):
    with pytest.raises(ValueError, match=said):
        TERMS[name].function(one_pair(), **kwargs)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", TERMS)
def test_long_sequences_far_apart_give_finite_values_and_gradients(name, sign):
    """Log-ratios of 20,000 nats, against what the pair says and with it: any exponential of them is infinite."""
    ratios = [10.0 * sign] * 2000 + [-10.0 * sign] * 2000
    batch = pack(
        [2000, 2000],
        [-15.0 + ratio / 2 for ratio in ratios],
        ref_logprobs=[-15.0 - ratio / 2 for ratio in ratios],
        rewards=[1.0, 0.0],
        chosen=[0],
        rejected=[1],
        group_index=[0, 0],
        group_tokens=[4000],
    )
    values = TERMS[name].function(batch).values
    (gradient,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
    assert values.isfinite().all() and gradient.isfinite().all()


hostile = st.one_of(st.floats(-1e30, 0.0), st.sampled_from([-math.inf, -1e-300, 0.0, -1e4, -100.0, 1e30]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.tuples(hostile, hostile), max_size=3), min_size=3, max_size=3),
    st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_hostile_log_probabilities_give_finite_values_and_gradients(sequences, rewards, dtype):
    tokens = [token for sequence in sequences for token in sequence]
    batch = pack(
        [len(sequence) for sequence in sequences],
        [token[0] for token in tokens],
        dtype,
        ref_logprobs=[token[1] for token in tokens],
        rewards=list(rewards),
        chosen=[0, 2],
        rejected=[1, 1],
        group_index=[0, 0, 0],
        group_tokens=[len(tokens)],
    )
    for name, term in TERMS.items():
        values = term.function(batch, **OPTIONS.get(name, {})).values
        (gradient,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
        assert values.isfinite().all(), name
        assert gradient.isfinite().all(), name
        # a log-probability above 0 is none: all that is asked of a likelihood then is that it is finite
        assert not term.non_negative or name == "nll_chosen" or (values >= -1e-12).all(), name
