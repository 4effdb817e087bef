"""A policy as the transformers engine holds it: model, tokenizer and what their files say about length and stopping."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from services.rollout.engine import EngineError, EngineFault, Prompt
from services.rollout.weights import bad_path, copy_weights, read_weights, settings_digest

LONGEST_REASON = 300
"""Characters kept of a library's error message."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Loaded weights and how to use them."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: str
    """Digest of the configuration and the tokenizer."""
    stop_ids: tuple[int, ...]
    """Tokens that end a completion; none where the files name none."""
    max_positions: int | None
    """Longest sequence, prompt and completion together; None where the model has no limit."""
    vocabulary: int
    """Number of rows of the embedding: token ids are below it."""
    version: int
    path: str
    sha256: str
    """As it was given; empty where it was not."""

    def encode(self, prompt: Prompt, max_new_tokens: int) -> list[int]:
        """Tokens of a prompt, with the special tokens that the tokenizer adds but without an end of sequence at the end.

        Raises EngineError (INVALID_ARGUMENT) for a prompt without tokens or one too long.
        """
        ids: list[int] = self.tokenizer(prompt.text)["input_ids"]  # pyright: ignore[reportAssignmentType]
        while ids and ids[-1] in self.stop_ids:
            ids.pop()
        where = f"prompt {prompt.id!r}"
        if not ids:
            raise EngineError(EngineFault.INVALID_ARGUMENT, f"{where} has no tokens; its text must give at least one")
        if self.max_positions is not None and len(ids) + max_new_tokens > self.max_positions:
            raise EngineError(
                EngineFault.INVALID_ARGUMENT,
                f"{where} has {len(ids)} tokens and max_new_tokens is {max_new_tokens}; together they must be at most "
                f"{self.max_positions}, the model's positions",
            )
        return ids

    def decode(self, completions: list[list[int]]) -> list[str]:
        """Texts without special tokens."""
        return self.tokenizer.batch_decode(completions, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def load_policy(
    directory: Path, version: int, sha256: str, dtype: torch.dtype, device: torch.device, before: Policy | None
) -> Policy:
    """The policy that a checked directory holds. Where only the weights differ from `before`, they go into its model.

    Raises EngineError (FAILED_PRECONDITION), and leaves `before` as it was, where the directory cannot be loaded.
    """
    settings = settings_digest(directory)
    tensors = read_weights(directory)
    if before is not None and settings == before.settings and copy_weights(before.model, tensors):
        return replace(before, version=version, path=str(directory), sha256=sha256)
    del tensors
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # the libraries raise many kinds for files that do not fit
        raise bad_path(directory, f"cannot be loaded: {_brief(error)}") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise bad_path(directory, f"has weights that lack {len(missing)} tensors of its config, {missing[0]} first")
    if unexpected := sorted(report["unexpected_keys"]):
        structlog.get_logger().warning(
            "weights hold tensors the model does not have",
            path=str(directory),
            count=len(unexpected),
            first=unexpected[0],
        )
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise bad_path(directory, f"has a tokenizer of {len(tokenizer)} tokens for a model that knows {vocabulary}")
    return Policy(
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        settings=settings,
        stop_ids=_stop_ids(model, tokenizer),
        max_positions=getattr(model.config.get_text_config(), "max_position_embeddings", None),
        vocabulary=vocabulary,
        version=version,
        path=str(directory),
        sha256=sha256,
    )


def _stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The end-of-sequence tokens: those of the generation settings, else the tokenizer's."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids: Any = tokenizer.eos_token_id if configured is None else configured
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list) else (ids,)


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON]
