"""One process of the stack: started in a process group of its own, known to serve by its ready file, ended for good."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.stack.spec import ServiceSpec

_LAST_LINES = 15
_LONGEST_PAUSE_SECONDS = 10.0
_STEADY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What a process writes to its ready file; addresses are empty where it has none."""

    pid: int
    address: str
    metrics_address: str


class Child:
    """A process that is started again when it dies. Its supervisor looks after it by calling its methods."""

    def __init__(self, spec: ServiceSpec, state_dir: Path) -> None:
        self.spec = spec
        self.log = state_dir / "logs" / f"{spec.name}.log"
        self.ready: Ready | None = None
        """Set while it serves."""
        self.restarts = 0
        self.last_end = ""
        """How it died the last time."""
        self._ready_file = state_dir / "ready" / f"{spec.name}.json"
        self._ports = dict.fromkeys(spec.port_flags, 0)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._start_again_at = 0.0
        self._pauses = 0
        self._asked_to_end_at: float | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a process, which may have ended without our having looked."""
        return self._process is not None

    @property
    def seconds_since_start(self) -> float:
        return time.monotonic() - self._started_at

    @property
    def due(self) -> bool:
        """Whether it is down and its pause after a death is over."""
        return not self.alive and time.monotonic() >= self._start_again_at

    def start(self, environment: Mapping[str, str]) -> None:
        """Starts the process; the first start begins its log anew. Raises OSError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._ready_file.parent.mkdir(parents=True, exist_ok=True)
        self._ready_file.unlink(missing_ok=True)
        ports = [argument for flag, port in self._ports.items() for argument in (flag, str(port))]
        with self.log.open("ab" if self.restarts else "wb") as output:
            self._started_at = time.monotonic()
            self._process = subprocess.Popen(
                [*self.spec.command, *ports, "--ready-file", str(self._ready_file)],
                env={**os.environ, **environment, **self.spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # so that Ctrl-C reaches the supervisor only, and strays can be found
                start_new_session=True,
            )

    def look_ready(self) -> bool:
        """True the first time that its ready file is there."""
        if self.ready or not self.alive or not self._ready_file.exists():
            return False
        told = json.loads(self._ready_file.read_text(encoding="utf-8"))
        self.ready = Ready(told["pid"], told.get("address", ""), told.get("metrics_address", ""))
        addresses = (self.ready.address, self.ready.metrics_address)
        self._ports = {
            flag: int(address.rpartition(":")[2])
            for flag, address in zip(self.spec.port_flags, addresses, strict=False)
        }
        return True

    def look_ended(self) -> int | None:
        """Its exit code the first time that it is found to have ended, with whatever was left of its group killed."""
        process = self._process
        if process is None:
            return None
        # not reaped yet, so that its group's number cannot belong to anybody else when the group is killed
        if not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return None
        self._kill_group(process)
        self._process, self.ready = None, None
        return process.wait()

    def plan_restart(self, how: str) -> None:
        """After a death: notes it, also in the log, and sets the pause, which grows with deaths in quick succession."""
        self.last_end = how
        # a full disk must not end the supervision
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as output:
            output.write(f"[stack] {self.spec.name} {how}\n")
        self._pauses = 0 if self.seconds_since_start > _STEADY_SECONDS else self._pauses + 1
        self._start_again_at = time.monotonic() + min(0.25 * 2.0**self._pauses, _LONGEST_PAUSE_SECONDS)
        self.restarts += 1

    def ask_to_end(self) -> None:
        """SIGTERM at the first call, SIGKILL for its group once its grace is over."""
        process = self._process
        if process is None:
            return
        if self._asked_to_end_at is None:
            self._asked_to_end_at = time.monotonic()
            process.terminate()
        elif time.monotonic() - self._asked_to_end_at > self.spec.grace_seconds:
            self._kill_group(process)

    def kill(self) -> None:
        """Ends it and its group at once."""
        if self._process is not None:
            self._kill_group(self._process)
            self._process.wait()
            self._process, self.ready = None, None

    def last_lines(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join(line for line in lines[-_LAST_LINES:] if not line.startswith("[stack] "))
        return ""

    @staticmethod
    def _kill_group(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
