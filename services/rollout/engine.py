"""What samples from policies: the types and the interface that every inference engine has.

The servicer and the clients know only this file, so that another engine changes neither. It imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample."""

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus; 0 and 1 mean all tokens."""
    max_new_tokens: int = 256
    """Longest completion, in tokens, the end-of-sequence token included."""
    seed: int = 0
    """Non-negative, below 2**64. Equal requests to equal weights with equal seeds give equal tokens."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as text; `id` is unique within a request and part of the random stream of the prompt's samples."""

    id: str
    text: str
    trace_id: str = ""
    """Follows the prompt through logs; empty means the id."""


class FinishReason(StrEnum):
    """Why a completion ended; the names are those of `Completion.FinishReason` in the protocol."""

    STOP = "STOP"
    """The policy ended it with an end-of-sequence token."""
    LENGTH = "LENGTH"
    """It met `max_new_tokens`."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample. `logprobs` are in nats, one a token, at temperature 1 and full nucleus."""

    token_ids: tuple[int, ...]
    """The end-of-sequence token included where it was sampled."""
    logprobs: tuple[float, ...]
    text: str
    """Without special tokens."""
    finish_reason: FinishReason
    policy_version: int


@dataclass(frozen=True, slots=True)
class PromptCompletions:
    """All samples of one prompt."""

    id: str
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """Tokens to score (`completion_token_ids`, may be empty) after a context of at least one token."""

    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SequenceLogprobs:
    """Log-probabilities in nats at temperature 1: for each sequence one for each token of its completion."""

    sequences: tuple[tuple[float, ...], ...]
    policy_version: int


class EngineFault(StrEnum):
    """What kind of error it is; the names are gRPC status codes."""

    NOT_FOUND = "NOT_FOUND"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    CANCELLED = "CANCELLED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


class EngineError(Exception):
    """A request that the engine does not serve. The message names fields and numbers, never texts."""

    def __init__(self, fault: EngineFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


Interrupt = Callable[[], None]
"""Called between two tokens; raises EngineError (CANCELLED or DEADLINE_EXCEEDED) to end the work."""


class RolloutEngine(Protocol):
    """Holds named policies and answers for them, one call at a time. Every method raises EngineError."""

    def update_weights(self, policy: str, version: int, path: str, sha256: str) -> None:
        """Serves the weights of directory `path` as `version` of `policy`; the first load of a name creates it.

        The same version and checksum again changes nothing. After an error the weights from before are served.

        Raises FAILED_PRECONDITION for a version below the served one, for the served one with another checksum, and
        for a directory that does not hold a model.
        """
        ...

    def generate(
        self,
        policy: str,
        prompts: Sequence[Prompt],
        samples: int,
        sampling: Sampling,
        min_policy_version: int,
        interrupt: Interrupt,
    ) -> list[PromptCompletions]:
        """Samples `samples` completions for each prompt, in the order of the prompts.

        Raises NOT_FOUND for an unknown policy, FAILED_PRECONDITION where it is older than `min_policy_version`,
        INVALID_ARGUMENT for a prompt without tokens or one that does not fit the model with `max_new_tokens`.
        """
        ...

    def logprobs(self, policy: str, sequences: Sequence[TokenSequence], interrupt: Interrupt) -> SequenceLogprobs:
        """Log-probabilities of given tokens.

        Raises NOT_FOUND for an unknown policy, INVALID_ARGUMENT for a token outside the vocabulary and for a sequence
        longer than the model's positions.
        """
        ...

    def versions(self) -> dict[str, int]:
        """The policies that are held, with their versions."""
        ...
