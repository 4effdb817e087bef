"""A client of the rollout service in plain types: splits large requests, tries again while the service is away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
from tenacity import RetryCallState, Retrying, retry_if_exception

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc
from services.addresses import MAX_MESSAGE_BYTES, address_of
from services.client.channel import ServiceError, ServiceUnavailableError, open_channel, service_errors
from services.rollout.engine import (
    Completion,
    FinishReason,
    Prompt,
    PromptCompletions,
    Sampling,
    SequenceLogprobs,
    TokenSequence,
)
from services.rollout.limits import MAX_ANSWER_TOKENS

CHUNK_SEQUENCES = 1024
"""Sequences in one request, so that what a dying engine loses and what a full service refuses stays small."""
CHUNK_BYTES = MAX_MESSAGE_BYTES // 2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0

T = TypeVar("T")


class RolloutClient:
    """Calls one rollout service. Threads may share it; a process that forks makes its own afterwards.

    Every method raises ServiceError where the service refuses, ServiceUnavailableError where it stayed away for
    `patience_seconds` of waiting between tries or did not answer within `timeout_seconds` (tries included).
    """

    def __init__(self, address: str | None = None, *, patience_seconds: float = 60.0) -> None:
        """address: `host:port`; the default is ASSAY_ROLLOUT_ADDRESS or the default port on this machine."""
        self.address = address or address_of("rollout")
        self._patience_seconds = patience_seconds
        self._channel = open_channel(self.address)
        self._stub: Any = rollout_pb2_grpc.RolloutStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends running calls and closes the connection."""
        self._channel.close()

    def generate(
        self,
        policy: str,
        prompts: Sequence[Prompt],
        samples: int,
        sampling: Sampling,
        *,
        min_policy_version: int = 0,
        timeout_seconds: float = 600.0,
    ) -> list[PromptCompletions]:
        """`samples` completions for each prompt, in the order of the prompts.

        A large request is split by prompts. Weights that change in between show in `Completion.policy_version`.
        """
        ids = [prompt.id for prompt in prompts]
        if len(set(ids)) < len(ids):
            raise ValueError("prompts: ids must be unique")
        deadline = time.monotonic() + timeout_seconds
        cost = samples * sampling.max_new_tokens
        results: list[PromptCompletions] = []
        for chunk in _chunks(prompts, lambda prompt: (samples, cost, 4 * len(prompt.text))):
            request = rollout_pb2.GenerateRequest(
                policy=policy,
                prompts=[rollout_pb2.Prompt(id=each.id, text=each.text, trace_id=each.trace_id) for each in chunk],
                samples=samples,
                sampling=rollout_pb2.Sampling(
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_new_tokens=sampling.max_new_tokens,
                    seed=sampling.seed,
                ),
                min_policy_version=min_policy_version,
            )
            response = self._call(self._stub.Generate, request, deadline)
            results.extend(_prompt_from_wire(prompt) for prompt in response.prompts)
        return results

    def update_weights(
        self,
        policy: str,
        version: int,
        path: str | os.PathLike[str],
        sha256: str = "",
        *,
        timeout_seconds: float = 900.0,
    ) -> int:
        """Publishes the model directory `path` as `version`; returns the served version once it is.

        sha256: of `model.safetensors`, in hexadecimal; empty skips the check. Sending an update twice is harmless.
        """
        where = str(Path(path).absolute())
        request = rollout_pb2.UpdateWeightsRequest(policy=policy, version=version, path=where, sha256=sha256)
        return self._call(self._stub.UpdateWeights, request, time.monotonic() + timeout_seconds).version

    def logprobs(
        self, policy: str, sequences: Sequence[TokenSequence], *, timeout_seconds: float = 600.0
    ) -> SequenceLogprobs:
        """Log-probabilities of given tokens, in nats at temperature 1.

        Raises ServiceError (ABORTED) where the weights changed between the parts of a large request.
        """
        deadline = time.monotonic() + timeout_seconds
        values: list[tuple[float, ...]] = []
        versions: set[int] = set()
        for chunk in _chunks(sequences, _sequence_cost):
            request = rollout_pb2.LogprobsRequest(
                policy=policy,
                sequences=[
                    rollout_pb2.TokenSequence(
                        prompt_token_ids=each.prompt_token_ids, completion_token_ids=each.completion_token_ids
                    )
                    for each in chunk
                ],
            )
            response = self._call(self._stub.Logprobs, request, deadline)
            values.extend(tuple(each.logprobs) for each in response.sequences)
            versions.add(response.policy_version)
        if len(versions) > 1:
            message = f"policy {policy!r} went from version {min(versions)} to {max(versions)} during the request"
            raise ServiceError("rollout", self.address, grpc.StatusCode.ABORTED, message)
        return SequenceLogprobs(tuple(values), versions.pop())

    def _call(self, method: Callable[..., Any], request: Any, deadline: float) -> Any:
        retrying = Retrying(
            retry=retry_if_exception(_worth_another_try),
            stop=lambda state: state.idle_for >= self._patience_seconds or time.monotonic() >= deadline,
            wait=_pause_seconds,
            reraise=True,
        )
        return retrying(self._try, method, request, deadline)

    def _try(self, method: Callable[..., Any], request: Any, deadline: float) -> Any:
        with service_errors("rollout", self.address):
            return method(request, timeout=max(deadline - time.monotonic(), 0.0))


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, ServiceUnavailableError) and error.code is not grpc.StatusCode.DEADLINE_EXCEEDED


def _pause_seconds(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    hint = error.retry_after_seconds if isinstance(error, ServiceUnavailableError) else None
    return min((hint or FIRST_PAUSE_SECONDS) * 2 ** (state.attempt_number - 1), LONGEST_PAUSE_SECONDS)


def _sequence_cost(sequence: TokenSequence) -> tuple[int, int, int]:
    scored = len(sequence.completion_token_ids)
    return 1, scored, 5 * (len(sequence.prompt_token_ids) + scored)


def _chunks(items: Sequence[T], cost: Callable[[T], tuple[int, int, int]]) -> Iterator[Sequence[T]]:
    """Parts within the limits of one request, by each item's sequences, answered tokens and bytes.

    An item that is too large alone is a part of its own, for the service to refuse. No items are one empty part.
    """
    limits = (CHUNK_SEQUENCES, MAX_ANSWER_TOKENS, CHUNK_BYTES)
    start, used = 0, (0, 0, 0)
    for place, item in enumerate(items):
        used = tuple(a + b for a, b in zip(used, cost(item), strict=True))
        if place > start and any(a > limit for a, limit in zip(used, limits, strict=True)):
            yield items[start:place]
            start, used = place, cost(item)
    yield items[start:]


def _prompt_from_wire(prompt: rollout_pb2.PromptCompletions) -> PromptCompletions:
    completions = tuple(
        Completion(
            token_ids=tuple(each.token_ids),
            logprobs=tuple(each.logprobs),
            text=each.text,
            finish_reason=FinishReason(rollout_pb2.Completion.FinishReason.Name(each.finish_reason)),
            policy_version=each.policy_version,
        )
        for each in prompt.completions
    )
    return PromptCompletions(prompt.id, tuple(prompt.prompt_token_ids), completions)
