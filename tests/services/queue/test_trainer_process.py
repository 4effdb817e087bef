"""The trainer's process: its lines, whatever they are, and its end, whatever it leaves behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from services.queue.trainer_process import TrainerProcess, trainer_command


def run(tmp_path: Path, program: str) -> TrainerProcess:
    return TrainerProcess([sys.executable, "-c", program], {"GREETING": "hello"}, tmp_path / "trainer.log")


def test_lines_go_to_the_log_file_and_to_the_reader(tmp_path: Path) -> None:
    with run(
        tmp_path, "import os, sys; print(os.environ['GREETING']); print('why', file=sys.stderr); print(file=sys.stderr)"
    ) as process:
        assert process.wait() == 0
        assert sorted(process.take_lines()) == ["", "hello", "why"]
        assert process.take_lines() == []
        assert process.last_error_line == "why"
    with run(tmp_path, "print('again')") as process:
        process.wait()
    assert sorted((tmp_path / "trainer.log").read_text().split()) == ["again", "hello", "why"]


def test_bytes_that_are_no_text_and_lines_without_an_end_are_taken(tmp_path: Path) -> None:
    with run(tmp_path, "import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n' + b'x' * 200_000)") as process:
        process.wait()
        lines = process.take_lines()
    assert lines[0] == "\ufffd\ufffd"
    assert [len(line) for line in lines[1:]] == [65536, 65536, 65536, 200_000 - 3 * 65536]


def test_a_full_disk_costs_the_file_its_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "trainer.log").symlink_to("/dev/full")
    with run(tmp_path, "for number in range(3): print(number, flush=True)") as process:
        assert process.wait() == 0
        assert process.take_lines() == ["0", "1", "2"]


def test_of_a_flood_the_latest_lines_are_kept_and_the_file_has_all(tmp_path: Path) -> None:
    with run(tmp_path, "for number in range(30_000): print(number)") as process:
        process.wait()
        assert process.take_lines() == [str(number) for number in range(20_000, 30_000)]
    assert len((tmp_path / "trainer.log").read_text().splitlines()) == 30_000


def test_a_grandchild_that_keeps_the_pipe_open_holds_nobody_up(tmp_path: Path) -> None:
    sleeper = "import time; time.sleep(3600)"
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {sleeper!r}]).pid)"
    with run(tmp_path, start) as process:
        assert process.wait() == 0
        (grandchild,) = process.take_lines()
    os.kill(int(grandchild), signal.SIGKILL)  # it was alive: this raises otherwise


def test_it_is_killed_when_the_block_ends(tmp_path: Path) -> None:
    with run(tmp_path, "import time; time.sleep(3600)") as process:
        assert process.running()
    assert process.wait() == -signal.SIGKILL


def test_the_default_command_is_the_trainer_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_TRAINER_COMMAND", raising=False)
    assert trainer_command(tmp_path) == [sys.executable, "-m", "trainer", "--run-dir", str(tmp_path)]
    monkeypatch.setenv("ASSAY_TRAINER_COMMAND", "'/a b/python' stub.py")
    assert trainer_command(tmp_path) == ["/a b/python", "stub.py", "--run-dir", str(tmp_path)]
