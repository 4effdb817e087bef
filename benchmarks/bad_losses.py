"""Losses as their authors first write them, each with a mistake of the kind that trains nothing or the wrong thing.

`assay check` must refuse every one of them. `good_loss` is the same without a mistake.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, logsigmoid, mse_loss

from trainer.losses.contract import LossInputs, LossOutputs

not_a_function = 0.5


def good_loss(inputs: LossInputs, cap: float = 2.0) -> LossOutputs:
    """The sum over valid tokens of a truncated policy gradient."""
    weight = (inputs.trainer_logprobs.detach() - inputs.inference_logprobs).exp().clamp(max=cap)
    return LossOutputs(-(weight * inputs.advantages * inputs.trainer_logprobs)[inputs.loss_mask].sum())


def compile_cross_entropy(inputs: LossInputs) -> LossOutputs:
    """A score's cross-entropy: it has no gradient, for the score does not know the policy."""
    score = torch.tensor(inputs.rewards["code/compiles"])
    return LossOutputs(binary_cross_entropy(score, torch.ones_like(score), reduction="sum"))


def score_times_length(inputs: LossInputs) -> LossOutputs:
    """The combined reward for each token: a number of the text, not of the policy."""
    return LossOutputs(-(torch.tensor(inputs.reward or 0.0) * inputs.loss_mask).sum())


def sigmoid_of_rewards(group: list[LossInputs]) -> LossOutputs:
    """A guide's "GRPO": the logistic loss of the best and the worst reward of a group, which know no policy."""
    rewards = [one.reward or 0.0 for one in group]
    return LossOutputs(-logsigmoid(torch.tensor(max(rewards) - min(rewards))))


def mean_loss(inputs: LossInputs) -> LossOutputs:
    """A mean, which a longer sequence does not make larger."""
    return LossOutputs(-(inputs.advantages * inputs.trainer_logprobs)[inputs.loss_mask].mean())


def detached(inputs: LossInputs) -> LossOutputs:
    """Its gradient is cut off."""
    return LossOutputs(-(inputs.advantages * inputs.trainer_logprobs.detach())[inputs.loss_mask].sum())


def compared(inputs: LossInputs) -> LossOutputs:
    """A comparison has no gradient."""
    wrong = (inputs.trainer_logprobs < inputs.inference_logprobs).float()
    return LossOutputs((wrong * inputs.advantages)[inputs.loss_mask].sum())


def unmasked(inputs: LossInputs) -> LossOutputs:
    """Tokens that do not count are in its sum."""
    return LossOutputs((inputs.trainer_logprobs - inputs.inference_logprobs).square().sum())


def constant_added(inputs: LossInputs) -> LossOutputs:
    """It is not 0 where no token counts."""
    return LossOutputs(1.0 - (inputs.advantages * inputs.trainer_logprobs)[inputs.loss_mask].sum())


def square_root_at_zero(inputs: LossInputs) -> LossOutputs:
    """The gradient of a square root is infinite at 0."""
    gap = inputs.trainer_logprobs - inputs.trainer_logprobs.detach()
    return LossOutputs(gap.square().sqrt()[inputs.loss_mask].sum())


def bare_tensor(inputs: LossInputs) -> Tensor:
    """A tensor in place of LossOutputs."""
    return good_loss(inputs).loss


def per_token(inputs: LossInputs) -> LossOutputs:
    """Values of tokens in place of their sum."""
    return LossOutputs(-(inputs.advantages * inputs.trainer_logprobs) * inputs.loss_mask)


def wants_entropy(inputs: LossInputs) -> LossOutputs:
    """Reads what is only there where `needs` asks for it."""
    return LossOutputs(-inputs.entropy[inputs.loss_mask].sum())  # pyright: ignore[reportOptionalSubscript]


def value_of_advantages(inputs: LossInputs) -> LossOutputs:
    """A critic that learns advantages, from which its own values were taken off already."""
    values = inputs.values
    assert values is not None
    mask = inputs.loss_mask
    return LossOutputs(mse_loss(values[mask], inputs.advantages[mask], reduction="sum"))
