"""Log-probabilities of given tokens, by plain forward passes over padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from services.rollout.engine import Interrupt, TokenSequence

MAX_LOGITS = 2**28
"""Largest number of logits of one forward pass (1 GiB in float32), unless a single sequence needs more."""


@torch.inference_mode()
def sequence_logprobs(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], vocabulary: int, max_rows: int, interrupt: Interrupt
) -> list[tuple[float, ...]]:
    """For each sequence the log-probabilities of its completion in nats, in order."""
    results: list[tuple[float, ...]] = [()] * len(sequences)
    for batch in _batches([_length(sequence) for sequence in sequences], vocabulary, max_rows):
        interrupt()
        for index, values in zip(batch, _batch_logprobs(model, [sequences[index] for index in batch]), strict=True):
            results[index] = values
    return results


def _length(sequence: TokenSequence) -> int:
    return len(sequence.prompt_token_ids) + len(sequence.completion_token_ids)


def _batches(lengths: Sequence[int], vocabulary: int, max_rows: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first, so that little is padded."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        rows = max(1, min(max_rows, MAX_LOGITS // (lengths[order[start]] * vocabulary)))
        yield order[start : start + rows]
        start += rows


def _batch_logprobs(model: PreTrainedModel, sequences: Sequence[TokenSequence]) -> list[tuple[float, ...]]:
    # Padding comes after the tokens, where a causal model cannot see it.
    rows = [torch.tensor(sequence.prompt_token_ids + sequence.completion_token_ids) for sequence in sequences]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(model.device)
    first = min(len(sequence.prompt_token_ids) for sequence in sequences)
    targets = ids[:, first:]
    if targets.shape[1] == 0:
        return [() for _ in sequences]
    keep = targets.shape[1] + 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits[:, :-1].float()
    logprobs = logits.gather(2, targets[:, :, None])[:, :, 0] - logits.logsumexp(dim=-1)
    results = []
    for sequence, values in zip(sequences, logprobs.tolist(), strict=True):
        start = len(sequence.prompt_token_ids) - first
        results.append(tuple(values[start : start + len(sequence.completion_token_ids)]))
    return results
