"""Keeps the runs that attacked the sandbox, for a person to look at. Only where the service is told a directory: these are
the only files with what programs and their inputs say."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

from sandbox.results import Ending, RunResult, TrialResult
from services.sandbox.wire import Run
from services.server.errors import StartError
from services.server.logs import get_logger

_MOST_FILES = 1000
"""The oldest go when there are more: whoever attacks a thousand times has been seen."""
_MOST_CHARACTERS = 1 << 16
"""Kept of each text."""


class Evidence:
    """One JSON file for each run of which a process was TAMPERED, named by the time, readable by its owner alone."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory where there is none. Raises StartError where nothing can be written there."""
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            trial = directory / f".writable-{os.getpid()}"
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise StartError(f"--evidence-dir {str(directory)!r}: nothing can be written there: {error}") from error

    def keep(self, run: Run, result: RunResult | TrialResult, layers: tuple[str, ...]) -> None:
        """Writes the run where it tampered. A full disk costs the evidence and not the run."""
        processes = (result.candidate, result.checker) if isinstance(result, TrialResult) else (result,)
        if all(process.ending is not Ending.TAMPERED for process in processes):
            return
        found = {
            "trace_id": run.trace_id,
            "caller": run.caller,
            "layers": layers,
            "limits": dataclasses.asdict(run.limits),
            "job": _plain(dataclasses.asdict(run.job)),
            "processes": [_plain(dataclasses.asdict(process)) for process in processes],
        }
        path = self._directory / f"{time.time_ns()}.json"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                json.dump(found, file, ensure_ascii=False, indent=1)
            # Of no other name: the directory may hold somebody else's files.
            for old in sorted(self._directory.glob(f"{19 * '[0-9]'}.json"))[:-_MOST_FILES]:
                old.unlink()
        except OSError as error:
            get_logger().error("evidence lost", error=str(error))


def _plain(value: Any) -> Any:
    """The same of JSON's types, its texts cut."""
    match value:
        case bytes():
            return value[:_MOST_CHARACTERS].decode("utf-8", "backslashreplace")
        case str():
            return value[:_MOST_CHARACTERS]
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
