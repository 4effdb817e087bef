"""A loss of pairs, as a loss author would write it: the better answer must lead by as much as its reward says.

Name it in a job file:

    [[loss.terms]]
    name = "margin"
    path = "examples.losses.reward_margin.reward_margin"
    scope = "pair"
    kwargs = { beta = 0.1 }
"""

from trainer.losses.contract import LossInputs, LossOutputs


def reward_margin(chosen: LossInputs, rejected: LossInputs, beta: float = 0.1) -> LossOutputs:
    """A hinge: nothing once `beta` times the lead in log-probability is as large as the lead in reward.

    `chosen` and `rejected` are the best and the worst answer to one prompt. The policy's own log-probabilities are
    compared, so nothing holds it near where it began: put a `kl` term beside it.
    """
    lead = chosen.trainer_logprobs[chosen.loss_mask].sum() - rejected.trainer_logprobs[rejected.loss_mask].sum()
    wanted = (chosen.reward or 0.0) - (rejected.reward or 0.0)
    return LossOutputs(loss=(wanted - beta * lead).relu(), metrics={"lead": lead})
