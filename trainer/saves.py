"""When a phase of a run is saved and from where it goes on: checkpoints named by step, fenced by the job's token."""

from __future__ import annotations

from pathlib import Path

from trainer.checkpoint import Checkpoints
from trainer.engine import Engine
from trainer.run import Run


class Saves:
    """The checkpoints of one phase. `save` and `restore` are collectives: all ranks call them."""

    def __init__(self, run: Run, engine: Engine, phase: str) -> None:
        self._run, self._engine = run, engine
        self._checkpoints = Checkpoints(run.run_dir / "checkpoints" / phase, run.config.checkpoint.keep, run.group)

    def restore(self) -> int:
        """Goes back to the latest checkpoint; the step to go on with, 0 where there is none. Raises CheckpointError."""
        latest = self._checkpoints.latest()
        return 0 if latest is None else int(self._checkpoints.load(self._engine, latest)["step"])

    def save(self, step: int) -> None:
        """Writes a checkpoint from which the run goes on with `step`. Raises Superseded where it is not ours any more."""
        self._run.progress.check()
        self._checkpoints.save(self._engine, f"step-{step}", {"step": step})

    def latest(self) -> Path | None:
        """The directory of the latest checkpoint."""
        return self._checkpoints.latest()
