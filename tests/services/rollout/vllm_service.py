"""Starts rollout services under vLLM's own Python, for the tests and benchmarks that need them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import psutil
import torch

from services.rollout.engine import Probe, TokenSequence
from tests.services.rollout.tiny_model import VOCABULARY, plain_probes, save_tiny_model

ROOT = Path(__file__).parents[3]
PYTHON = Path(os.environ.get("ASSAY_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))
ABSENT = f"no vLLM: `make test-vllm` sets up an environment with it ({PYTHON})"
START_SECONDS = 300.0


def save_model(directory: Path, *, seed: int, tied: bool) -> Path:
    """A random Llama with heads of 32, the smallest that vLLM computes on a CPU, and wide distributions."""
    return save_tiny_model(directory, seed=seed, tied=tied, hidden=128, flat=0.3)


def probes(directory: Path, count: int = 4) -> tuple[Probe, ...]:
    """Random tokens with the log-probabilities that transformers computes from the directory's weights."""
    sequences = []
    for seed in range(count):
        ids = torch.randint(3, VOCABULARY, (20,), generator=torch.Generator().manual_seed(seed)).tolist()
        sequences.append(TokenSequence(tuple(ids[:5]), tuple(ids[5:])))
    return plain_probes(directory, sequences)


class VllmService:
    """A rollout service with vLLM, and every process that it starts."""

    def __init__(self, folder: Path, *flags: str, module: str = "services.rollout") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ready, self._log = folder / "ready.json", folder / "log"
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        given = ("--engine", "vllm", "--port", "0", "--metrics-port", "0", "--ready-file", str(self._ready), *flags)
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                [PYTHON, "-m", module, *given], stdout=output, stderr=output, env=variables, cwd=folder
            )

    def wait(self) -> str:
        """Its address, once it serves."""
        end = time.monotonic() + START_SECONDS
        while not self._ready.exists():
            assert self.process.poll() is None and time.monotonic() < end, self.log[-3000:]
            time.sleep(0.1)
        return json.loads(self._ready.read_text())["address"]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def processes(self, name: str = "") -> list[psutil.Process]:
        """What it has started, by a part of the name."""
        return [
            process for process in psutil.Process(self.process.pid).children(recursive=True) if name in process.name()
        ]

    def kill(self) -> list[psutil.Process]:
        """Kills the service's own process; the processes that it had started."""
        left = self.processes() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        return left

    def end(self) -> None:
        """Kills all of it."""
        for process in self.kill():
            if process.is_running():
                process.kill()
