from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_tokens = itertools.count()


@pytest.fixture
def token() -> float:
    """A CPU limit that no other run on the machine has; it stands in the command line of every process of a run."""
    return 1.0 + os.getpid() / 1e8 + next(_tokens) / 1e12


@pytest.fixture
def survivors(token: float) -> Callable[[], list[str]]:
    """Processes of the runs with the test's token that are alive after a moment's grace."""

    def find() -> list[str]:
        deadline = time.monotonic() + 2
        while (found := _processes_with(str(token))) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    return find


def _processes_with(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in line.split():
                found.append(f"{folder.name}: {line}")
    return found


@pytest.fixture
def scratch_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Lists the scratch directories that runs of this test have left."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp") and parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o111)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda: [path.name for path in tmp_path.iterdir()]
