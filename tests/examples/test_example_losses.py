"""The losses that stand there as examples: their values by hand, and what the probe says of them."""

import math

import pytest
import torch

from trainer.losses.contract import LossInputs
from trainer.losses.packed import PackedBatch
from trainer.losses.user import load_loss, per_scope
from trainer.probe import probe_term
from trainer.term import make_term

EXAMPLES = [
    ("truncated_reinforce", "sequence", ()),
    ("reward_margin", "pair", ()),
    ("listwise", "group", ("ref_logprobs",)),
]


def inputs(*logprobs, reward=0.0, ref=None, counts=True):
    tensor = torch.tensor(logprobs, dtype=torch.float64, requires_grad=True)
    return LossInputs(
        trainer_logprobs=tensor,
        inference_logprobs=tensor.detach(),
        teacher_logprobs=None,
        advantages=torch.ones_like(tensor),
        loss_mask=torch.full((len(logprobs),), counts),
        ref_logprobs=None if ref is None else torch.tensor(ref, dtype=torch.float64),
        reward=reward,
    )


@pytest.mark.parametrize(("name", "scope", "needs"), EXAMPLES)
def test_the_probe_finds_no_fault(name, scope, needs):
    assert probe_term(make_term("own", path=f"examples.losses.{name}.{name}", scope=scope, needs=needs)) == []


def test_a_margin_is_asked_for_until_the_lead_is_as_large_as_the_rewards_say():
    reward_margin = load_loss("examples.losses.reward_margin.reward_margin")
    chosen, rejected = inputs(-1.0, -2.0, reward=1.0), inputs(-4.0, reward=0.25)
    loss = reward_margin(chosen, rejected, beta=0.5).loss
    assert loss.item() == pytest.approx(0.75 - 0.5 * 1.0)
    (gradient,) = torch.autograd.grad(loss, chosen.trainer_logprobs)
    assert gradient.tolist() == [-0.5, -0.5]
    assert reward_margin(chosen, rejected, beta=1.0).loss.item() == 0.0


def test_answers_of_a_group_become_likely_as_their_rewards_say():
    listwise = load_loss("examples.losses.listwise.listwise")
    group = [inputs(-1.0, reward=math.log(3.0), ref=[-2.0]), inputs(-1.0, -1.0, reward=0.0, ref=[-1.0, -1.0])]
    # rewards say 3/4 and 1/4; the implicit rewards are 1 and 0
    share = math.e / (1 + math.e)
    loss = listwise(group, beta=1.0, temperature=1.0).loss
    assert loss.item() == pytest.approx(-0.75 * math.log(share) - 0.25 * math.log(1 - share), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, group[0].trainer_logprobs)
    assert gradient.tolist() == pytest.approx([share - 0.75], rel=1e-6)


def test_a_pair_that_lost_a_sequence_is_not_shown():
    logprobs = torch.tensor([-1.0, -2.0, -3.0, -4.0], dtype=torch.float64, requires_grad=True)
    batch = PackedBatch(
        trainer_logprobs=logprobs,
        sequence_index=torch.tensor([0, 1, 2, 3]),
        sequence_count=4,
        loss_mask=torch.tensor([True, True, True, False]),
        rewards=torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
        chosen=torch.tensor([0, 2]),
        rejected=torch.tensor([1, 3]),
    )
    values = per_scope(load_loss("examples.losses.reward_margin.reward_margin"), "pair")(batch, beta=0.5).values
    assert values.tolist() == [0.5, 0.0]
