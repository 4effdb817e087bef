"""What holds for every term of the policy and KL families: gradients, hostile inputs, any cut, ranges that are refused."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainer.loss_batches import batch_of, values_and_gradients
from trainer.losses import clipped, kl, masked, reinforce, soft
from trainer.losses.contract import MissingInputError
from trainer.losses.packed import PackedBatch
from trainer.losses.ratio import log_ratio, sequence_log_ratio
from trainer.losses.registry import BUILT_IN_TERMS

# Every term, in each of its modes.
MODES = [
    ("ppo_clip", {"dual_clip": 3.0}),
    ("ppo_clip", {"span": "sequence", "eps_low": 0.01, "eps_high": 0.01}),
    ("grpo", {}),
    ("grpo", {"span": "segment"}),
    *[
        ("grpo", {"anchor": "old", "correction": name})
        for name in ("token_tis", "sequence_tis", "icepop", "sequence_mask")
    ],
    ("grpo", {"anchor": "old", "correction": "geometric_mask", "correction_min": 0.5, "correction_max": 2.0}),
    ("dr_grpo", {}),
    ("dapo", {}),
    ("gspo", {}),
    ("luspo", {}),
    ("cispo", {}),
    ("cispo", {"span": "sequence"}),
    ("sapo", {}),
    ("sapo", {"span": "segment"}),
    ("gmpo", {}),
    ("gmpo", {"span": "token"}),
    ("vespo", {}),
    ("dppo", {}),
    ("dppo", {"divergence": "kl", "ratio_max": 5.0}),
    ("prime_rl", {}),
    ("prime_rl", {"mask": "symmetric"}),
    ("prime_rl_ratio", {"kl_tau": 0.1}),
    ("prime_rl_ratio", {"weight": "sequence"}),
    ("reinforce", {}),
    ("reinforce", {"correction": "sequence_tis"}),
    ("length", {}),
    ("kl", {"estimator": "k2"}),
    ("kl", {"estimator": "k3"}),
    ("kl", {"estimator": "k1", "form": "score_function"}),
    ("kl", {"estimator": "k3", "form": "score_function"}),
]
FAMILY = {name for name, _ in MODES}


def call(name, batch, kwargs):
    return BUILT_IN_TERMS[name].function(batch, **kwargs)


def full_batch(lengths, columns, dtype=torch.float64):
    """Segments of up to two tokens; all sequences are one group."""
    count, sizes = sum(lengths), torch.tensor(lengths, dtype=torch.int64)
    index = torch.arange(len(lengths)).repeat_interleave(sizes)
    place = torch.arange(count) - (sizes.cumsum(0) - sizes)[index]
    starts = (place % 2 == 0).long()
    return batch_of(
        columns["trainer_logprobs"],
        lengths,
        dtype=dtype,
        segment_index=(starts.cumsum(0) - 1).clamp(min=0),
        group_index=torch.zeros(len(lengths), dtype=torch.int64),
        group_tokens=torch.tensor([count]),
        group_sequences=torch.tensor([sum(length > 0 for length in lengths)]),
        **{name: column for name, column in columns.items() if name != "trainer_logprobs"},
    )


COLUMNS = ("trainer_logprobs", "inference_logprobs", "old_logprobs", "ref_logprobs")


def ordinary(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = sum(lengths)
    base = -torch.rand(count, generator=generator, dtype=torch.float64) * 3 - 0.1
    noise = 0.3 * torch.randn(len(COLUMNS), count, generator=generator, dtype=torch.float64)
    columns = {name: (base + noise[row]).clamp(max=-1e-3).tolist() for row, name in enumerate(COLUMNS)}
    per_sequence = torch.randn(len(lengths), generator=generator, dtype=torch.float64)
    columns["advantages"] = per_sequence.repeat_interleave(torch.tensor(lengths, dtype=torch.int64)).tolist()
    return full_batch(lengths, columns)


def test_the_list_of_modes_is_complete():
    others = {"sft", "entropy"}
    mine = {name for module in (clipped, soft, masked, reinforce, kl) for name in module.TERMS}
    assert mine == FAMILY and not mine & others


STOPS_GRADIENTS = {"cispo", "vespo", "prime_rl_ratio", "reinforce", "length"}
DIFFERENTIABLE = [
    (name, kwargs)
    for name, kwargs in MODES
    if name not in STOPS_GRADIENTS and "form" not in kwargs and "ratio_max" not in kwargs
]


@pytest.mark.parametrize(("name", "kwargs"), DIFFERENTIABLE)
def test_gradcheck(name, kwargs):
    # Advantages are equal within a sequence: there the gradient of a span's mean is that of its sum of values.
    batch = ordinary([3, 1, 4], seed=3)

    def value(logprobs):
        return call(name, PackedBatch(**{**vars(batch), "trainer_logprobs": logprobs}), kwargs).values.sum()

    assert torch.autograd.gradcheck(value, (batch.trainer_logprobs,))
    assert values_and_gradients(BUILT_IN_TERMS[name].function, batch, **kwargs)[1] != [0.0] * 8


@pytest.mark.parametrize(("name", "kwargs"), MODES)
def test_sequences_do_not_see_each_other(name, kwargs):
    lengths = [3, 0, 1, 4, 2]
    whole = ordinary(lengths)
    values = call(name, whole, kwargs).values
    parts = []
    for first, last in itertools.pairwise([0, 2, 3, 5]):
        kept = (whole.sequence_index >= first) & (whole.sequence_index < last)
        changed = {
            "sequence_index": whole.sequence_index - first,
            "sequence_count": last - first,
            "group_index": whole.require("group_index")[first:last],
            "loss_mask": kept,
        }
        parts.append(call(name, PackedBatch(**{**vars(whole), **changed}).valid(), kwargs).values)
    assert torch.allclose(torch.cat(parts), values, atol=1e-14, rtol=0)


@pytest.mark.parametrize(("name", "kwargs"), MODES)
@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_nothing_is_no_loss(name, kwargs, lengths):
    output = call(name, ordinary(lengths), kwargs)
    assert output.values.shape == (0,)
    assert all(metric.count == 0 for metric in output.metrics.values())


class Kernels(TorchDispatchMode):
    """Counts what is launched."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "kwargs"), MODES)
def test_more_sequences_launch_no_more_kernels(name, kwargs):
    counts = []
    for batch in (ordinary([3, 2]), ordinary([3, 2] * 50)):
        with Kernels() as kernels:
            call(name, batch, kwargs)
        counts.append(kernels.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(("name", "kwargs"), MODES)
def test_precision_is_kept(name, kwargs):
    double = ordinary([3, 2])
    single = double.map_tokens(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    first, second = call(name, double, kwargs).values, call(name, single, kwargs).values
    assert (first.dtype, second.dtype) == (torch.float64, torch.float32)
    assert torch.allclose(first, second.double(), atol=1e-5)


hostile = st.one_of(st.floats(-1e30, 0.0), st.just(float("-inf")), st.sampled_from([0.0, -1e-30, -100.0]))
one_token = st.tuples(*[hostile] * len(COLUMNS), st.floats(-1e6, 1e6))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(one_token, max_size=3), min_size=1, max_size=4), st.booleans())
def test_hostile_inputs_give_finite_values_and_gradients(sequences, in_float32):
    tokens = [token for sequence in sequences for token in sequence]
    if not tokens:
        return
    columns = dict(zip((*COLUMNS, "advantages"), map(list, zip(*tokens, strict=True)), strict=True))
    lengths = [len(sequence) for sequence in sequences]
    batch = full_batch(lengths, columns, dtype=torch.float32 if in_float32 else torch.float64)
    for name, kwargs in MODES:
        values = call(name, batch, kwargs).values
        (gradient,) = torch.autograd.grad(values.sum(), batch.trainer_logprobs)
        assert values.isfinite().all() and gradient.isfinite().all(), (name, kwargs)


def test_two_impossible_tokens_have_a_ratio_of_1():
    infinite = float("-inf")
    batch = batch_of([infinite, infinite, -1.0], inference_logprobs=[infinite, -1.0, infinite])
    assert log_ratio(batch).tolist() == [0.0, -20.0, 20.0]


def test_the_ratio_of_a_sequence_stays_within_20_nats():
    batch = batch_of([-1.0] * 5, [3, 1, 1], inference_logprobs=[-13.0, -13.0, -13.0, -1.5, -9.0])
    assert sequence_log_ratio(batch, log_ratio(batch)).tolist() == [20.0, 20.0, 20.0, 0.5, 8.0]


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("grpo", {"eps_low": 0.0}, "eps_low must lie between 0 and 1, not 0.0"),
        ("grpo", {"eps_low": 1.0}, "eps_low must lie between 0 and 1"),
        ("grpo", {"eps_low": float("nan")}, "eps_low must lie between 0 and 1, not nan"),
        ("dapo", {"eps_high": -0.1}, "eps_high must lie between 0 and 1"),
        ("ppo_clip", {"dual_clip": 1.0}, "dual_clip must be greater than 1"),
        ("ppo_clip", {"anchor": "reference"}, "anchor must be 'behaviour' or 'old', not 'reference'"),
        ("gspo", {"span": "word"}, "span must be 'token', 'segment' or 'sequence', not 'word'"),
        ("gmpo", {"span": "word"}, "span must be 'token', 'segment' or 'sequence', not 'word'"),
        ("gmpo", {"eps_log_low": 0.0}, "eps_log_low must be greater than 0, not 0.0"),
        ("cispo", {"ratio_max": 0.2}, "ratio_max must be at least 1, not 0.2; it is a ratio"),
        ("cispo", {"ratio_min": 1.2}, "ratio_min must lie between 0 and 1, not 1.2; it is a ratio"),
        ("sapo", {"tau_neg": 0.0}, "tau_neg must be greater than 0"),
        ("vespo", {"k_pos": -1.0}, "k_pos must be at least 0, not -1.0"),
        ("vespo", {"lambda_neg": 0.0}, "lambda_neg must be greater than 0"),
        ("dppo", {"divergence": "js"}, "divergence must be 'tv' or 'kl', not 'js'"),
        ("dppo", {"delta_low": 0.0}, "delta_low must be greater than 0"),
        ("dppo", {"ratio_max": 0.5}, "ratio_max must be at least 1"),
        ("prime_rl", {"mask": "both"}, "mask must be 'signed' or 'symmetric', not 'both'"),
        ("prime_rl", {"kl_tau": -1.0}, "kl_tau must be at least 0"),
        ("prime_rl_ratio", {"geometric_min": 2.0}, "geometric_min must lie between 0 and 1, not 2.0"),
        ("prime_rl_ratio", {"sequence_max": 0.5}, "sequence_max must be at least 1"),
        ("prime_rl_ratio", {"weight": "mean"}, "weight must be 'token' or 'sequence', not 'mean'"),
    ],
)
def test_values_outside_their_range_are_refused(name, kwargs, said):
    with pytest.raises(ValueError, match=said):
        call(name, ordinary([2]), kwargs)


@pytest.mark.parametrize("name", [name for name, term in BUILT_IN_TERMS.items() if term.needs])
def test_a_term_says_what_it_misses(name):
    with pytest.raises(MissingInputError, match=f"needs ({'|'.join(BUILT_IN_TERMS[name].needs)})"):
        BUILT_IN_TERMS[name].function(batch_of([-1.0]))


@pytest.mark.parametrize(
    ("name", "kwargs", "missing"),
    [
        ("grpo", {"anchor": "old"}, "old_logprobs"),
        ("grpo", {"span": "segment"}, "segment_index"),
        ("reinforce", {"correction": "token_tis"}, "old_logprobs"),
    ],
)
def test_a_mode_says_what_it_misses(name, kwargs, missing):
    with pytest.raises(MissingInputError, match=f"needs {missing}"):
        call(name, batch_of([-1.0], inference_logprobs=[-1.0], advantages=[1.0]), kwargs)


def test_entropy_and_sft_by_hand():
    batch = batch_of([-0.5, -2.0], entropy=[1.0, 3.0])
    assert call("entropy", batch, {}).values.tolist() == [-1.0, -3.0]
    assert values_and_gradients(BUILT_IN_TERMS["sft"].function, batch) == ([0.5, 2.0], [-1.0, -1.0])
