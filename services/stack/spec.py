"""What runs in a stack: the command line of each process, what it waits for, and how long it may take to end."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.addresses import PORTS

REDIS = "redis"
JUDGE_VARIABLE = "ASSAY_JUDGE_BASE_URL"
ROLLOUT_ENGINE_VARIABLE = "ASSAY_ROLLOUT_ENGINE"
VLLM_PYTHON_VARIABLE = "ASSAY_VLLM_PYTHON"
ROOT = Path(__file__).resolve().parents[2]


class StackError(RuntimeError):
    """The stack cannot start; the message names the process at fault and quotes the end of its log."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A process of the stack. It takes `--ready-file`, and ends on SIGTERM."""

    name: str
    command: tuple[str, ...]
    """The command line without the flags that the stack adds."""
    needs: tuple[str, ...] = ()
    """Names of what must serve before it starts; it ends before they do."""
    port_flags: tuple[str, ...] = ("--port", "--metrics-port")
    """Its flags for its own address and its metrics, as far as it has them: 0 at first, the same port afterwards."""
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_seconds: float = 10.0
    """From SIGTERM to SIGKILL."""


def default_services(rollout_engine: str | None = None) -> tuple[ServiceSpec, ...]:
    """Every service that comes with the project; the judge only where `JUDGE_VARIABLE` says whom it asks.

    rollout_engine: see `rollout_spec`.
    """
    needs = {"code": ("sandbox",), "jobs": (REDIS,)}
    left_out = {"scorer"} if os.environ.get(JUDGE_VARIABLE) else {"scorer", "judge"}
    return tuple(
        rollout_spec(rollout_engine)
        if name == "rollout"
        else ServiceSpec(name, (sys.executable, "-m", f"services.{name}"), needs=needs.get(name, ()))
        for name in PORTS
        if name not in left_out
    )


def rollout_spec(engine: str | None = None) -> ServiceSpec:
    """The rollout service. vLLM's runs under a Python of its own: the one that `VLLM_PYTHON_VARIABLE` names, or the one
    that `make test-vllm` has set up.

    engine: `transformers` or `vllm`; None for what `ROLLOUT_ENGINE_VARIABLE` says, else `transformers`.
    Raises StackError where vLLM's Python is not there.
    """
    engine = engine or os.environ.get(ROLLOUT_ENGINE_VARIABLE) or "transformers"
    flags = ("-m", "services.rollout", "--engine", engine)
    if engine != "vllm":
        return ServiceSpec("rollout", (sys.executable, *flags))
    named = os.environ.get(VLLM_PYTHON_VARIABLE, "")
    python = named or str(ROOT / ".venv-vllm" / "bin" / "python")
    if shutil.which(python) is None:
        found = f"is {named!r}, which cannot be executed" if named else "is not set"
        raise StackError(
            f"rollout: vLLM has an environment of its own, and {VLLM_PYTHON_VARIABLE} {found}; it must be the path of "
            f"that environment's Python. `make test-vllm` sets one up: .venv-vllm/bin/python"
        )
    paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH")) if path)
    return ServiceSpec("rollout", (python, *flags), environment={"PYTHONPATH": paths}, grace_seconds=30.0)


def scorer_spec(name: str, import_path: str) -> ServiceSpec:
    """A user's own scorer, given as `pkg.mod:Class`."""
    return ServiceSpec(name, (sys.executable, "-m", "services.scorer", "--scorer", import_path))


def redis_spec(state_dir: Path, password: str) -> ServiceSpec:
    """The embedded Redis, with its data below `state_dir`."""
    return ServiceSpec(
        REDIS,
        (sys.executable, "-m", "services.queue.embedded_redis", "--state-dir", str(state_dir / "redis")),
        port_flags=("--port",),
        environment={"ASSAY_REDIS_PASSWORD": password},
        grace_seconds=15.0,
    )


def worker_spec(queue: str, needs: Sequence[str]) -> ServiceSpec:
    """A Celery worker; the one for training waits for its trainer's checkpoint."""
    return ServiceSpec(
        f"worker-{queue}",
        (sys.executable, "-m", "services.queue.worker", queue),
        needs=tuple(needs),
        port_flags=(),
        grace_seconds=75.0 if queue == "training" else 5.0,
    )
