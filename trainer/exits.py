"""How the trainer process ends: exit codes, and the request to stop that is answered with a checkpoint."""

from __future__ import annotations

import signal
from types import FrameType

DONE = 0
CRASHED = 1
BAD_JOB = 2
INTERRUPTED = 75


class Interrupted(Exception):
    """The process was asked to stop and a checkpoint has been written."""


class StopRequest:
    """Remembers SIGTERM and SIGINT, so that the loop can stop between two steps instead of in the middle of one."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = True
