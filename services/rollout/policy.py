"""A policy as the transformers engine holds it: model, tokenizer and what their files say about length and stopping."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from services.rollout.engine import EngineError, EngineFault, Prompt, WeightSource
from services.rollout.weights import (
    bad_path,
    checked_directory,
    exchange_weights,
    read_weights,
    reading,
    settings_digest,
)

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
    source: WeightSource
    """Where the weights are from, without the canary."""

    @property
    def version(self) -> int:
        return self.source.version

    def encode(self, prompt: Prompt, max_new_tokens: int) -> list[int]:
        """Tokens of a prompt: those that are given as they are, then those of its text. A text alone gets the special
        tokens that the tokenizer adds, one after tokens gets none; neither has an end of sequence at its end.

        Raises EngineError (INVALID_ARGUMENT) for a prompt without tokens or one too long, and for an unknown token.
        """
        where = f"prompt {prompt.id!r}"
        ids = list(prompt.token_ids)
        if ids and max(ids) >= self.vocabulary:
            raise EngineError(
                EngineFault.INVALID_ARGUMENT,
                f"{where} has the token {max(ids)}; the vocabulary ends at {self.vocabulary - 1}",
            )
        written = self._encode(prompt.text, special=not ids) if prompt.text else []
        while written and written[-1] in self.stop_ids:
            written.pop()
        ids += written
        if not ids:
            raise EngineError(EngineFault.INVALID_ARGUMENT, f"{where} has no tokens; its text must give at least one")
        if self.max_positions is not None and len(ids) + max_new_tokens > self.max_positions:
            raise EngineError(
                EngineFault.INVALID_ARGUMENT,
                f"{where} has {len(ids)} tokens and max_new_tokens is {max_new_tokens}; together they must be at most "
                f"{self.max_positions}, the model's positions",
            )
        return ids

    def encode_choice(self, place: int, text: str, max_new_tokens: int) -> list[int]:
        """Tokens of a text that a completion may be. Raises EngineError (INVALID_ARGUMENT), which names it by its place."""
        ids = self._encode(text, special=False)
        where = f"sampling.choices[{place}]"
        if not self.stop_ids:
            problem = "cannot end: the policy's files name no end-of-sequence token"
        elif self.decode([ids]) != [text]:
            problem = "cannot be written by the policy's tokenizer: its tokens give another text back"
        elif len(ids) + 1 > max_new_tokens:
            problem = f"has {len(ids) + 1} tokens with the end of the sequence; max_new_tokens is {max_new_tokens}"
        else:
            return ids
        raise EngineError(EngineFault.INVALID_ARGUMENT, f"{where} {problem}")

    def _encode(self, text: str, *, special: bool) -> list[int]:
        return self.tokenizer(text, add_special_tokens=special)["input_ids"]  # pyright: ignore[reportReturnType]

    def decode(self, completions: list[list[int]]) -> list[str]:
        """Texts without special tokens."""
        return self.tokenizer.batch_decode(completions, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy with new weights. Where they went into the model of the policy before, `replaced` has those that were in it."""

    policy: Policy
    replaced: dict[str, torch.Tensor] = field(default_factory=dict)

    def undo(self) -> None:
        """Puts the weights back that were replaced."""
        if self.replaced and not exchange_weights(self.policy.model, self.replaced):
            raise AssertionError("the weights fitted before")


def load_policy(source: WeightSource, dtype: torch.dtype, device: torch.device, before: Policy | None) -> Loaded:
    """The policy that a directory holds. Where only the weights differ from `before`, they go into its model.

    Raises EngineError (FAILED_PRECONDITION), and leaves `before` as it was, where the directory cannot be loaded.
    """
    with reading(Path(source.path)):
        directory = checked_directory(source.path, source.sha256)
        settings = settings_digest(directory)
        tensors = read_weights(directory)
    if before is not None and settings == before.settings and exchange_weights(before.model, tensors):
        return Loaded(replace(before, source=source), tensors)
    whole = {name for name, tensor in tensors.items() if not tensor.is_floating_point()}
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
    if odd := sorted(name for name, own in model.state_dict().items() if own.is_floating_point() and name in whole):
        raise bad_path(directory, f"has whole numbers for {odd[0]}, which takes floating-point numbers")
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
    policy = Policy(
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        settings=settings,
        stop_ids=_stop_ids(model, tokenizer, vocabulary),
        max_positions=getattr(model.config.get_text_config(), "max_position_embeddings", None),
        vocabulary=vocabulary,
        source=source,
    )
    return Loaded(policy)


def _stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> tuple[int, ...]:
    """The end-of-sequence tokens: those of the generation settings, else the tokenizer's; -1 stands for none."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids: Any = tokenizer.eos_token_id if configured is None else configured
    return tuple(token for token in (ids if isinstance(ids, list) else [ids]) if token in range(vocabulary))


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON]
