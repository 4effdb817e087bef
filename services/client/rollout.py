"""A client of the rollout service in plain types: splits large requests, tries again while the service is away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
from tenacity import RetryCallState, Retrying, retry_if_exception

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc
from services.addresses import MAX_MESSAGE_BYTES, address_of
from services.client.channel import ServiceError, ServiceUnavailableError, open_channel, service_errors
from services.client.completion_stream import CompletionStream
from services.rollout.engine import (
    Description,
    Finished,
    Generation,
    Probe,
    Prompt,
    PromptCompletions,
    Sampling,
    SequenceLogprobs,
    Served,
    TokenSequence,
    WeightSource,
)
from services.rollout.limits import MAX_ANSWER_TOKENS
from services.rollout.wire import (
    finished_from_wire,
    generation_to_wire,
    prompt_completions_from_wire,
    sequence_to_wire,
    source_to_wire,
)

CHUNK_SEQUENCES = 1024
"""Sequences in one request, so that what a dying engine loses and what a full service refuses stays small."""
CHUNK_BYTES = MAX_MESSAGE_BYTES // 2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0

T = TypeVar("T")


class PendingUpdate:
    """An update that is under way."""

    def __init__(self, call: Any, address: str) -> None:
        self._call, self._address = call, address

    def ended(self) -> bool:
        """Whether there is a result."""
        return self._call.done()

    def cancel(self) -> None:
        """Ends it: the service takes no more tensors, and serves the weights from before."""
        self._call.cancel()

    def result(self) -> Served:
        """Waits for it. Raises ServiceError, ServiceUnavailableError."""
        with service_errors("rollout", self._address):
            answer = self._call.result()
        return Served(answer.version, answer.canary_difference)


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

        A large request is split by prompts. Weights that change in between show in `Completion.token_versions`.
        """
        deadline = time.monotonic() + timeout_seconds
        whole = Generation(policy, tuple(prompts), samples, sampling, min_policy_version)
        results: list[PromptCompletions] = []
        for part in _parts(whole):
            response = self._call(self._stub.Generate, generation_to_wire(part), deadline)
            results.extend(prompt_completions_from_wire(prompt) for prompt in response.prompts)
        return results

    def generate_stream(
        self,
        policy: str,
        prompts: Sequence[Prompt],
        samples: int,
        sampling: Sampling,
        *,
        min_policy_version: int = 0,
        timeout_seconds: float = 600.0,
    ) -> Generator[Finished, None, None]:
        """The same completions, each as soon as it is finished; `Finished.prompt` is the place in `prompts`.

        None comes twice, also where the service was away in between: then the prompts that were not finished are sampled
        again, and what had come of them is left out. Closing the iterator ends the work at the service.
        """
        whole = Generation(policy, tuple(prompts), samples, sampling, min_policy_version)
        return self._finished(whole, time.monotonic() + timeout_seconds)

    def _finished(self, whole: Generation, deadline: float) -> Generator[Finished, None, None]:
        places = {prompt.id: place for place, prompt in enumerate(whole.prompts)}
        for part in _parts(whole):
            with CompletionStream(self._stub.GenerateStream, part) as stream:
                while (message := self._call(stream.next, None, deadline)) is not None:
                    yield finished_from_wire(message, places[message.id])
                if not stream.is_complete:
                    why = "the stream ended before its last completion"
                    raise ServiceError("rollout", self.address, grpc.StatusCode.INTERNAL, why)

    def update_weights(
        self,
        policy: str,
        version: int,
        path: str | os.PathLike[str],
        sha256: str = "",
        *,
        base: str = "",
        canary: Sequence[Probe] = (),
        tolerance: float = 0.0,
        timeout_seconds: float = 900.0,
    ) -> Served:
        """Publishes the model directory `path` as `version`; returns once it is served and has passed the canary.

        sha256: of `model.safetensors` (of an adapter: `adapter_model.safetensors`), in hexadecimal; empty skips the check.
        base: not empty: `path` holds a LoRA adapter for this policy. canary: tokens with the trainer's log-probabilities;
        the engine's may differ by up to `tolerance` nats, else ServiceError (DATA_LOSS) is raised. Sending an update
        twice is harmless.
        """
        source = WeightSource(policy, version, str(Path(path).absolute()), sha256, base, tuple(canary), tolerance)
        answer = self._call(self._stub.UpdateWeights, source_to_wire(source), time.monotonic() + timeout_seconds)
        return Served(answer.version, answer.canary_difference)

    def begin_update(self, source: WeightSource, *, timeout_seconds: float = 900.0) -> PendingUpdate:
        """Sends an update with a `Transfer` and returns at once, so that its tensors can be sent; it is tried once."""
        call = self._stub.UpdateWeights.future(source_to_wire(source), timeout=timeout_seconds)
        return PendingUpdate(call, self.address)

    def describe(self, *, timeout_seconds: float = 60.0) -> Description:
        """What samples, and the policies that are held."""
        deadline = time.monotonic() + timeout_seconds
        answer = self._call(self._stub.Describe, rollout_pb2.DescribeRolloutRequest(), deadline)
        return Description(answer.engine, answer.dtype, dict(answer.policies), answer.transfer_workers)

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
                policy=policy, sequences=[sequence_to_wire(sequence) for sequence in chunk]
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


def _parts(whole: Generation) -> Iterator[Generation]:
    """Generations of some of the prompts each, within the limits of a request. Raises ValueError where ids are not unique."""
    if len({prompt.id for prompt in whole.prompts}) < len(whole.prompts):
        raise ValueError("prompts: ids must be unique")
    tokens = whole.samples * whole.sampling.max_new_tokens

    def cost(prompt: Prompt) -> tuple[int, int, int]:
        return whole.samples, tokens, 4 * len(prompt.text) + 5 * len(prompt.token_ids)

    for prompts in _chunks(whole.prompts, cost):
        yield replace(whole, prompts=tuple(prompts))


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
