"""When a phase of a run is saved and from where it goes on: checkpoints named by step, fenced by the job's token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from trainer.checkpoint import Checkpoints
from trainer.engine import Engine
from trainer.run import Run


class Part(Protocol):
    """Something that moves beside the engine."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


class Saves:
    """The checkpoints of one phase. `save` and `restore` are collectives: all ranks call them."""

    def __init__(self, run: Run, engine: Engine, phase: str, parts: Mapping[str, Part] | None = None) -> None:
        """The states of `parts` go into the checkpoints and come back out of them."""
        self._run, self._engine, self._parts = run, engine, parts or {}
        self._checkpoints = Checkpoints(run.run_dir / "checkpoints" / phase, run.config.checkpoint.keep, run.group)

    def restore(self) -> int:
        """Goes back to the latest checkpoint; the step to go on with, 0 where there is none.

        Raises CheckpointError, and what the parts raise.
        """
        latest = self._checkpoints.latest()
        if latest is None:
            return 0
        state = self._checkpoints.load(self._engine, latest)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Writes a checkpoint from which the run goes on with `step`. Raises Superseded where it is not ours any more."""
        self._run.progress.check()
        state = {"step": step, **{name: part.state_dict() for name, part in self._parts.items()}}
        self._checkpoints.save(self._engine, f"step-{step}", state)

    def latest(self) -> Path | None:
        """The directory of the latest checkpoint."""
        return self._checkpoints.latest()
