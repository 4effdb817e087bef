"""What runs in the engine's worker process: the calls of `services.server.pool`, in JSON's types, onto an engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from services.rollout.engine import EngineError, EngineFault, Interrupt
from services.rollout.engine_messages import (
    FINISHED,
    GENERATION,
    LIMITS,
    SCORED,
    SEQUENCES,
    SERVED,
    SOURCE,
    ServedSource,
)
from services.rollout.transformers_engine import Plan, TransformersEngine

Answer = dict[str, Any]
"""`result`, or `fault` and `message`; and in any case `held`: the names of the policies, the least recently used first."""


class EngineHost:
    """Answers calls of `services.rollout.engine_process`, one at a time.

    engine: keyword arguments of the engine.
    policies: what to begin with, so that a process which takes the place of one that died serves the same. One that
        cannot be loaded any more, or whose base is not what it was, is logged and left out.
    """

    def __init__(self, engine: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> None:
        self._engine = TransformersEngine(**engine)
        self._plan: Plan | None = None
        served = SERVED.validate_python(policies)
        for each in sorted(served, key=lambda each: bool(each.source.base)):  # adapters after what they are laid on
            try:
                self._load_again(each)
            except Exception as error:  # whatever it is, it must not keep the others from being served
                reason = error.message if isinstance(error, EngineError) else type(error).__name__
                structlog.get_logger().error("policy lost", policy=each.source.policy, reason=reason)

    def dtype(self, payload: None) -> str:
        """Of the weights."""
        return self._engine.dtype

    def update_weights(self, payload: dict[str, Any]) -> Answer:
        """Answers with the largest difference to the canary."""
        self._plan = None  # its policy may be given up, and a model takes much room
        return self._answer(lambda: self._engine.update_weights(SOURCE.validate_python(payload)))

    def begin(self, payload: dict[str, Any]) -> Answer:
        """Takes a request; answers with the number of its batches, which `sample` computes."""

        def plan() -> int:
            self._plan = self._engine.plan(GENERATION.validate_python(payload["request"]), _interrupt(payload))
            return self._plan.batches

        return self._answer(plan)

    def sample(self, payload: dict[str, Any]) -> Generator[Any, None, Answer]:
        """Yields each completion of a batch of the request that began last."""
        try:
            if self._plan is None:
                raise EngineError(EngineFault.UNAVAILABLE, "the engine's process was started again during the request")
            for finished in self._engine.sample(self._plan, payload["batch"], _interrupt(payload)):
                yield FINISHED.dump_python(finished, mode="json")
        except EngineError as error:
            return self._fault(error)
        return self._answer(lambda: None)

    def logprobs(self, payload: dict[str, Any]) -> Answer:
        """Answers with `SequenceLogprobs`."""
        sequences = SEQUENCES.validate_python(payload["sequences"])

        def score() -> Any:
            scored = self._engine.logprobs(payload["policy"], sequences, _interrupt(payload))
            return SCORED.dump_python(scored, mode="json")

        return self._answer(score)

    def _load_again(self, served: ServedSource) -> None:
        source = served.source
        if source.base and (held := self._engine.versions.get(source.base)) != served.base_version:
            raise EngineError(
                EngineFault.NOT_FOUND,
                f"its base {source.base!r} is at version {held}, and it was laid on version {served.base_version}",
            )
        self._engine.update_weights(source)

    def _answer(self, compute: Callable[[], Any]) -> Answer:
        try:
            result = compute()
        except EngineError as error:
            return self._fault(error)
        return {"result": result, "held": list(self._engine.versions)}

    def _fault(self, error: EngineError) -> Answer:
        return {"fault": error.fault, "message": error.message, "held": list(self._engine.versions)}


def _interrupt(payload: Mapping[str, Any]) -> Interrupt:
    """Ends the work as the call's limits say."""
    limits = LIMITS.validate_python(payload["limits"])
    cancel_file = Path(limits.cancel_file)

    def interrupt() -> None:
        if time.time() > limits.deadline:
            raise EngineError(EngineFault.DEADLINE_EXCEEDED, "the deadline passed before the last token")
        if cancel_file.exists():
            raise EngineError(EngineFault.CANCELLED, "the caller went away")

    return interrupt
