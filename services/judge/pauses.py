"""How long to wait before a request is made again."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tenacity import RetryCallState

FIRST_SECONDS, LONGEST_SECONDS = 0.25, 8.0


def retry_after(header: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, at least 0; None where there is none or it cannot be read."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (_aware(parsedate_to_datetime(header)) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def pause_seconds(state: RetryCallState) -> float:
    """What the endpoint asked for, plus a pause that doubles, with jitter, so that requests do not come back together."""
    error: Any = state.outcome and state.outcome.exception()
    pause = min(FIRST_SECONDS * 2.0 ** (state.attempt_number - 1), LONGEST_SECONDS)
    return (error.retry_after_seconds or 0.0) + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _aware(date: datetime) -> datetime:
    return date if date.tzinfo else date.replace(tzinfo=UTC)
