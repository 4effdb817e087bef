"""What samples from policies: the types and the interface that every inference engine has.

The servicer and the clients know only this file, so that another engine changes neither. It imports no torch. The module
of an engine (see `services.rollout.__main__`) has two functions:

    def add_options(parser: ServiceParser) -> None                                        # the engine's own flags
    async def open_engine(options: argparse.Namespace, on_health: OnHealth) -> RolloutEngine     # raises StartError

`options` has `dtype`, which every engine takes, beside them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
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
    min_p: float = 0.0
    """Tokens less likely, at this temperature, than this share of the likeliest one are not sampled; 0 leaves none out.
    The nucleus is then of those that are left."""
    stop: tuple[str, ...] = ()
    """A completion ends with the token that makes its text hold one of these; the text ends before it, the tokens with it."""
    choices: tuple[str, ...] = ()
    """Not empty: a completion is one of these texts and the end of the sequence. Not together with `stop`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens and text to go on from; `id` is unique within a request and part of the random stream of its samples."""

    id: str
    text: str = ""
    """Encoded by the policy's tokenizer; after `token_ids` without special tokens."""
    trace_id: str = ""
    """Follows the prompt through logs; empty means the id."""
    token_ids: tuple[int, ...] = ()
    """Come before `text`, as they are: earlier turns. One of the two is not empty."""


class FinishReason(StrEnum):
    """Why a completion ended; the names are those of `Completion.FinishReason` in the protocol."""

    STOP = "STOP"
    """The policy ended it with an end-of-sequence token, a stop string did, or it is one of the choices."""
    LENGTH = "LENGTH"
    """It met `max_new_tokens`."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample. `logprobs` are in nats, one a token, under the policy at temperature 1, whole and not guided."""

    token_ids: tuple[int, ...]
    """The end-of-sequence token included where it was sampled."""
    logprobs: tuple[float, ...]
    text: str
    """Without special tokens."""
    finish_reason: FinishReason
    policy_version: int
    """The oldest weights that sampled a token of it; those at hand where it has none."""
    token_versions: tuple[int, ...] = ()
    """The weights that sampled each token; one a token."""
    given: tuple[bool, ...] = ()
    """Of several turns: true for tokens that the policy did not sample, whose log-probability is 0. Empty for one turn."""


@dataclass(frozen=True, slots=True)
class PromptCompletions:
    """All samples of one prompt."""

    id: str
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """A completion as soon as it is finished: sample `sample` (from 0) of the prompt at place `prompt` of the request."""

    prompt: int
    sample: int
    prompt_token_ids: tuple[int, ...]
    completion: Completion


@dataclass(frozen=True, slots=True)
class Generation:
    """A request for `samples` completions of each prompt, by weights of at least `min_policy_version`."""

    policy: str
    prompts: tuple[Prompt, ...]
    samples: int
    sampling: Sampling
    min_policy_version: int = 0


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


@dataclass(frozen=True, slots=True)
class Probe:
    """Tokens with the log-probabilities, in nats, that the trainer computed for them: one for each completion token."""

    sequence: TokenSequence
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of a model's file."""

    name: str
    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Tensors that the trainer broadcasts from its GPU while an update lasts."""

    backend: str
    """`nccl`."""
    group: bytes
    """NCCL's unique id; the trainer has rank 0, the engine's workers have the ranks from 1 on."""
    new_group: bool
    """Whether the workers are to join it; otherwise they are in it already."""
    world_size: int
    tensors: tuple[TensorInfo, ...]
    """In the order in which they are broadcast; all that the update's `path` holds."""


@dataclass(frozen=True, slots=True)
class WeightSource:
    """Weights to serve: a directory with `config.json`, tokenizer and safetensors, as `version` of `policy`."""

    policy: str
    version: int
    path: str
    sha256: str = ""
    """Of `model.safetensors`, or of the adapter's `adapter_model.safetensors`, in hexadecimal; empty skips the check."""
    base: str = ""
    """Not empty: `path` holds a LoRA adapter, which is laid on this policy, another one than `policy`."""
    canary: tuple[Probe, ...] = ()
    tolerance: float = 0.0
    """Largest difference in nats to the canary with which the version is served."""
    transfer: Transfer | None = None
    """Not None: an engine that serves an earlier version may take the tensors from the trainer, not from `path`."""


@dataclass(frozen=True, slots=True)
class Served:
    """What an update ended with."""

    version: int
    canary_difference: float
    """Largest difference to the canary, in nats; 0 without one."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a rollout service samples with and from."""

    engine: str
    """`transformers` or `vllm`."""
    dtype: str
    policies: Mapping[str, int]
    """Name to the version that is served."""
    transfer_workers: int = 0
    """See `RolloutEngine`."""


class EngineFault(StrEnum):
    """What kind of error it is; the names are gRPC status codes."""

    NOT_FOUND = "NOT_FOUND"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    CANCELLED = "CANCELLED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"
    """The engine's process ended, or is still starting; the same call may succeed later."""
    DATA_LOSS = "DATA_LOSS"
    """The engine does not compute with the weights that it was told to load."""
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
    """Holds named policies and answers for them, many calls at once. Every method raises EngineError.

    No token is ever sampled from weights that have failed their canary, or not passed it yet.
    """

    name: str
    """`transformers` or `vllm`."""
    dtype: str
    """Of the weights it holds: `float32`, `bfloat16`, `float16`."""
    transfer_workers: int
    """Workers that take a policy's tensors by a `Transfer`; 0 where the engine takes none."""

    @property
    def versions(self) -> Mapping[str, int]:
        """The policies that are held, with the version that is served."""
        ...

    async def update_weights(self, source: WeightSource) -> float:
        """Serves a version; the first load of a name creates the policy. The largest difference to the canary, in nats.

        The same version and checksum again changes nothing. Goes on when the caller is cancelled: it is safe to send again.

        Raises FAILED_PRECONDITION for a version below the served one, for the served one with another checksum, and
        for a directory that does not hold a model: then the weights from before are served. Raises DATA_LOSS where the
        canary is missed: then the weights from before are served again, or the policy is held no more. Raises
        UNAVAILABLE where a transfer breaks off, with the same end; one whose caller is cancelled does.
        """
        ...

    def generate(self, request: Generation, seconds: float | None) -> AsyncGenerator[Finished, None]:
        """Every completion as it is finished, in any order. Closing the iterator ends the work; so does its time.

        Raises NOT_FOUND for an unknown policy, FAILED_PRECONDITION where it is older than `min_policy_version`,
        INVALID_ARGUMENT for a prompt without tokens or one that does not fit the model with `max_new_tokens`, for
        tokens outside the vocabulary, and for choices that the tokenizer cannot write or that do not fit
        `max_new_tokens`. Raises DEADLINE_EXCEEDED after `seconds` (None: no limit of the caller's), UNAVAILABLE where the
        engine's process ends.
        """
        ...

    async def logprobs(
        self, policy: str, sequences: Sequence[TokenSequence], seconds: float | None
    ) -> SequenceLogprobs:
        """Log-probabilities of given tokens, all by the same version.

        Raises NOT_FOUND for an unknown policy, INVALID_ARGUMENT for a token outside the vocabulary and for a sequence
        longer than the model's positions.
        """
        ...

    async def close(self) -> None:
        """Ends the engine and what it started. Calls that still run raise UNAVAILABLE."""
        ...


OnHealth = Callable[[bool], Awaitable[None]]
"""Awaited with False when the engine cannot work and cannot be started again, with True when it can."""
