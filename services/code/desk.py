"""What judging one item needs of the sandbox: its client, the item's limits, the time that is left."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sandbox.results import Limits, RunResult
from services.client.sandbox import Callback, Program, SandboxClient, SandboxSession
from services.code.checks import CodeChecks

_OWN_SHARE = 0.9
"""Of an item's time, what its runs may take; the rest is for starting them and for the way."""
_WALL_FACTOR, _WALL_EXTRA_SECONDS = 3.0, 2.0
"""The wall limit is this loose, so that on a busy machine it is the CPU limit that tells slow code from fast."""
_LEAST_SECONDS = 0.05


class OutOfTimeError(Exception):
    """The sandbox kept the item waiting for so long that there is no time left to run it as it should be."""


class Desk:
    """Runs and sessions for one item."""

    def __init__(self, client: SandboxClient, checks: CodeChecks, trace_id: str, seconds: float) -> None:
        """seconds: the time that the item may take from now on."""
        self._client = client
        self._checks = checks
        self._trace_id = trace_id
        self._deadline = time.monotonic() + seconds
        self._own_seconds = _OWN_SHARE * seconds

    @property
    def is_exhausted(self) -> bool:
        """Whether the item's own runs have taken all the time that they may."""
        return self._own_seconds < _LEAST_SECONDS

    def execute(self, source: str, stdin: str) -> RunResult:
        """Runs a program, within what earlier ones have left. Raises OutOfTimeError and what the client raises."""
        limits = self._limits(self._own_seconds)
        program = Program(source, stdin.encode("utf-8", "surrogatepass"), limits, self._trace_id)
        (result,) = self._client.execute([program], self._seconds_left())
        self._own_seconds -= result.wall_seconds
        return result

    def session(self, source: str, share: float, callbacks: Mapping[str, Callback] | None = None) -> SandboxSession:
        """A session that may take `share` of the item's time. Raises OutOfTimeError."""
        limits = self._limits(share * self._own_seconds)
        left = self._seconds_left()
        return self._client.session(source, limits, left, callbacks=callbacks, trace_id=self._trace_id)

    def _limits(self, most_seconds: float) -> Limits:
        wall = min(_WALL_FACTOR * self._checks.cpu_seconds + _WALL_EXTRA_SECONDS, most_seconds)
        if self._seconds_left() < wall:
            raise OutOfTimeError
        return Limits(self._checks.cpu_seconds, wall, self._checks.memory_bytes)

    def _seconds_left(self) -> float:
        return self._deadline - time.monotonic()
