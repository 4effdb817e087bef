"""A loss of groups, as a loss author would write it: all answers to a prompt at once, likely as their rewards say.

Name it in a job file:

    [[loss.terms]]
    name = "listwise"
    path = "examples.losses.listwise.listwise"
    scope = "group"
    needs = ["ref_logprobs"]
    kwargs = { beta = 0.1, temperature = 0.5 }
"""

import torch

from trainer.losses.contract import LossInputs, LossOutputs


def listwise(group: list[LossInputs], beta: float = 0.1, temperature: float = 0.5) -> LossOutputs:
    """The cross-entropy from the softmax of the rewards to the softmax of the implicit rewards (Cao et al. 2007, ListNet).

    An implicit reward is `beta (log pi - log ref)`, summed over an answer (Rafailov et al. 2023).
    """
    implicit = torch.stack([beta * _lead(one) for one in group])
    rewards = torch.tensor([one.reward or 0.0 for one in group]) / temperature
    loss = -(rewards.softmax(0) * implicit.log_softmax(0)).sum()
    return LossOutputs(loss=loss, metrics={"spread": implicit.detach().std(correction=0)})


def _lead(one: LossInputs) -> torch.Tensor:
    assert one.ref_logprobs is not None  # asked for with `needs`
    return (one.trainer_logprobs - one.ref_logprobs)[one.loss_mask].sum()
