"""Metrics of a run: one JSON line a step, the same to TensorBoard.

A resumed run takes back the lines after its checkpoint, so that `metrics.jsonl` reads like that of a run that was never
interrupted: each step of a phase stands in it once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from trainer.lines import read_lines, reopen

PHASES = ("warmup", "rl")


class MetricsLog:
    """Appends metrics of one phase to `<run_dir>/metrics.jsonl` and `<run_dir>/tensorboard`."""

    def __init__(self, run_dir: Path, phase: str, first_step: int, enabled: bool) -> None:
        """Drops what is there of this phase from `first_step` on, and of the phases after it.

        enabled: False on ranks other than 0, which write nothing.
        """
        self._phase = phase
        self._file = self._board = None
        if not enabled:
            return
        from torch.utils.tensorboard.writer import SummaryWriter

        self._file = reopen(run_dir / "metrics.jsonl", lambda line: _is_before(line, phase, first_step))
        self._board = SummaryWriter(str(run_dir / "tensorboard" / phase), purge_step=first_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One step. NaN and infinity are written as JSON `null`: they are no JSON numbers."""
        if self._file is None or self._board is None:
            return
        finite = {name: value if abs(value) < float("inf") else None for name, value in sorted(values.items())}
        self._file.write(json.dumps({"phase": self._phase, "step": step, "values": finite}, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and self._board is not None:
            self._file.close()
            self._board.close()


def read_metrics(run_dir: Path) -> list[dict]:
    """The lines of `metrics.jsonl`, `[{"phase", "step", "values"}]`; a line torn by a crash ends the list."""
    return read_lines(run_dir / "metrics.jsonl")


def _is_before(line: dict, phase: str, first_step: int) -> bool:
    if line["phase"] == phase:
        return line["step"] < first_step
    return PHASES.index(line["phase"]) < PHASES.index(phase)
