"""When a phase of a run is saved and from where it goes on: checkpoints named by step, fenced by the job's token."""

from __future__ import annotations

from pathlib import Path

from trainer.checkpoint import Checkpoints
from trainer.controllers import Controllers
from trainer.engine import Engine
from trainer.run import Run


class Saves:
    """The checkpoints of one phase. `save` and `restore` are collectives: all ranks call them."""

    def __init__(self, run: Run, engine: Engine, phase: str, controllers: Controllers | None = None) -> None:
        """`controllers` go into the checkpoints and come back out of them."""
        self._run, self._engine = run, engine
        self._controllers = controllers or Controllers({})
        self._checkpoints = Checkpoints(run.run_dir / "checkpoints" / phase, run.config.checkpoint.keep, run.group)

    def restore(self) -> int:
        """Goes back to the latest checkpoint; the step to go on with, 0 where there is none. Raises CheckpointError, ControllerError."""
        latest = self._checkpoints.latest()
        if latest is None:
            return 0
        state = self._checkpoints.load(self._engine, latest)
        self._controllers.load_state_dict(state["controllers"])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Writes a checkpoint from which the run goes on with `step`. Raises Superseded where it is not ours any more."""
        self._run.progress.check()
        state = {"step": step, "controllers": self._controllers.state_dict()}
        self._checkpoints.save(self._engine, f"step-{step}", state)

    def latest(self) -> Path | None:
        """The directory of the latest checkpoint."""
        return self._checkpoints.latest()
