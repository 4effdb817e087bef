"""Small jobs on a stack of real services, for the benchmarks of rollouts: what they are made of, and what came of them."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.quickstart.make import write_model
from services.client.jobs import JobsClient
from services.jobs.job import JobState, StepMetrics
from services.stack import Stack, default_services, scorer_spec
from trainer.config import job_to_json, parse_job
from trainer.lines import read_lines

JOB = """
[job]
name = "rollouts"
max_attempts = 30
[model]
path = "model"
[data]
train = "train.jsonl"
[rollout]
prompts_per_step = 16
samples_per_prompt = 4
max_new_tokens = 24
prompts_per_task = 4
record = true
[rewards]
scorers = { sums = ["waiting"] }
[rewards.weights]
"waiting/value" = 1.0
[advantage]
normalise = "group_mean_std"
[[loss.terms]]
name = "policy"
type = "grpo"
[optim]
steps = 30
learning_rate = 1e-4
micro_batch_size = 16
[checkpoint]
every_steps = 10
"""


WARM = 5
"""Steps at the beginning that are not timed."""
LAST = 5
"""Steps at the end that are not timed: the very last one waits for every group that is still on its way."""


@dataclass(frozen=True)
class Outcome:
    """A job that has ended."""

    state: JobState
    message: str
    step_seconds: float
    """Mean over the steps but the first `WARM` and the last `LAST`."""
    metrics: tuple[Mapping[str, float], ...]
    """By step."""
    rollouts: tuple[dict[str, Any], ...]
    """Lines of `rollouts.jsonl`."""


def _mean_seconds(times: list[float]) -> float:
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else float("nan")


class Bench:
    """A folder with a model and prompts, and the services."""

    def __init__(self, folder: Path, client: JobsClient) -> None:
        self.folder, self.client = folder, client

    def run(self, **changes: Any) -> Outcome:
        """Runs the job with changes such as `rollout={"max_staleness": 1}` and waits for its end."""
        tree = tomllib.loads(JOB)
        for table, values in changes.items():
            tree[table] = {**tree.get(table, {}), **values}
        job = self.client.submit(json.loads(job_to_json(parse_job(tree, self.folder))))
        times: list[float] = []
        for event in self.client.watch(job.id):
            if isinstance(event.what, StepMetrics):
                times.append(time.monotonic())
        job = self.client.get(job.id)
        run_dir = Path(job.run_dir)
        return Outcome(
            job.state,
            job.message,
            _mean_seconds(times[WARM : len(times) - LAST]),
            tuple(line["values"] for line in read_lines(run_dir / "metrics.jsonl")),
            tuple(read_lines(run_dir / "rollouts.jsonl")),
        )


@contextmanager
def bench(folder: Path, scorer: str) -> Iterator[Bench]:
    """Services with one scorer, `waiting`, by its import path; everything ends with the block."""
    write_model(folder / "model", 0)
    rows = [
        {"id": f"{a}+{b}", "domain": "sums", "prompt": f"{a} + {b} = "} for a in range(10, 60) for b in range(10, 60)
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    specs = [spec for spec in default_services() if spec.name in ("rollout", "jobs")]
    specs.append(scorer_spec("waiting", scorer))
    with (
        Stack(specs, state_dir=folder / "state", runs_dir=folder / "runs") as stack,
        JobsClient(stack.addresses["jobs"]) as client,
    ):
        yield Bench(folder, client)
