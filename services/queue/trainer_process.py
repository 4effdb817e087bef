"""The trainer as a child process: its environment, the lines it writes, and its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_LONGEST_LINE_BYTES = 64 * 1024
_MOST_LINES_WAITING = 10_000
_LAST_LINES_SECONDS = 2.0


def trainer_command(run_dir: Path) -> list[str]:
    """`ASSAY_TRAINER_COMMAND`, by default `python -m trainer`, with the directory of the run."""
    command = os.environ.get("ASSAY_TRAINER_COMMAND", "")
    return [*(shlex.split(command) or [sys.executable, "-m", "trainer"]), "--run-dir", str(run_dir)]


class TrainerProcess:
    """A running trainer. What it writes goes to a log file, appended, and to `take_lines`. Killed when the block ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log_file: Path) -> None:
        """Starts it, under this process's environment with the given additions. Raises OSError."""
        self._log = log_file.open("ab", buffering=0)  # so that nothing is left to be written when it is closed
        self._log_lock = threading.Lock()
        self._give_up_lines_at: float | None = None
        self._waiting: deque[str] = deque(maxlen=_MOST_LINES_WAITING)
        self.last_error_line = ""
        """The last line on standard error that was not blank."""
        try:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except BaseException:
            self._log.close()
            raise
        self._readers = [
            threading.Thread(target=self._read, args=(stream, name == "stderr"), name=f"trainer {name}", daemon=True)
            for stream, name in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr"))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> TrainerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        self.wait()
        if not any(reader.is_alive() for reader in self._readers):
            self._log.close()

    def running(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Asks it to write a checkpoint and end."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int:
        """Its exit code, minus the signal's number where a signal ended it. Its last lines are there when this returns."""
        code = self._process.wait()
        if self._give_up_lines_at is None:
            # a grandchild that lives on may keep the pipes open
            self._give_up_lines_at = time.monotonic() + _LAST_LINES_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, self._give_up_lines_at - time.monotonic()))
        return code

    def take_lines(self) -> list[str]:
        """The lines written since the last call; of very many, the latest."""
        lines: list[str] = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        return lines

    def _read(self, stream: IO[bytes], is_error: bool) -> None:
        with stream:
            while raw := stream.readline(_LONGEST_LINE_BYTES):
                # a full disk loses the line in the file, not the reader: the trainer would die of its closed pipe
                with self._log_lock, contextlib.suppress(OSError):
                    self._log.write(raw)
                line = raw.decode(errors="replace").rstrip()
                self._waiting.append(line)
                if is_error and line:
                    self.last_error_line = line
