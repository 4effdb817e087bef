"""Samples with Hugging Face transformers: the engine that needs nothing but PyTorch, on a CPU or an accelerator.

What it does not guarantee: that a prompt's samples are the same in another request. Their random numbers are, but
batches of another make-up round differently in the last bits, which now and then turns a draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import structlog
import torch
from transformers.utils import logging as transformers_logging

from services.rollout.engine import (
    Completion,
    EngineError,
    EngineFault,
    FinishReason,
    Interrupt,
    Prompt,
    PromptCompletions,
    Sampling,
    SequenceLogprobs,
    TokenSequence,
)
from services.rollout.generation import Batch, Drawn, sample_batch
from services.rollout.policy import Policy, load_policy
from services.rollout.sampling import uniform_stream
from services.rollout.scoring import sequence_logprobs
from services.rollout.weights import checked_directory


class TransformersEngine:
    """A `RolloutEngine`; holds up to `max_policies` and gives up the one that was not used for longest.

    dtype: `float32`, `bfloat16`, `float16`, or `auto`: float32 on a CPU, bfloat16 elsewhere.
    device: a torch device, or `auto`: the accelerator where there is one.
    max_batch_sequences: most sequences that are sampled or scored at once.
    """

    def __init__(self, max_policies: int, max_batch_sequences: int, dtype: str, device: str) -> None:
        transformers_logging.disable_progress_bar()
        transformers_logging.disable_default_handler()
        transformers_logging.enable_propagation()  # to the service's own handler, which writes JSON
        self._max_policies = max_policies
        self._max_rows = max_batch_sequences
        self._device = _device(device)
        self._dtype = _dtype(dtype, self._device)
        self._policies: dict[str, Policy] = {}  # the least recently used first

    def versions(self) -> dict[str, int]:
        return {name: policy.version for name, policy in self._policies.items()}

    def update_weights(self, policy: str, version: int, path: str, sha256: str) -> None:
        held = self._policies.get(policy)
        if held is not None and version <= held.version:
            if version == held.version and _same_source(held, path, sha256):
                return
            raise EngineError(
                EngineFault.FAILED_PRECONDITION,
                f"version {version} of policy {policy!r} with this path and sha256 cannot replace version "
                f"{held.version}, which is served; versions must grow",
            )
        directory = checked_directory(path, sha256)
        loaded = load_policy(directory, version, sha256, self._dtype, self._device, held)
        self._policies.pop(policy, None)
        self._policies[policy] = loaded
        if len(self._policies) > self._max_policies:
            evicted = next(iter(self._policies))
            del self._policies[evicted]
            structlog.get_logger().warning("policy evicted", policy=evicted, max_policies=self._max_policies)

    def generate(
        self,
        policy: str,
        prompts: Sequence[Prompt],
        samples: int,
        sampling: Sampling,
        min_policy_version: int,
        interrupt: Interrupt,
    ) -> list[PromptCompletions]:
        held = self._use(policy)
        if held.version < min_policy_version:
            raise EngineError(
                EngineFault.FAILED_PRECONDITION,
                f"policy {policy!r} is at version {held.version}, older than min_policy_version {min_policy_version}",
            )
        encoded = [held.encode(prompt, sampling.max_new_tokens) for prompt in prompts]
        drawn: list[list[Drawn]] = [[] for _ in prompts]
        for rows in self._batches(encoded, samples):
            batch = _batch(prompts, encoded, rows, sampling)
            sequences = sample_batch(held.model, batch, sampling, held.stop_ids, interrupt)
            for (prompt, _), sequence in zip(rows, sequences, strict=True):
                drawn[prompt].append(sequence)
        return [
            PromptCompletions(prompt.id, tuple(ids), _completions(held, sequences))
            for prompt, ids, sequences in zip(prompts, encoded, drawn, strict=True)
        ]

    def logprobs(self, policy: str, sequences: Sequence[TokenSequence], interrupt: Interrupt) -> SequenceLogprobs:
        held = self._use(policy)
        for index, sequence in enumerate(sequences):
            _check_sequence(held, index, sequence)
        values = sequence_logprobs(held.model, sequences, held.vocabulary, self._max_rows, interrupt)
        return SequenceLogprobs(tuple(values), held.version)

    def _use(self, policy: str) -> Policy:
        held = self._policies.pop(policy, None)
        if held is None:
            names = ", ".join(sorted(self._policies)) or "none; load one with UpdateWeights"
            raise EngineError(EngineFault.NOT_FOUND, f"policy {policy!r} is not held; held: {names}")
        self._policies[policy] = held
        return held

    def _batches(self, encoded: Sequence[Sequence[int]], samples: int) -> Iterator[list[tuple[int, int]]]:
        """(prompt, sample) pairs in batches of prompts of like length, so that little is padded."""
        order = sorted(range(len(encoded)), key=lambda prompt: len(encoded[prompt]))
        rows = [(prompt, sample) for prompt in order for sample in range(samples)]
        for start in range(0, len(rows), self._max_rows):
            yield rows[start : start + self._max_rows]


def _batch(
    prompts: Sequence[Prompt], encoded: Sequence[list[int]], rows: Sequence[tuple[int, int]], sampling: Sampling
) -> Batch:
    used = list(dict.fromkeys(prompt for prompt, _ in rows))
    place = {prompt: index for index, prompt in enumerate(used)}
    length = sampling.max_new_tokens if sampling.temperature else 1
    uniforms = [uniform_stream(sampling.seed, prompts[prompt].id, sample, length) for prompt, sample in rows]
    return Batch([encoded[prompt] for prompt in used], [place[prompt] for prompt, _ in rows], np.stack(uniforms))


def _completions(policy: Policy, sequences: Sequence[Drawn]) -> tuple[Completion, ...]:
    texts = policy.decode([sequence.token_ids for sequence in sequences])
    return tuple(
        Completion(
            token_ids=tuple(sequence.token_ids),
            logprobs=tuple(sequence.logprobs),
            text=text,
            finish_reason=FinishReason.STOP if sequence.stopped else FinishReason.LENGTH,
            policy_version=policy.version,
        )
        for sequence, text in zip(sequences, texts, strict=True)
    )


def _check_sequence(policy: Policy, index: int, sequence: TokenSequence) -> None:
    ids = sequence.prompt_token_ids + sequence.completion_token_ids
    if not sequence.prompt_token_ids:
        problem = "has no prompt_token_ids; at least one is needed"
    elif max(ids) >= policy.vocabulary:
        problem = f"has the token {max(ids)}; the vocabulary ends at {policy.vocabulary - 1}"
    elif policy.max_positions is not None and len(ids) > policy.max_positions:
        problem = f"has {len(ids)} tokens; the model has {policy.max_positions} positions"
    else:
        return
    raise EngineError(EngineFault.INVALID_ARGUMENT, f"sequences[{index}] {problem}")


def _same_source(policy: Policy, path: str, sha256: str) -> bool:
    if policy.sha256 and sha256:
        return policy.sha256 == sha256
    return Path(policy.path) == Path(path)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    # unchecked, PyTorch's CUDA build names a GPU on a machine that has none
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
