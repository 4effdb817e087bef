"""The loop that writes tokens: prompts are read once, then every sample of the batch grows by one token a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from services.rollout.engine import Interrupt, Sampling
from services.rollout.kv_cache import reserved_cache
from services.rollout.sampling import draw

KEEP_ROWS_ABOVE = 0.75
"""Finished rows stay in the batch until fewer than this share is alive: dropping them copies the whole cache."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One sampled sequence; `stopped` where its last token ends it."""

    token_ids: list[int]
    logprobs: list[float]
    stopped: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sampled together."""

    prompts: Sequence[Sequence[int]]
    """Token ids, each at least one."""
    rows: Sequence[int]
    """For each sample the index of its prompt."""
    uniforms: np.ndarray
    """Random numbers in [0, 1), float64 of shape (len(rows), max_new_tokens); (len(rows), 1) where greedy."""


@torch.inference_mode()
def sample_batch(
    model: PreTrainedModel, batch: Batch, sampling: Sampling, stop_ids: Sequence[int], interrupt: Interrupt
) -> list[Drawn]:
    """One sequence for each of `batch.rows`, of at most `sampling.max_new_tokens` tokens."""
    device = model.device
    steps = sampling.max_new_tokens
    uniforms = torch.from_numpy(batch.uniforms).to(device).expand(-1, steps)
    stop = torch.tensor(list(stop_ids), dtype=torch.long, device=device)
    rows = torch.tensor(batch.rows, dtype=torch.long, device=device)
    tokens = torch.zeros(len(rows), steps, dtype=torch.long, device=device)
    logprobs = torch.zeros(len(rows), steps, dtype=torch.float32, device=device)
    lengths = torch.zeros(len(rows), dtype=torch.long, device=device)  # 0 until a sequence ended itself

    prompt_ids, prompt_mask = left_padded(batch.prompts, device)
    width = prompt_ids.shape[1]
    cache = reserved_cache(model.config, width + steps)
    logits = model(
        input_ids=prompt_ids,
        attention_mask=prompt_mask,
        position_ids=(prompt_mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[rows, -1]
    cache.batch_select_indices(rows)
    mask = torch.nn.functional.pad(prompt_mask[rows], (0, steps), value=1)
    positions = prompt_mask.sum(dim=1)[rows]

    alive = torch.arange(len(rows), device=device)  # the sample that each row of the model's batch belongs to
    for step in range(steps):
        interrupt()
        drawn, logprobs[alive, step] = draw(logits, uniforms[alive, step], sampling)
        tokens[alive, step] = drawn
        ended = (lengths[alive] == 0) & torch.isin(drawn, stop)
        lengths[alive[ended]] = step + 1
        growing = (lengths[alive] == 0).nonzero()[:, 0]
        if len(growing) == 0 or step + 1 == steps:
            break
        if len(growing) < KEEP_ROWS_ABOVE * len(alive):
            cache.batch_select_indices(growing)
            alive, drawn, mask, positions = alive[growing], drawn[growing], mask[growing], positions[growing]
        logits = model(
            input_ids=drawn[:, None],
            attention_mask=mask[:, : width + step + 1],
            position_ids=(positions + step)[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return _sequences(tokens, logprobs, lengths)


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, int64 (prompts, longest): padding before the tokens, so that all end together."""
    width = max(len(prompt) for prompt in prompts)
    ids = np.zeros((len(prompts), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def _sequences(tokens: torch.Tensor, logprobs: torch.Tensor, lengths: torch.Tensor) -> list[Drawn]:
    rows = zip(tokens.tolist(), logprobs.tolist(), lengths.tolist(), strict=True)
    return [Drawn(ids[:end], values[:end], True) if end else Drawn(ids, values, False) for ids, values, end in rows]
