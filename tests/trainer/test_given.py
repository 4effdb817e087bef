"""Tokens that the policy did not sample: it sees them, and nothing that is trained or told counts them."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.experience import ScoredCompletion, ScoredGroup
from services.rollout.engine import Completion, FinishReason
from trainer.batching import make_micro_batches
from trainer.composite import Composite
from trainer.estimation import estimate_advantages
from trainer.losses.aggregation import Counts
from trainer.losses.packed import PackedBatch
from trainer.policy import Policy
from trainer.sample import Sample
from trainer.steps import make_step
from trainer.term import make_term

PROMPT = [1, 2]
# two turns of the policy with a tool's answer of two tokens between them; and one turn
TURNS = Sample(
    PROMPT,
    [3, 4, 5, 6, 7],
    [-3.5, -3.6, 0.0, 0.0, -3.7],
    [-3.4, -3.8, -0.1, -9.0, -3.3],
    0.7,
    group=0,
    reward=1.0,
    segments=[0, 0, 1, 2, 2],
    teacher_logprobs=[-3.0, -3.1, -0.5, -0.5, -3.2],
    given=[False, False, True, True, False],
)
PLAIN = Sample(
    PROMPT,
    [8, 9],
    [-3.9, -3.2],
    [-3.5, -3.5],
    -0.4,
    group=0,
    reward=0.0,
    segments=[0, 1],
    teacher_logprobs=[-3.3, -3.4],
)
SAMPLED = [[0, 1, 4], [0, 1]]
"""Places of the sampled tokens in each."""


def policy():
    torch.manual_seed(3)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return Policy(LlamaForCausalLM(LlamaConfig(vocab_size=40, max_position_embeddings=64, **size)), value_head=True)


def by_hand(model, needs):
    """The step without the given tokens in any sum, its scores from the whole sequences by the model's own logits."""
    columns = {"trainer_logprobs": [], "entropy": [], "values": []}
    for sample, places in zip((TURNS, PLAIN), SAMPLED, strict=True):
        ids = torch.tensor([[*sample.prompt_ids, *sample.completion_ids]])
        logprobs = model.model(input_ids=ids).logits[0, 1:-1].log_softmax(-1)
        states = model.model.base_model(input_ids=ids).last_hidden_state[0, 1:-1]
        columns["trainer_logprobs"].append(logprobs.gather(1, ids[0, 2:, None])[places, 0])
        columns["entropy"].append(-(logprobs.exp() * logprobs).sum(-1)[places])
        columns["values"].append(model.value_head(states)[places, 0])
    scores = {name: torch.cat(parts) for name, parts in columns.items() if name == "trainer_logprobs" or name in needs}
    return PackedBatch(
        **scores,
        sequence_index=torch.tensor([0, 0, 0, 1, 1]),
        sequence_count=2,
        loss_mask=torch.ones(5, dtype=torch.bool),
        inference_logprobs=torch.tensor([-3.5, -3.6, -3.7, -3.9, -3.2]),
        old_logprobs=scores["trainer_logprobs"].detach(),
        ref_logprobs=torch.tensor([-3.4, -3.8, -3.3, -3.5, -3.5]),
        teacher_logprobs=torch.tensor([-3.0, -3.1, -3.2, -3.3, -3.4]),
        advantages=torch.tensor([0.7, 0.7, 0.7, -0.4, -0.4]),
        old_values=torch.zeros(5),
        returns=torch.tensor([0.7, 0.7, 0.7, -0.4, -0.4]),
        segment_index=torch.tensor([0, 0, 1, 2, 3]),
        group_index=torch.tensor([0, 0]),
        group_tokens=torch.tensor([5]),
        group_sequences=torch.tensor([2]),
        rewards=torch.tensor([1.0, 0.0]),
        chosen=torch.tensor([0]),
        rejected=torch.tensor([1]),
        total_steps=1,
    )


def gradients(model):
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


COUNTS = Counts(tokens=5, sequences=2, segments=4, groups=1, pairs=1)
LOSSES = {
    "grpo": {},
    "grpo by sequence": {"aggregation": "sequence_mean"},
    "grpo by segment": {"aggregation": "segment_mean"},
    "grpo by group": {"aggregation": "group_mean"},
    "gspo": {},
    "luspo": {},
    "kl": {},
    "entropy": {},
    "sft": {},
    "value": {},
    "distill": {},
    "prime_rl_ratio": {"kwargs": {"weight": "sequence"}},
    "dpo": {},
    "simpo": {},
    "group_preference": {},
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_without_them_in_any_sum(name):
    model = policy()
    composite = Composite([make_term("mine", type=name.split(" ")[0], **LOSSES[name])])
    whole = by_hand(model, composite.needs)
    expected = composite.loss(whole, composite.normalisers(COUNTS), 0, 1)
    expected.loss.backward()
    wanted = gradients(model)
    batches = make_micro_batches([TURNS, PLAIN], 2, whole_groups=True)
    assert batches[0].counts == COUNTS
    (batch,) = batches
    known = replace(batch.known, returns=batch.known.advantages, old_values=torch.zeros(7))
    packed = replace(batch, known=known).pack(model(batch, composite.needs), 0, 1)
    found = composite.loss(packed, composite.normalisers(batch.counts), 0, 1)
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx(float(expected.loss.detach()), abs=1e-6)
    assert float((gradients(model) - wanted).norm()) <= 1e-5 * float(wanted.norm())
    assert float(wanted.norm()) > 1e-6


@pytest.mark.parametrize("noise", [0.0, -50.0, math.nan, -math.inf])
def test_what_is_said_of_their_log_probabilities_changes_nothing(noise):
    def with_noise(sample):
        def changed(values):
            return [noise if told else value for value, told in zip(values, sample.given, strict=True)]

        return replace(
            sample,
            logprobs=changed(sample.logprobs),
            ref_logprobs=changed(sample.ref_logprobs),
            teacher_logprobs=changed(sample.teacher_logprobs),
        )

    (before,), (after,) = (make_micro_batches([one], 1) for one in (TURNS, with_noise(TURNS)))
    assert before.counts == after.counts == Counts(tokens=3, sequences=1, segments=2, groups=1)
    for name in ("inference_logprobs", "ref_logprobs", "teacher_logprobs", "loss_mask"):
        assert torch.equal(getattr(before.known, name), getattr(after.known, name))


def test_a_lost_token_is_dropped_and_a_given_one_is_not():
    lost = replace(TURNS, logprobs=[-3.5, math.nan, 0.0, 0.0, -3.7])
    (batch,) = make_micro_batches([lost], 1)
    assert batch.known.loss_mask.tolist() == [True, False, False, False, True]
    assert batch.sampled.tolist() == [True, True, False, False, True]
    assert (batch.counts.tokens, batch.counts.dropped_tokens) == (2, 1)


def test_a_sample_of_given_tokens_alone_teaches_nothing():
    nothing = replace(TURNS, given=[True] * 5, reward=0.5)
    (alone,) = make_micro_batches([PLAIN], 4, whole_groups=True)
    (both,) = make_micro_batches([nothing, PLAIN], 4, whole_groups=True)
    assert both.counts == alone.counts
    assert not both.known.loss_mask[both.known.sequence_index == 0].any()
    assert len(both.known.require("chosen")) == 0


class Heads:
    """An engine whose value head counts the tokens of the batch from 0, and a group of one."""

    def scores(self, batch, wanted):
        return {"values": torch.arange(len(batch.position), dtype=torch.float32)}

    def gather(self, value):
        return [value]


def test_advantages_over_time_step_over_them():
    """Values 0, 1, (2, 3,) 4 and reward 1, discount and trace 1/2: deltas 0.5, 4/2 - 1 and 1 - 4."""
    (batch,) = estimate_advantages(
        Heads(), make_micro_batches([TURNS], 1), Heads(), gamma=0.5, gae_lambda=0.5, whiten=False
    )
    last = -3.0
    second = 1.0 + last / 4
    first = 0.5 + second / 4
    assert batch.known.require("advantages").tolist() == [first, second, 0.0, 0.0, last]
    assert batch.known.require("returns").tolist() == [first, second + 1, 0.0, 0.0, last + 4]


def completion(given, versions=(), version=2):
    tokens = tuple(range(3, 3 + len(given)))
    logprobs = tuple(0.0 if told else -1.0 for told in given)
    return Completion(tokens, logprobs, "t", FinishReason.STOP, version, versions, given)


def made(*completions):
    scored = [ScoredCompletion(each, {"math/x": float(place)}) for place, each in enumerate(completions)]
    return make_step([ScoredGroup("p", "math", (1,), tuple(scored))], {"math/x": 1.0}, "group_mean", "drop_sample", 5)


def test_a_step_says_how_many_there_are_and_how_old_the_others_are():
    turns = completion((False, True, True, False), versions=(3, 0, 0, 4))
    step = made(turns, completion((False, False), version=5))
    assert (step.metrics["rollout/length"], step.metrics["rollout/given"]) == (2.0, 1.0)
    # ages 2 and 1 of the first, 0 and 0 of the second; those of given tokens do not count
    assert (step.metrics["rollout/staleness"], step.metrics["rollout/staleness_mean"]) == (2.0, 0.75)
    assert step.samples[0].given == (False, True, True, False)
    assert step.samples[0].staleness == [2, 5, 5, 1]
    assert step.samples[1].staleness == [0, 0]


def test_a_completion_without_a_sampled_token_is_left_out_and_still_compared():
    step = made(completion((True, True)), completion((False,)))
    assert [sample.advantage for sample in step.samples] == [0.5]


def test_flags_for_another_number_of_tokens_are_refused():
    with pytest.raises(ValueError, match="sample 0: 4 given for 5 completion tokens"):
        make_micro_batches([replace(TURNS, given=[False] * 4)], 1)
