"""The launch probe: lets every built-in term pass, and refuses dead losses and losses that are no sums."""

import pytest
import torch

from trainer.losses.contract import LossOutputs
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.probe import probe_term
from trainer.term import make_term


def good(inputs, clip: float = 0.2):
    ratio = (inputs.trainer_logprobs - inputs.inference_logprobs).exp()
    surrogate = torch.min(ratio * inputs.advantages, ratio.clamp(1 - clip, 1 + clip) * inputs.advantages)
    return LossOutputs(-surrogate[inputs.loss_mask].sum(), {"ratio": ratio.mean()})


def on_scores(inputs):
    compiles = torch.tensor([0.9, 0.1], requires_grad=True)
    return LossOutputs(torch.nn.functional.binary_cross_entropy(compiles, torch.ones(2)), {})


def on_accuracy(inputs):
    return LossOutputs((inputs.trainer_logprobs.exp() > 0.5)[inputs.loss_mask].double().sum(), {})


def detached(inputs):
    return LossOutputs(-(inputs.trainer_logprobs.detach() * inputs.advantages)[inputs.loss_mask].sum(), {})


def cancelled(inputs):
    return LossOutputs((0.0 * inputs.trainer_logprobs)[inputs.loss_mask].sum(), {})


def mean(inputs):
    return LossOutputs(-(inputs.trainer_logprobs * inputs.advantages)[inputs.loss_mask].mean(), {})


def unmasked(inputs):
    return LossOutputs(-(inputs.trainer_logprobs * inputs.advantages).sum(), {})


def constant_on_empty(inputs):
    return LossOutputs(-(inputs.trainer_logprobs)[inputs.loss_mask].sum() + 0.01, {})


def not_a_number(inputs):
    return LossOutputs((inputs.trainer_logprobs / inputs.loss_mask.double().sub(1)).sum(), {})


def square_root(inputs):
    return LossOutputs((inputs.trainer_logprobs - inputs.trainer_logprobs.detach()).sqrt()[inputs.loss_mask].sum(), {})


def wants_entropy(inputs):
    return LossOutputs(-(inputs.entropy * 1.0)[inputs.loss_mask].sum(), {})


def wants_values(inputs):
    return LossOutputs((inputs.trainer_logprobs - (inputs.values + 1))[inputs.loss_mask].sum(), {})


def in_float32(inputs):
    return LossOutputs(-(inputs.trainer_logprobs.float() * inputs.advantages.float())[inputs.loss_mask].sum(), {})


def term(function, **options):
    return make_term("mine", path=f"{__name__}.{function.__name__}", **options)


@pytest.mark.parametrize("name", BUILT_IN_TERMS)
def test_every_built_in_term_passes(name):
    assert probe_term(make_term("t", type=name)) == []


@pytest.mark.parametrize("function", [good, in_float32])
def test_a_sound_loss_of_a_user_passes(function):
    assert probe_term(term(function)) == []


def test_a_loss_on_the_entropy_has_a_live_gradient():
    assert probe_term(term(wants_entropy, needs=["entropy"])) == []


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (on_scores, "it is a reward: name it under [rewards], it then enters through advantages"),
        (on_accuracy, "it has no gradient, so it would train nothing"),
        (detached, "it has no gradient, so it would train nothing"),
        (cancelled, "it has no gradient, so it would train nothing"),
        (mean, "return the sum over the tokens, not the mean"),
        (unmasked, "tokens that are masked change its value"),
        (constant_on_empty, "its value for a sequence without tokens that count is 0.01"),
        (not_a_number, "its value on ordinary tokens is"),
        (square_root, "its gradient is NaN or infinite"),
        (wants_values, "None unless the term asks for them"),
    ],
)
def test_an_unsound_loss_is_refused_with_its_remedy(function, said):
    (problem,) = probe_term(term(function))
    assert said in problem and problem.startswith("term 'mine': ")


@pytest.mark.parametrize(
    ("type", "kwargs", "said"),
    [
        ("kl", {"estimator": "k1"}, "zero on average"),
        ("grpo", {"eps_low": 2.0}, "eps_low must lie between 0 and 1"),
        ("grpo", {"eps_high": {"schedule": "linear", "start": 0.2, "end": 0.0}}, "eps_high must lie between 0 and 1"),
    ],
)
def test_arguments_out_of_range_are_found_at_any_step(type, kwargs, said):
    (problem,) = probe_term(make_term("t", type=type, kwargs=kwargs), total_steps=50)
    assert said in problem
