"""What travels between the service's process and the engine's, in JSON's types, and back into plain types."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pydantic import TypeAdapter

from services.rollout.engine import Finished, Generation, SequenceLogprobs, TokenSequence, WeightSource


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a call before its work is done."""

    deadline: float
    """In seconds since the epoch."""
    cancel_file: str
    """Path of a file that is there once the caller went away."""

    @property
    def seconds_left(self) -> float:
        """At least 0."""
        return max(0.0, self.deadline - time.time())


@dataclass(frozen=True, slots=True)
class ServedSource:
    """Where a policy's weights are from."""

    source: WeightSource
    base_version: int | None
    """Of the policy that an adapter was laid on; None where it is no adapter."""


GENERATION = TypeAdapter(Generation)
FINISHED = TypeAdapter(Finished)
SOURCE = TypeAdapter(WeightSource)
SEQUENCES = TypeAdapter(list[TokenSequence])
SCORED = TypeAdapter(SequenceLogprobs)
SERVED = TypeAdapter(list[ServedSource])
LIMITS = TypeAdapter(Limits)
