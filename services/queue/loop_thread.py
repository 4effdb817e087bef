"""The one asyncio loop of a worker whose tasks are threads: what waits, waits there, for all tasks together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A loop in a thread of its own, for as long as the process lives."""

    def __init__(self, blocking_calls: int) -> None:
        """`blocking_calls`: how many calls of `asyncio.to_thread` run at once; further ones wait."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(blocking_calls, thread_name_prefix="call"))
        threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result, or what it raises. For threads, never for the loop itself."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
