"""REINFORCE with a truncated importance weight, as a loss author would write it.

Name it in a job file:

    [[loss.terms]]
    name = "policy"
    path = "examples.losses.truncated_reinforce.truncated_reinforce"
    kwargs = { cap = 2.0 }
"""

import torch

from trainer.losses.contract import LossInputs, LossOutputs


def truncated_reinforce(inputs: LossInputs, cap: float = 2.0) -> LossOutputs:
    """The loss of one sequence: the sum over its valid tokens of `-min(ratio, cap) * advantage * log-probability`.

    The weight is a constant, not a path for the gradient; truncating it bounds the variance of tokens that the
    behaviour policy thought unlikely (Ionides 2008, "Truncated Importance Sampling").
    """
    ratio = torch.exp(inputs.trainer_logprobs.detach() - inputs.inference_logprobs)
    weight = ratio.clamp(max=cap)
    loss = -(weight * inputs.advantages * inputs.trainer_logprobs)[inputs.loss_mask].sum()
    return LossOutputs(loss=loss, metrics={"truncated_share": (ratio > cap)[inputs.loss_mask].float().mean()})
