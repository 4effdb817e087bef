"""When a scoring client tries a call again: after a pause, as long as its patience and the deadline allow."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import grpc
from tenacity import RetryCallState, retry_if_exception_type, sleep_using_event

from services.client.channel import ServiceUnavailableError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0


def retrying(deadline: float, patience_seconds: float, ended: threading.Event | None = None) -> dict[str, Any]:
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`.

    A service that cannot be reached is tried again for `patience_seconds`; one that says it is full, until `deadline`
    (of `time.monotonic`). A call that ran out of its time is not. Nothing is once `ended` is set, which ends pauses too.
    """
    start = time.monotonic()

    def too_late(state: RetryCallState) -> bool:
        error: Any = state.outcome and state.outcome.exception()
        until = deadline
        if error.retry_after_seconds is None:
            until = min(deadline, start + patience_seconds)
        is_over = error.code is grpc.StatusCode.DEADLINE_EXCEEDED or (ended is not None and ended.is_set())
        return is_over or time.monotonic() + state.upcoming_sleep >= until

    sleep = {} if ended is None else {"sleep": sleep_using_event(ended)}
    return sleep | {
        "retry": retry_if_exception_type(ServiceUnavailableError),
        "wait": _pause_seconds,
        "stop": too_late,
        "reraise": True,
    }


def _pause_seconds(state: RetryCallState) -> float:
    """The service's hint, plus an exponential pause with jitter, so that clients do not come back together."""
    error: Any = state.outcome and state.outcome.exception()
    pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (state.attempt_number - 1), LONGEST_PAUSE_SECONDS)
    return (error.retry_after_seconds or 0.0) + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
