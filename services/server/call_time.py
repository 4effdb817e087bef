"""More time for a call that a worker runs beside others, where it waits for something that it is not at fault for."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

_extend: ContextVar[Callable[[float], None]] = ContextVar("extend", default=lambda _: None)


def extend(seconds: float) -> None:
    """Gives the call that this is done for so much more time. In an ordinary scorer, and outside a worker, it does nothing."""
    _extend.get()(seconds)


def set_extend(extend: Callable[[float], None]) -> None:
    """For the worker: what is called for tasks that are made from here on."""
    _extend.set(extend)
