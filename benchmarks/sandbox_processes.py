"""Processes below this one, as `/proc` tells of them: who is left of a run, and what memory it takes.

This process adopts whatever loses its parent, so nothing that a run starts can leave its descendants.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from sandbox.inside import kernel

_SAMPLE_SECONDS = 0.03
_UNTIL_GONE_SECONDS = 1.0
_LOOKS = 50


def adopt() -> None:
    """To be called before anything is started."""
    kernel.adopt_orphans()


def descendants(of: int = 0) -> set[int]:
    """Process ids of all living descendants of a process, by default of this one."""
    below = children()
    found: set[int] = set()
    open_ends = [of or os.getpid()]
    while open_ends:
        nearest = below.get(open_ends.pop(), [])
        found.update(nearest)
        open_ends += nearest
    return found


def children() -> dict[int, list[int]]:
    """Process ids of the living children of every process, but for what this one has yet to collect."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  (a fifth of the time, several times for each run)
        if name.isdigit():
            try:
                state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state not in "ZX" or int(parent) != os.getpid():
                found.setdefault(int(parent), []).append(int(name))
    return found


def memory_bytes(pid: int) -> int:
    """Anonymous and shared memory that is resident; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


class Watch:
    """Looks at a run from outside, from before its start. `own_bytes`: what each of its processes has of its server's."""

    def __init__(self, own_bytes: int) -> None:
        self._before = descendants()
        self._own_bytes = own_bytes
        self.peak_bytes = 0
        """Largest sum over the processes of the run, beyond what they have of their server."""
        self._task = asyncio.create_task(self._sample())

    async def _sample(self) -> None:
        while True:
            total = sum(max(0, memory_bytes(pid) - self._own_bytes) for pid in descendants() - self._before)
            self.peak_bytes = max(self.peak_bytes, total)
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def end(self) -> list[str]:
        """What is left of the run, after at most a second in which it may end; that is killed."""
        self._task.cancel()
        for _ in range(_LOOKS):
            if not descendants() - self._before:
                return []
            await asyncio.sleep(_UNTIL_GONE_SECONDS / _LOOKS)
        left = descendants() - self._before
        found = sorted(map(_describe, left))
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found


def _describe(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
        return f"{pid} {fields[fields.index('(') : fields.rindex(')') + 3]}"
    except (FileNotFoundError, ProcessLookupError):
        return f"{pid} (just gone)"
