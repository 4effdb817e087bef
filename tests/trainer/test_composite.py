"""The composite: its formula by hand, and a gradient that does not depend on how a step is cut."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.composite import Composite, NotFiniteLossError, NothingToTrainError
from trainer.losses.aggregation import Aggregation, Counts
from trainer.losses.contract import LossOutputs
from trainer.losses.packed import PackedBatch
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.term import TermError, make_term


def squared(inputs, scale: float = 1.0, entropy_scale: float = 0.1):
    """A user's loss that reads every tensor it gets."""
    per_token = scale * (inputs.trainer_logprobs - inputs.ref_logprobs) ** 2 * inputs.advantages.abs()
    per_token = per_token - entropy_scale * inputs.entropy * (inputs.inference_logprobs - 1)
    return LossOutputs(per_token[inputs.loss_mask].sum(), {"scale": torch.tensor(scale)})


def user_term(name, **options):
    return make_term(name, path=f"{__name__}.squared", needs=["ref_logprobs", "entropy"], **options)


class Step:
    """The sequences of one optimizer step with random tensors; some tokens are masked."""

    def __init__(self, lengths, seed):
        generator = torch.Generator().manual_seed(seed)

        def rand(n):
            return torch.rand(n, generator=generator, dtype=torch.float64)

        self.sequences = []
        for n in lengths:
            logprobs = -3 * rand(n) - 0.01
            self.sequences.append(
                {
                    "trainer_logprobs": logprobs.clone().requires_grad_(),
                    "entropy": (2 * rand(n)).requires_grad_(),
                    "inference_logprobs": logprobs + rand(n) - 0.5,
                    "ref_logprobs": logprobs + rand(n) - 0.5,
                    "advantages": (4 * rand(1) - 2).expand(n).clone(),
                    "loss_mask": rand(n) > 0.2,
                }
            )

    def counts(self, order=None):
        masks = [self.sequences[i]["loss_mask"] for i in (range(len(self.sequences)) if order is None else order)]
        return Counts(int(sum(m.sum() for m in masks)), sum(bool(m.any()) for m in masks))

    def pack(self, order, padding=0):
        """A micro-batch of these sequences; `padding` masked tokens full of garbage follow each."""

        def padded(name, i):
            tensor = self.sequences[i][name]
            fill = False if tensor.dtype is torch.bool else -77.0
            return torch.cat([tensor, torch.full((padding,), fill, dtype=tensor.dtype)])

        lengths = torch.tensor([len(self.sequences[i]["loss_mask"]) + padding for i in order])
        columns = {name: torch.cat([padded(name, i) for i in order]) for name in self.sequences[0]}
        return PackedBatch(
            sequence_index=torch.arange(len(order)).repeat_interleave(lengths), sequence_count=len(order), **columns
        )

    def gradients(self, loss):
        leaves = [s[name] for s in self.sequences for name in ("trainer_logprobs", "entropy")]
        parts = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])


KINDS = ["token_mean", "sequence_mean", "sequence_sum", "sum"]
aggregations = st.sampled_from(KINDS).map(lambda k: Aggregation(k, constant=7.0 if k == "sequence_sum" else 1.0))
weights = st.one_of(
    st.floats(-2, 2),
    st.just({"schedule": "linear", "start": 0.0, "end": 1.0}),
    st.just({"schedule": "cosine", "start": 1.0, "end": -1.0}),
)


@st.composite
def composites(draw):
    terms = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from([*BUILT_IN_TERMS, "user"]), min_size=1, max_size=5))):
        options = {"weight": draw(weights), "aggregation": draw(aggregations)}
        name = f"{kind}_{number}"
        terms.append(user_term(name, **options) if kind == "user" else make_term(name, type=kind, **options))
    return terms


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_cut_of_a_step_changes_neither_loss_nor_gradient(data):
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    step = Step(lengths, data.draw(st.integers(0, 2**31)))
    terms = data.draw(composites())
    if step.counts().tokens == 0:
        return
    whole = Composite(terms)
    normalisers = whole.normalisers(step.counts())
    expected = whole.loss(step.pack(range(len(lengths))), normalisers, 3, 10)
    expected_gradient = step.gradients(expected.loss)

    order = data.draw(st.permutations(range(len(lengths))))
    size = data.draw(st.integers(1, len(lengths)))
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    shuffled = Composite(data.draw(st.permutations(terms)))
    # Ranks count their own parts; the sum of their counts is the count of the step.
    counts = Counts.total(step.counts(part) for part in parts)
    normalisers = shuffled.normalisers(counts)
    padding = data.draw(st.integers(0, 3))
    outputs = [shuffled.loss(step.pack(part, padding), normalisers, 3, 10) for part in parts]
    loss = sum(output.loss for output in outputs)
    gradient = step.gradients(loss)

    # Terms of opposite sign may cancel, so the size of what was added up is the scale.
    scale = sum(abs(w * t.value) for w, t in zip(whole.weights(3, 10).values(), expected.terms.values(), strict=True))
    assert abs(float(loss.detach() - expected.loss.detach())) <= 1e-12 * max(scale, 1e-3)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-12 * float(expected_gradient.abs().max()))
    for name, term in expected.terms.items():
        values = [output.terms[name].value for output in outputs]
        assert math.fsum(values) == pytest.approx(term.value, rel=1e-12, abs=1e-12)


def by_hand():
    """Two sequences of 2 and 1 tokens that count; log-probabilities -1, -2 and -4."""
    return PackedBatch(
        trainer_logprobs=torch.tensor([-1.0, -2.0, -9.0, -4.0], dtype=torch.float64, requires_grad=True),
        sequence_index=torch.tensor([0, 0, 0, 1]),
        sequence_count=2,
        loss_mask=torch.tensor([True, True, False, True]),
    )


@pytest.mark.parametrize(
    ("aggregation", "value", "gradient"),
    [
        (Aggregation("token_mean"), 7 / 3, [-1 / 3, -1 / 3, 0, -1 / 3]),
        (Aggregation("sequence_mean"), (1.5 + 4) / 2, [-1 / 4, -1 / 4, 0, -1 / 2]),
        (Aggregation("sequence_sum"), 7 / 2, [-1 / 2, -1 / 2, 0, -1 / 2]),
        (Aggregation("sequence_sum", constant=10), 7 / 20, [-1 / 20, -1 / 20, 0, -1 / 20]),
        (Aggregation("sum"), 7.0, [-1, -1, 0, -1]),
    ],
)
def test_aggregations_by_hand(aggregation, value, gradient):
    batch = by_hand()
    composite = Composite([make_term("sft", type="sft", aggregation=aggregation)])
    output = composite.loss(batch, composite.normalisers(Counts(3, 2)), 0, 1)
    assert output.loss.item() == pytest.approx(value, abs=1e-15)
    assert torch.autograd.grad(output.loss, batch.trainer_logprobs)[0].tolist() == pytest.approx(gradient, abs=1e-15)


def test_weights_and_arguments_follow_their_schedules():
    term = make_term(
        "policy",
        type="grpo",
        weight={"schedule": "linear", "start": 1.0, "end": 3.0},
        kwargs={"eps_low": {"schedule": "linear", "start": 0.1, "end": 0.5}},
    )
    assert Composite([term]).weights(1, 3) == {"policy": 2.0}
    assert term.kwargs_at(1, 3) == {"eps_low": pytest.approx(0.3)}


def test_a_term_of_weight_zero_is_told_but_takes_no_part():
    batch = by_hand()
    composite = Composite([make_term("a", type="sft"), make_term("off", type="sft", weight=0.0)])
    output = composite.loss(batch, composite.normalisers(Counts(3, 2)), 0, 1)
    assert output.loss.item() == pytest.approx(7 / 3)
    assert output.terms["off"].value == pytest.approx(7 / 3)
    assert torch.autograd.grad(output.loss, batch.trainer_logprobs)[0].sum().item() == pytest.approx(-1.0)


def infinite_slope(inputs):
    """0, with an infinite gradient."""
    return LossOutputs((inputs.trainer_logprobs - inputs.trainer_logprobs.detach()).sqrt().sum(), {})


def infinite(inputs):
    return LossOutputs(inputs.trainer_logprobs.sum() * math.inf, {})


@pytest.mark.parametrize("function", [infinite_slope, infinite])
def test_a_term_of_weight_zero_cannot_spoil_the_others(function):
    batch = by_hand()
    off = make_term("off", path=f"{__name__}.{function.__name__}", weight=0.0)
    composite = Composite([make_term("a", type="sft"), off])
    output = composite.loss(batch, composite.normalisers(Counts(3, 2)), 0, 1)
    (gradient,) = torch.autograd.grad(output.loss, batch.trainer_logprobs)
    assert gradient.tolist() == pytest.approx([-1 / 3, -1 / 3, 0, -1 / 3])


def test_an_empty_micro_batch_gives_a_connected_zero():
    batch = by_hand()
    batch = PackedBatch(**{**vars(batch), "loss_mask": torch.zeros(4, dtype=torch.bool)})
    composite = Composite([make_term(k, type="sft", aggregation=Aggregation(k)) for k in KINDS])
    output = composite.loss(batch, composite.normalisers(Counts(3, 2)), 0, 1)
    assert output.loss.item() == 0.0
    assert torch.autograd.grad(output.loss, batch.trainer_logprobs)[0].tolist() == [0.0] * 4


def test_a_step_without_tokens_is_refused():
    with pytest.raises(NothingToTrainError, match="5 were dropped"):
        Composite([make_term("sft", type="sft")]).normalisers(Counts(0, 0, dropped_tokens=5))


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_names_its_term(bad):
    batch = by_hand()
    with torch.no_grad():
        batch.trainer_logprobs[1] = bad
    composite = Composite([make_term("imitate", type="sft"), make_term("off", type="sft", weight=0.0)])
    with pytest.raises(NotFiniteLossError, match="imitate is not finite at step 4") as caught:
        composite.loss(batch, composite.normalisers(Counts(3, 2)), 4, 10)
    assert caught.value.terms == ("imitate",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "either a built-in type or the path"),
        ({"type": "grpo", "path": "a.b"}, "either a built-in type or the path"),
        ({"type": "gpro"}, "did you mean 'grpo'"),
        ({"type": "grpo", "kwargs": {"clip_eps": 0.2}}, r"kwargs: unknown name 'clip_eps'.*known: eps_low, eps_high"),
        ({"type": "grpo", "kwargs": {"eps_low": "0.2"}}, "eps_low must be a number or a schedule, not '0.2'"),
        ({"type": "ppo_clip", "kwargs": {"dual_clip": True}}, "dual_clip must be a number or a schedule, not True"),
        ({"type": "entropy", "kwargs": {"beta": 1}}, "known: none"),
        ({"type": "grpo", "weight": {"schedule": "linear", "start": 0}}, "'end' is missing"),
        ({"type": "grpo", "needs": ["values"]}, "'grpo' declares its own"),
        ({"path": "math.fsum", "needs": ["value"]}, "needs: unknown name 'value'"),
    ],
)
def test_a_term_that_cannot_be_made_says_why(arguments, said):
    with pytest.raises(ValueError, match=said):
        make_term("policy", **arguments)


@pytest.mark.parametrize(
    ("kind", "constant", "said"),
    [
        ("token-mean", 1.0, "did you mean 'token_mean'"),
        ("sequence_sum", 0.0, "constant must be a positive number"),
        ("sequence_sum", float("nan"), "constant must be a positive number"),
        ("token_mean", 8.0, "constant belongs to 'sequence_sum'"),
    ],
)
def test_a_bad_aggregation_is_refused(kind, constant, said):
    with pytest.raises(ValueError, match=said):
        Aggregation(kind, constant)


def test_names_of_terms_are_unique_and_there_is_at_least_one():
    with pytest.raises(TermError, match="'a' is used twice"):
        Composite([make_term("a", type="sft"), make_term("a", type="sft")])
    with pytest.raises(TermError, match="needs a term"):
        Composite([])
