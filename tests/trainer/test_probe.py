"""The launch probe: lets every built-in term pass, and refuses dead losses and losses that are no sums."""

import pytest
import torch

from trainer.losses.contract import LossOutputs
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.probe import probe_term, verdict
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


def misspelt(inputs):
    return LossOutputs((inputs.trainer_logprobs - inputs.old_log_probs)[inputs.loss_mask].sum(), {})


def returns_nothing(inputs):
    LossOutputs(-(inputs.trainer_logprobs * inputs.advantages)[inputs.loss_mask].sum(), {})


def in_float32(inputs):
    return LossOutputs(-(inputs.trainer_logprobs.float() * inputs.advantages.float())[inputs.loss_mask].sum(), {})


def of_value_zero(inputs):
    live = inputs.trainer_logprobs - inputs.trainer_logprobs.detach()
    return LossOutputs(-(live * inputs.advantages)[inputs.loss_mask].sum(), {})


def scaled(inputs, scale: float):
    return LossOutputs(-scale * (inputs.trainer_logprobs * inputs.advantages)[inputs.loss_mask].sum(), {})


def small_and_unmasked(inputs):
    return LossOutputs(-1e-6 * (inputs.trainer_logprobs * inputs.advantages).sum(), {})


def small_mean(inputs):
    return LossOutputs(1e-6 * mean(inputs).loss, {})


def mean_gradient(inputs):
    whole = -(inputs.trainer_logprobs * inputs.advantages)[inputs.loss_mask].sum()
    part = whole / inputs.loss_mask.sum().clamp(min=1)
    return LossOutputs(part + (whole - part).detach(), {})


def distance_to_old(inputs):
    return LossOutputs((inputs.trainer_logprobs - inputs.old_logprobs).square()[inputs.loss_mask].sum(), {})


def random_weights(inputs):
    weights = 1 + 1e-6 * torch.rand_like(inputs.trainer_logprobs)
    return LossOutputs(-(weights * inputs.trainer_logprobs * inputs.advantages)[inputs.loss_mask].sum(), {})


class Running:
    """Keeps a running mean, as a baseline would."""

    def __init__(self):
        self.mean = 0.0

    def __call__(self, inputs):
        self.mean = 0.9 * self.mean + 0.1 * float(inputs.advantages.sum())
        return LossOutputs(-(inputs.trainer_logprobs * (inputs.advantages - self.mean))[inputs.loss_mask].sum(), {})


running = Running()


def seeded_by_step(inputs):
    generator = torch.Generator().manual_seed(inputs.step)
    weight = torch.rand((), generator=generator).item()
    return LossOutputs(-weight * (inputs.trainer_logprobs * inputs.advantages)[inputs.loss_mask].sum(), {})


def steps_back(inputs):
    weights = inputs.advantages.clone().requires_grad_(inputs.trainer_logprobs.requires_grad)
    loss = -(inputs.trainer_logprobs * weights)[inputs.loss_mask].sum()
    with torch.no_grad():
        weights.mul_(2.0)
    return LossOutputs(loss, {})


def leaves_the_process(inputs):
    raise SystemExit(3)


def likes_more_tokens(chosen, rejected):
    gap = chosen.trainer_logprobs.exp().sum() - rejected.trainer_logprobs.exp().sum()
    return LossOutputs(-torch.nn.functional.logsigmoid(gap), {})


def term(function, **options):
    return make_term("mine", path=f"{__name__}.{function.__name__}", **options)


@pytest.mark.parametrize("name", BUILT_IN_TERMS)
def test_every_built_in_term_passes(name):
    assert probe_term(make_term("t", type=name)) == []


@pytest.mark.parametrize("function", [good, in_float32, of_value_zero, seeded_by_step])
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
        (wants_values, "None unless the term asks for them with needs = [...]; in test_probe.py, line "),
        (misspelt, "did you mean 'old_logprobs'"),
        (small_and_unmasked, "tokens that are masked change its value"),
        (small_mean, "it is a mean"),
        (mean_gradient, "its value or gradient for a sequence strung to itself is not twice"),
        (distance_to_old, "not as the distance to old_logprobs"),
        (random_weights, "keeps state or draws random numbers"),
        (steps_back, "its gradient cannot be taken"),
        (leaves_the_process, "SystemExit: 3"),
    ],
)
def test_an_unsound_loss_is_refused_with_its_remedy(function, said):
    (problem,) = probe_term(term(function))
    assert said in problem and problem.startswith("term 'mine': ")


def test_a_loss_that_returns_nothing_is_told_what_to_return_and_no_more():
    (problem,) = probe_term(term(returns_nothing))
    assert problem.endswith("return LossOutputs(loss=<scalar tensor>, metrics=<dict of tensors>)")


@pytest.mark.parametrize(
    ("type", "kwargs", "said"),
    [
        ("kl", {"estimator": "k1"}, "zero on average"),
        ("grpo", {"eps_low": 2.0}, "eps_low must lie between 0 and 1"),
        ("grpo", {"eps_high": {"schedule": "linear", "start": 0.2, "end": 0.0}}, "eps_high must lie between 0 and 1"),
        ("dpo", {"beta": {"schedule": "cyclic", "start": 0.1, "end": 0.0, "period": 8}}, "beta must be greater than 0"),
        (
            "grpo",
            {"eps_high": {"controller": "threshold", "start": 0.2, "min": 0.1, "max": 3.0, "high": 1, "metric": "a/b"}},
            "eps_high must lie between 0 and 1, not 3.0",
        ),
    ],
)
def test_arguments_out_of_range_are_found_at_any_step(type, kwargs, said):
    (problem,) = probe_term(make_term("t", type=type, kwargs=kwargs), total_steps=50)
    assert said in problem


def test_a_function_that_keeps_state_is_refused():
    (problem,) = probe_term(make_term("mine", path=f"{__name__}.running"))
    assert "keeps state or draws random numbers" in problem


@pytest.mark.parametrize(
    "scale", [1e-6, {"schedule": "linear", "start": 0.0, "end": 1.0}, {"schedule": "linear", "start": 1.0, "end": 0.0}]
)
def test_a_loss_may_be_small_and_its_arguments_may_begin_or_end_at_zero(scale):
    assert probe_term(term(scaled, kwargs={"scale": scale})) == []


def test_an_argument_that_is_zero_at_every_step_is_refused():
    (problem,) = probe_term(term(scaled, kwargs={"scale": {"schedule": "constant", "value": 0.0}}))
    assert "it has no gradient" in problem


def test_padding_that_two_sequences_of_a_pair_share_hides_nothing():
    (problem,) = probe_term(term(likes_more_tokens, scope="pair"))
    assert "padding changes its value" in problem


def test_the_verdict_names_what_is_trained_at_any_step():
    begins_at_zero = term(scaled, kwargs={"scale": {"schedule": "linear", "start": 0.0, "end": 1.0}})
    assert "live gradient on trainer_logprobs;" in verdict(begins_at_zero, 10)
