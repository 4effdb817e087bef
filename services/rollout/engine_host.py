"""What runs in the engine's worker process: the calls of `services.server.pool`, in JSON's types, onto an engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from services.rollout.engine import (
    EngineError,
    EngineFault,
    Interrupt,
    Prompt,
    PromptCompletions,
    RolloutEngine,
    Sampling,
    TokenSequence,
)
from services.rollout.transformers_engine import TransformersEngine


class EngineHost:
    """Answers `{"result": ...}` or `{"fault": ..., "message": ...}`.

    engine: keyword arguments of the engine.
    policies: arguments of `update_weights` to begin with, so that a process which takes the place of one that died
        serves the same. One that cannot be loaded any more is logged and left out.
    """

    def __init__(self, engine: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> None:
        self._engine: RolloutEngine = TransformersEngine(**engine)
        for policy in policies:
            try:
                self._engine.update_weights(**policy)
            except EngineError as error:
                structlog.get_logger().error("policy lost", policy=policy["policy"], reason=error.message)

    def update_weights(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answers with the policies that are held now, name to version."""
        try:
            self._engine.update_weights(**payload)
        except EngineError as error:
            return _fault(error)
        return {"result": self._engine.versions()}

    def generate(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answers with one object for each prompt; see `_prompt_json`."""
        try:
            results = self._engine.generate(
                policy=payload["policy"],
                prompts=[Prompt(**prompt) for prompt in payload["prompts"]],
                samples=payload["samples"],
                sampling=Sampling(**payload["sampling"]),
                min_policy_version=payload["min_policy_version"],
                interrupt=_interrupt(payload),
            )
        except EngineError as error:
            return _fault(error)
        return {"result": [_prompt_json(prompt) for prompt in results]}

    def logprobs(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answers with `sequences` and `policy_version`."""
        sequences = [TokenSequence(tuple(prompt), tuple(completion)) for prompt, completion in payload["sequences"]]
        try:
            result = self._engine.logprobs(payload["policy"], sequences, _interrupt(payload))
        except EngineError as error:
            return _fault(error)
        return {"result": {"sequences": result.sequences, "policy_version": result.policy_version}}


def _prompt_json(prompt: PromptCompletions) -> dict[str, Any]:
    completions = [
        {
            "token_ids": completion.token_ids,
            "logprobs": completion.logprobs,
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "policy_version": completion.policy_version,
        }
        for completion in prompt.completions
    ]
    return {"id": prompt.id, "prompt_token_ids": prompt.prompt_token_ids, "completions": completions}


def _fault(error: EngineError) -> dict[str, Any]:
    return {"fault": error.fault, "message": error.message}


def _interrupt(payload: Mapping[str, Any]) -> Interrupt:
    """Ends the work at `deadline` (seconds since the epoch) and once the file `cancel_file` is there."""
    deadline: float = payload["deadline"]
    cancel_file = Path(payload["cancel_file"])

    def interrupt() -> None:
        if time.time() > deadline:
            raise EngineError(EngineFault.DEADLINE_EXCEEDED, "the deadline passed before the last token")
        if cancel_file.exists():
            raise EngineError(EngineFault.CANCELLED, "the caller went away")

    return interrupt
