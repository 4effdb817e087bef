"""The canary: tokens whose log-probabilities the trainer knows, for the engine that samples to show that it has the weights.

An engine that was told to load a version and computes with another one (part of it stale, part of it in other places) goes
on writing text that looks fine; its log-probabilities are then those of another policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.rollout.engine import Probe, TokenSequence
from trainer.batching import make_micro_batches
from trainer.engine import Engine
from trainer.sample import Sample

SEQUENCES = 8
LONGEST = 48
"""Tokens of a sequence."""
TOLERANCE = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1}
"""In nats, by the trainer's dtype: some times what two right implementations differ by on unlikely tokens. A step whose
weights move log-probabilities by less than this can be missed without being noticed; in fp32 hardly any is."""


def probe_sequences(prompts: Sequence[str], tokenizer: Any, positions: int | None, seed: int) -> list[TokenSequence]:
    """At most `SEQUENCES` sequences of equal length: the beginning of a prompt, then tokens drawn from all of the vocabulary.

    Drawn tokens reach rows of the embedding that likely text does not, and are as sensitive to every layer. Where no prompt
    is known before the run, there is one sequence of drawn ones.
    positions: most tokens that the model takes, at least 2.
    """
    length = min(LONGEST, positions or LONGEST)
    random = np.random.default_rng(seed)
    sequences = []
    for prompt in prompts[:SEQUENCES] or [""]:
        ids = tokenizer(prompt).input_ids[: length // 2] or [0]
        drawn = random.integers(0, len(tokenizer), length - len(ids)).tolist()
        sequences.append(TokenSequence(tuple(ids[:1]), (*ids[1:], *drawn)))
    return sequences


def probes(engine: Engine, sequences: Sequence[TokenSequence]) -> tuple[Probe, ...]:
    """The sequences with their log-probabilities under the engine's weights. A collective; equal on all ranks."""
    size = len(sequences[0].completion_token_ids)
    if any(len(each.completion_token_ids) != size for each in sequences):
        raise ValueError("the sequences of a canary have equally many completion tokens, and are in order for it")
    samples = [Sample(each.prompt_token_ids, each.completion_token_ids) for each in sequences]
    [batch] = make_micro_batches(samples, len(samples))
    values = engine.scores(batch)["trainer_logprobs"].reshape(-1, size).tolist()
    return tuple(Probe(sequence, tuple(own)) for sequence, own in zip(sequences, values, strict=True))
