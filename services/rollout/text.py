"""A policy's texts and tokens, and what ends a completion; the same for every engine. Neither torch nor a model at import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.rollout.engine import EngineError, EngineFault, Prompt, Sampling, TokenSequence
from services.rollout.weights import bad_path


@dataclass(frozen=True, slots=True)
class Text:
    """Tokenizer and limits of a policy. Methods raise EngineError (INVALID_ARGUMENT)."""

    tokenizer: Any
    stop_ids: tuple[int, ...]
    """Tokens that end a completion; none where the files name none."""
    positions: int | None
    """Longest sequence, prompt and completion together; None where the model has no limit."""
    vocabulary: int
    """Token ids are below it."""

    def encode(self, prompt: Prompt, max_new_tokens: int) -> list[int]:
        """Tokens of a prompt; text that begins it gets the tokenizer's special tokens, but no end of sequence after it."""
        written: list[int] = []
        if prompt.text:
            written = self.tokenizer(prompt.text, add_special_tokens=not prompt.token_ids)["input_ids"]
            while written and written[-1] in self.stop_ids:
                written.pop()
        ids = [*prompt.token_ids, *written]
        where = f"prompt {prompt.id!r}"
        if not ids:
            problem = "has no tokens; its token_ids and its text must give at least one"
        elif max(ids) >= self.vocabulary:
            problem = f"has the token {max(ids)}; the vocabulary ends at {self.vocabulary - 1}"
        elif self.positions is not None and len(ids) + max_new_tokens > self.positions:
            problem = (
                f"has {len(ids)} tokens and max_new_tokens is {max_new_tokens}; together they must be at most "
                f"{self.positions}, the model's positions"
            )
        else:
            return ids
        raise EngineError(EngineFault.INVALID_ARGUMENT, f"{where} {problem}")

    def choices(self, sampling: Sampling) -> list[list[int]]:
        """Tokens of each choice."""
        return [self._choice(place, text, sampling) for place, text in enumerate(sampling.choices)]

    def _choice(self, place: int, text: str, sampling: Sampling) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        where = f"sampling.choices[{place}]"
        if not self.stop_ids:
            problem = "cannot end: the policy's files name no end-of-sequence token"
        elif self.decode(ids) != text:
            problem = "cannot be written by the policy's tokenizer: its tokens give another text back"
        elif len(ids) + 1 > sampling.max_new_tokens:
            problem = (
                f"has {len(ids) + 1} tokens with the end of the sequence; max_new_tokens is {sampling.max_new_tokens}"
            )
        else:
            return ids
        raise EngineError(EngineFault.INVALID_ARGUMENT, f"{where} {problem}")

    def check_sequences(self, field: str, sequences: Sequence[TokenSequence]) -> None:
        """That the sequences of a field of the request can be scored."""
        for place, sequence in enumerate(sequences):
            self._check_sequence(f"{field}[{place}]", sequence)

    def _check_sequence(self, where: str, sequence: TokenSequence) -> None:
        ids = sequence.prompt_token_ids + sequence.completion_token_ids
        if not sequence.prompt_token_ids:
            problem = "has no prompt_token_ids; at least one is needed"
        elif max(ids) >= self.vocabulary:
            problem = f"has the token {max(ids)}; the vocabulary ends at {self.vocabulary - 1}"
        elif self.positions is not None and len(ids) > self.positions:
            problem = f"has {len(ids)} tokens; the model has {self.positions} positions"
        else:
            return
        raise EngineError(EngineFault.INVALID_ARGUMENT, f"{where} {problem}")

    def decode(self, ids: list[int]) -> str:
        """Without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def decode_all(self, sequences: list[list[int]]) -> list[str]:
        """Many at once."""
        return self.tokenizer.batch_decode(sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def before_stop(self, ids: list[int], stop: Sequence[str]) -> str:
        """The text up to the first of the stop strings."""
        text = self.decode(ids)
        return text[: min((place for each in stop if (place := text.find(each)) >= 0), default=len(text))]


def load_text(directory: Path, positions: int | None, vocabulary: int) -> Text:
    """Of a checked directory. Raises EngineError (FAILED_PRECONDITION) where its tokenizer cannot be loaded or does not fit.

    Ends of a sequence are those of the generation settings, else the tokenizer's.
    """
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        if (directory / "generation_config.json").is_file():
            settings: Any = GenerationConfig.from_pretrained(directory, local_files_only=True)
        else:
            settings = AutoConfig.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # the library raises many kinds for files that do not fit
        raise bad_path(directory, f"has a tokenizer that cannot be loaded: {type(error).__name__}") from error
    if len(tokenizer) > vocabulary:
        raise bad_path(directory, f"has a tokenizer of {len(tokenizer)} tokens for a model that knows {vocabulary}")
    configured = getattr(settings, "eos_token_id", None)
    ids = tokenizer.eos_token_id if configured is None else configured
    stop_ids = tuple(token for token in (ids if isinstance(ids, list) else [ids]) if token in range(vocabulary))
    return Text(tokenizer, stop_ids, positions, vocabulary)
