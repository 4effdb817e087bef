"""What the service costs: sampling through it against calling its engine directly, on one machine, in turns."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.rollouts_direct import PROMPTS, SAMPLES, SAMPLING
from benchmarks.rollouts_models import save_model, tokens
from benchmarks.rollouts_parity import ENGINES
from benchmarks.services import Services
from services.client.rollout import RolloutClient
from services.stack.spec import ServiceSpec, StackError, rollout_spec

ROUNDS = 7
LEAST = 0.9


def throughput() -> Iterator[Figure]:
    """One figure an engine; vLLM's is not measured where its environment is missing."""
    for engine in ENGINES:
        name = f"{engine}: tokens a second through the service over those of the engine called directly"
        try:
            spec = rollout_spec(engine)
        except StackError as error:
            yield Figure(name, f"not measured: {error}", f"at least {LEAST}", None)
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = save_model(Path(folder) / "model", seed=1, tied=False, hidden=512, layers=4)
            ours, theirs = _rates(engine, spec, model)
        ratio = statistics.median(ours) / statistics.median(theirs)
        measured = f"{ratio:.2f} ({statistics.median(ours):.0f} and {statistics.median(theirs):.0f}; medians of {ROUNDS} in turns)"
        yield Figure(name, measured, f"at least {LEAST}", ratio >= LEAST)


def _rates(engine: str, spec: ServiceSpec, model: Path) -> tuple[list[float], list[float]]:
    """Tokens a second of each round: through the service, and directly."""
    ours, theirs = [], []
    with Services([spec]) as services, RolloutClient(services.address("rollout")) as client:
        client.update_weights("policy", 1, model)
        python, *_ = spec.command
        direct = subprocess.Popen(
            [python, "-m", "benchmarks.rollouts_direct", engine, str(model)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **spec.environment}, start_new_session=True,
        )  # fmt: skip
        assert direct.stdin is not None and direct.stdout is not None
        try:
            while direct.stdout.readline() not in ("ready\n", ""):
                pass
            for number in range(ROUNDS + 1):
                began = time.monotonic()
                results = client.generate("policy", PROMPTS, SAMPLES, SAMPLING)
                rate = tokens(results) / (time.monotonic() - began)
                direct.stdin.write("\n")
                direct.stdin.flush()
                answer = json.loads(direct.stdout.readline())
                if number:  # the service's first round makes what the others use again
                    ours.append(rate)
                    theirs.append(answer["tokens"] / answer["seconds"])
        finally:
            os.killpg(direct.pid, signal.SIGKILL)  # with the processes that vLLM has started
            direct.wait()
    return ours, theirs
