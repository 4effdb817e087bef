"""What answers the policy between its turns, a tool or a partner, as its author writes it, and how a collector asks it.

An environment gives text, never a score: where it fails or takes too long, the completion counts as missing.
"""

from __future__ import annotations

import asyncio
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import structlog

from services.queue.raised import raised_at

_FAULTS = (Exception, SystemExit, asyncio.CancelledError)
"""What an author's code may raise. The last two pass for nobody's fault: one would end the worker's loop, and with it
everybody's tasks, the other a group without an answer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a conversation stands when the policy has ended a turn."""

    prompt_id: str
    prompt: str
    """Text of the prompt."""
    checks: Mapping[str, Any]
    """The prompt's own, as the scorers get them."""
    sample: int
    """Number of the completion within its group, from 0."""
    texts: tuple[str, ...]
    """The policy's turn, the answer to it, the policy's next turn and so on; the policy's are without special tokens and
    end before the stop string that ended them."""

    @property
    def text(self) -> str:
        """What is to be answered."""
        return self.texts[-1]


class Environment(Protocol):
    """What an author writes. One object serves one completion, so it may keep what happened in it.

    One method more may be there: `async def close(self) -> None`, awaited when the conversation has ended in whatever way.
    All conversations of a worker share a loop: what computes or blocks belongs into `asyncio.to_thread`.
    """

    async def reply(self, turn: Turn) -> str | None:
        """The text that follows, as the policy is to see it, with whatever marks its chat format sets around it.

        None ends the conversation. What it raises makes the completion missing.
        """
        ...


class EnvironmentFailedError(Exception):
    """The reason why a conversation could not go on; quotes nothing of the conversation."""


class EnvironmentPathError(ValueError):
    """The import path names nothing that can be called; the message says what is wrong."""


def environment_class(path: str) -> Callable[..., Environment]:
    """What `pkg.mod:Class` names. Raises EnvironmentPathError."""
    try:
        found: Any = pkgutil.resolve_name(path)
    except _FAULTS as error:
        raise EnvironmentPathError(
            f"environment {path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(found) or inspect.ismodule(found):
        raise EnvironmentPathError(f"environment {path!r} is no class; write pkg.mod:Class")
    return cast("Callable[..., Environment]", found)


def made(environment: Callable[..., Environment], kwargs: Mapping[str, Any]) -> Environment:
    """An environment for one completion. Raises EnvironmentFailedError."""
    try:
        return environment(**kwargs)
    except _FAULTS as error:
        raise _failed(error) from error


async def reply(environment: Environment, turn: Turn, timeout_seconds: float) -> str | None:
    """Its answer. Raises EnvironmentFailedError, `environment: TimeoutError` after `timeout_seconds`."""
    try:
        async with asyncio.timeout(timeout_seconds):
            answer = await environment.reply(turn)
        if answer is not None:
            if not isinstance(answer, str):
                raise TypeError("an environment's reply must be a text or None")
            answer.encode()  # lone surrogates do not travel
        return answer
    except _FAULTS as error:
        if _is_ending(error):
            raise
        raise _failed(error) from error


async def close(environment: Environment, timeout_seconds: float) -> None:
    """Closes it where it can be closed; what goes wrong is only logged, for the conversation has ended."""
    closing: Any = getattr(environment, "close", None)
    if closing is None:
        return
    try:
        async with asyncio.timeout(timeout_seconds):
            await closing()
    except _FAULTS as error:
        if _is_ending(error):
            raise
        log.warning("environment not closed", exception=type(error).__name__)


def _is_ending(error: BaseException) -> bool:
    """Whether it is the conversation that is cancelled, and not something for which the environment waits."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _failed(error: BaseException) -> EnvironmentFailedError:
    log.warning("environment failed", exception=type(error).__name__, at=raised_at(error))
    return EnvironmentFailedError(f"environment: {type(error).__name__}")
