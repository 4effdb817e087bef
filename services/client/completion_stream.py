"""A stream of finished completions that goes on where it was when the service comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import grpc

from protos.gen.assay.v1 import rollout_pb2
from services.rollout.engine import Generation
from services.rollout.wire import generation_to_wire


class CompletionStream:
    """One `GenerateStream` call, opened again for the prompts that lack completions; none is given out twice."""

    def __init__(self, method: Callable[..., Any], generation: Generation) -> None:
        """method: the stub's. generation: small enough for one request."""
        self._method = method
        self._generation = generation
        self._call: Any = None
        self._seen: set[tuple[str, int]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._call is not None:
            self._call.cancel()

    @property
    def is_complete(self) -> bool:
        """Whether every completion was given out."""
        return len(self._seen) == len(self._generation.prompts) * self._generation.samples

    def next(self, _request: None, timeout: float) -> rollout_pb2.FinishedCompletion | None:
        """The next completion, None after the last. Has the form of a stub's method. Raises grpc.RpcError; may be called
        again then.

        timeout: seconds that the call may take from now on, where it is opened.
        """
        if self._call is None:
            if self.is_complete:
                return None
            self._call = self._method(generation_to_wire(self._missing()), timeout=timeout)
        try:
            for message in self._call:
                if (message.id, message.sample) not in self._seen:
                    self._seen.add((message.id, message.sample))
                    return message
        except grpc.RpcError:
            self._call = None
            raise
        self._call = None
        return None

    def _missing(self) -> Generation:
        """The prompts that lack completions."""
        have = Counter(prompt for prompt, _ in self._seen)
        prompts = [prompt for prompt in self._generation.prompts if have[prompt.id] < self._generation.samples]
        return replace(self._generation, prompts=tuple(prompts))
