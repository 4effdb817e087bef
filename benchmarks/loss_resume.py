"""A run that is interrupted and resumed in another process, against one that is not: bit for bit the same.

`python -m benchmarks.loss_resume FOLDER STOP` is such a process: it goes on from the checkpoint in the folder, or begins,
takes optimizer steps up to STOP, saves, and prints what it saw as one JSON line. Each step's samples are drawn from the
global random generators, so a state that is not restored changes all that follows.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

TOTAL, INTERRUPTED = 8, 4

_BOUNDS = {"start": 0.3, "min": 0.01, "max": 2.0}
_COSINE = {"schedule": "cosine", "start": 0.1, "end": 0.4}

# name: type, weight, arguments; every kind of controller is there once, gradnorm for two terms
_TERMS: Mapping[str, tuple[str, Any, dict[str, Any]]] = {
    "policy": ("grpo", {"schedule": "linear", "start": 0.5, "end": 1.0}, {"eps_high": _COSINE}),
    "kl": ("kl", {"controller": "target_kl", "target": 0.01, "metric": "term/kl/k1", **_BOUNDS}, {}),
    "entropy": (
        "entropy",
        {"controller": "target_entropy", "target": 3.0, "metric": "term/entropy/entropy", **_BOUNDS},
        {},
    ),
    "dpo": ("dpo", 0.3, {"beta": {"controller": "reward_gap", "metric": "term/dpo/reward_gap", **_BOUNDS}}),
    "cpo": ("cpo", {"controller": "threshold", "high": 0.5, "low": 0.4, "metric": "term/cpo/value", **_BOUNDS}, {}),
    "sft": ("sft", {"controller": "running_scale", **_BOUNDS}, {}),
    "smooth": ("sft_smoothed", {"controller": "uncertainty", **_BOUNDS}, {}),
    "nca": ("nca", {"controller": "gradnorm", **_BOUNDS}, {}),
    "ipo": ("ipo_mean", {"controller": "gradnorm", **_BOUNDS}, {}),
}


def resume() -> Figure:
    """Metrics of every step, controllers, weights and random states of both runs."""
    with tempfile.TemporaryDirectory() as name:
        whole, parted = Path(name) / "whole", Path(name) / "parted"
        first = [_start(whole, TOTAL), _start(parted, INTERRUPTED)]
        uninterrupted, _ = (_finish(process) for process in first)
        resumed = _finish(_start(parted, TOTAL))
    steps = [str(step) for step in range(INTERRUPTED, TOTAL)]
    expected = {step: uninterrupted["metrics"][step] for step in steps}
    same = {
        "metrics": resumed["metrics"] == expected,
        **{name: resumed[name] == uninterrupted[name] for name in ("controllers", "weights", "random")},
    }
    differ = [name for name, equal in same.items() if not equal]
    values = len(expected[steps[-1]])
    return Figure(
        f"resume at step {INTERRUPTED} of {TOTAL} in another process: {len(_TERMS)} terms, schedules, all kinds of"
        " controllers, PCGrad",
        f"{', '.join(differ)} differ"
        if differ
        else f"{values} metrics a step, {len(uninterrupted['controllers'])} controllers, weights and random states"
        " bit-equal",
        "bit-equal to an uninterrupted run",
        not differ,
    )


def _start(folder: Path, stop: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.loss_resume", str(folder), str(stop)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    if process.returncode != 0:
        raise RuntimeError(f"the run ended with exit code {process.returncode}; its errors are above")
    return json.loads(out.splitlines()[-1])


def run(folder: Path, stop: int) -> dict[str, Any]:
    """What this process saw: metrics by step, and at the end controllers, and digests of weights and random states."""
    import numpy as np
    import torch

    from trainer.batching import make_micro_batches
    from trainer.checkpoint import Checkpoints, random_state
    from trainer.composite import Composite
    from trainer.controllers import Controllers
    from trainer.engine import Engine
    from trainer.engine_config import EngineConfig
    from trainer.group import join_group, leave_group
    from trainer.schedules import parse_schedule
    from trainer.term import make_term

    torch.set_num_threads(1)
    group = join_group()
    terms = [make_term(name, type=kind, weight=w, kwargs=kwargs) for name, (kind, w, kwargs) in _TERMS.items()]
    composite = Composite(terms, "pcgrad", seed=3)
    controllers = Controllers(composite.places())
    engine = Engine(_policy(), EngineConfig(), group)
    rate = parse_schedule({"schedule": "warmup_hold_decay", "peak": 1e-2, "warmup_steps": 2, "hold_steps": 2})
    checkpoints = Checkpoints(folder, 2, group)
    random.seed(5)
    np.random.seed(5)
    step, latest = 0, checkpoints.latest()
    if latest is not None:
        state = checkpoints.load(engine, latest)
        controllers.load_state_dict(state["controllers"])
        step = state["step"]
    metrics: dict[int, dict[str, float]] = {}
    for now in range(step, stop):
        batches = make_micro_batches(_samples(), 4, whole_groups=True)
        learning_rate = rate(now, TOTAL)
        result = engine.train_step(batches, composite, step=now, total_steps=TOTAL, learning_rate=learning_rate)
        metrics[now] = {**result.metrics, **controllers.metrics()}
        controllers.update(result.metrics)
    checkpoints.save(engine, f"step-{stop}", {"step": stop, "controllers": controllers.state_dict()})
    weights = hashlib.sha256()
    for name, tensor in sorted((engine.full_state_dict() or {}).items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    leave_group()
    return {
        "metrics": metrics,
        "controllers": controllers.state_dict(),
        "weights": weights.hexdigest(),
        "random": hashlib.sha256(json.dumps(random_state()).encode()).hexdigest(),
    }


def _policy() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from trainer.policy import Policy

    torch.manual_seed(0)
    size: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return Policy(LlamaForCausalLM(LlamaConfig(vocab_size=40, max_position_embeddings=64, **size)))


def _samples() -> list[Any]:
    """Eight completions of four prompts, drawn from all global generators."""
    import numpy as np
    import torch

    from trainer.sample import Sample

    def sample(place: int) -> Sample:
        length = random.randint(1, 9)
        return Sample(
            prompt_ids=[random.randrange(40) for _ in range(3)],
            completion_ids=torch.randint(0, 40, (length,)).tolist(),
            logprobs=[-3.7 + random.uniform(-0.5, 0.5) for _ in range(length)],
            ref_logprobs=np.random.uniform(-4.2, -3.2, length).tolist(),
            advantage=random.gauss(0, 1),
            group=place // 2,
            reward=random.random(),
            domain=("code", "math")[place % 2],
        )

    return [sample(place) for place in range(8)]


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))
