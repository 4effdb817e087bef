"""The loop that writes tokens: prompts are read once, then every sample of the batch grows by one token a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from services.rollout.engine import Interrupt, Sampling
from services.rollout.guidance import Choices, StopStrings
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
    """What is sampled together, and what ends and guides it. The samples are numbered by their place in `rows`."""

    prompts: Sequence[Sequence[int]]
    """Token ids, each at least one."""
    rows: Sequence[int]
    """For each sample the index of its prompt."""
    uniforms: np.ndarray
    """Random numbers in [0, 1), float64 of shape (len(rows), max_new_tokens); (len(rows), 1) where greedy."""
    stop_ids: Sequence[int]
    """Tokens that end a sequence."""
    stop_strings: StopStrings | None = None
    choices: Choices | None = None


@torch.inference_mode()
def sample_batch(
    model: PreTrainedModel, batch: Batch, sampling: Sampling, interrupt: Interrupt
) -> Iterator[tuple[int, Drawn]]:
    """One sequence for each of `batch.rows`, of at most `sampling.max_new_tokens` tokens, as soon as it has its last one.

    Yields (sample, sequence); those of one step in order.
    """
    device = model.device
    steps = sampling.max_new_tokens
    uniforms = torch.from_numpy(batch.uniforms).to(device).expand(-1, steps)
    stop = torch.tensor(list(batch.stop_ids), dtype=torch.long, device=device)
    rows = torch.tensor(batch.rows, dtype=torch.long, device=device)
    tokens = torch.zeros(len(rows), steps, dtype=torch.long, device=device)
    logprobs = torch.zeros(len(rows), steps, dtype=torch.float32, device=device)
    grows = torch.ones(len(rows), dtype=torch.bool, device=device)  # until a sequence ended itself

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
        allowed = batch.choices.allowed(alive.tolist()).to(device) if batch.choices is not None else None
        drawn, logprobs[alive, step] = draw(logits, uniforms[alive, step], sampling, allowed)
        tokens[alive, step] = drawn
        ended = grows[alive] & (torch.isin(drawn, stop) | _guided_end(batch, alive, drawn, grows))
        for sample in alive[ended].tolist():
            grows[sample] = False
            yield sample, _drawn(tokens, logprobs, sample, step + 1, stopped=True)
        growing = grows[alive].nonzero()[:, 0]
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
    for sample in grows.nonzero()[:, 0].tolist():
        yield sample, _drawn(tokens, logprobs, sample, steps, stopped=False)


def _guided_end(batch: Batch, alive: torch.Tensor, drawn: torch.Tensor, grows: torch.Tensor) -> torch.Tensor:
    """Tells the batch's guides of the tokens; which rows a stop string ends, bool (rows,)."""
    ended = torch.zeros_like(alive, dtype=torch.bool)
    if batch.choices is None and batch.stop_strings is None:
        return ended
    rows = grows[alive].nonzero()[:, 0]
    samples, tokens = alive[rows].tolist(), drawn[rows].tolist()
    if batch.choices is not None:
        batch.choices.advance(samples, tokens)
    if batch.stop_strings is not None:
        ended[rows] = torch.tensor(batch.stop_strings.ended(samples, tokens), device=ended.device)
    return ended


def _drawn(tokens: torch.Tensor, logprobs: torch.Tensor, sample: int, length: int, *, stopped: bool) -> Drawn:
    return Drawn(tokens[sample, :length].tolist(), logprobs[sample, :length].tolist(), stopped)


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, int64 (prompts, longest): padding before the tokens, so that all end together."""
    width = max(len(prompt) for prompt in prompts)
    ids = np.zeros((len(prompts), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
