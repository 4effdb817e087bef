"""The trainer's side of the canary: what it computes is what transformers computes of the published weights."""

import pytest

from services.rollout.engine import TokenSequence
from trainer.canary import LONGEST, SEQUENCES, probe_sequences, probes


class Letters:
    """A tokenizer of letters."""

    def __call__(self, text):
        return type("Encoded", (), {"input_ids": [ord(c) - 96 for c in text]})

    def __len__(self):
        return 50


def test_sequences_have_one_length_and_reach_all_of_the_vocabulary():
    prompts = ["abc", "a" * 200, "", *["xyz"] * 20]
    sequences = probe_sequences(prompts, Letters(), 1024, seed=3)
    assert len(sequences) == SEQUENCES
    assert {len(s.prompt_token_ids + s.completion_token_ids) for s in sequences} == {LONGEST}
    assert sequences[0].prompt_token_ids + sequences[0].completion_token_ids[:2] == (1, 2, 3)
    assert len({token for s in sequences for token in s.completion_token_ids}) == 50
    assert sequences == probe_sequences(prompts, Letters(), 1024, seed=3)
    assert sequences != probe_sequences(prompts, Letters(), 1024, seed=4)


def test_a_model_with_few_positions_gets_short_sequences():
    (sequence,) = probe_sequences(["abcdefgh"], Letters(), 8, seed=0)
    assert sequence.prompt_token_ids + sequence.completion_token_ids[:3] == (1, 2, 3, 4)
    assert len(sequence.completion_token_ids) == 7


def test_without_a_known_prompt_there_is_a_canary_too():
    """The first rows of an iterator may all be too long."""
    (sequence,) = probe_sequences([], Letters(), 1024, seed=0)
    assert len(sequence.completion_token_ids) == LONGEST - 1


class Even:
    """An engine whose policy gives each token the log-probability minus its id, and drops nothing out."""

    def scores(self, batch):
        ids = batch.input_ids[batch.known.sequence_index, batch.position]
        return {"trainer_logprobs": -ids.float()}


def test_each_token_gets_its_own_log_probability():
    sequences = [TokenSequence((9,), (1, 2)), TokenSequence((8,), (3, 4))]
    found = probes(Even(), sequences)  # pyright: ignore[reportArgumentType]
    assert [probe.logprobs for probe in found] == [(-1.0, -2.0), (-3.0, -4.0)]
    assert [probe.sequence for probe in found] == sequences


def test_sequences_of_two_lengths_would_come_in_another_order():
    with pytest.raises(ValueError, match="equally many"):
        probes(Even(), [TokenSequence((9,), (1, 2)), TokenSequence((8,), (3,))])  # pyright: ignore[reportArgumentType]
