"""A job whose services are killed under it: it ends, every group is trained on exactly once, and no reward is invented.

A stack of real services (embedded Redis, the rollout service with a tiny model, a scorer, a collector) serves a training
job that samples ahead. Meanwhile the collector, the scorer, the rollout service and the Redis server are each killed with
SIGKILL, each some moments after it serves again and the job has trained on. The job keeps what it trains on, and every
reward of it is computed again from the text.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.figures import Figure
from benchmarks.rollout_jobs import Outcome, bench
from benchmarks.waiting_scorer import right_value
from services.jobs.job import JobState
from services.queue.queues import ROLLOUTS
from services.stack import running_stack

KILLS = 10
STEPS = 100
VICTIMS = (f"worker-{ROLLOUTS}", "waiting", "rollout", "redis")
ROLLOUT = {"max_staleness": 1, "prompts_per_step": 8, "timeout_seconds": 30.0}


def faults(kills: int = KILLS, steps: int = STEPS) -> list[Figure]:
    """A job under fire, as figures."""
    killed: Counter[str] = Counter()
    ended = threading.Event()
    with (
        _short_visibility(),
        tempfile.TemporaryDirectory() as folder,
        bench(Path(folder), "benchmarks.waiting_scorer:Waiting") as services,
    ):
        killers = [
            threading.Thread(target=_kill, args=(Path(folder), victim, kills, killed, ended)) for victim in VICTIMS
        ]
        for killer in killers:
            killer.start()
        try:
            outcome = services.run(rollout=ROLLOUT, optim={"steps": steps})
        finally:
            ended.set()
            for killer in killers:
                killer.join()
    return _figures(outcome, killed, kills, steps)


@contextmanager
def _short_visibility() -> Iterator[None]:
    """A killed collector's tasks come again after five seconds."""
    os.environ["ASSAY_VISIBILITY_TIMEOUT_SECONDS"] = "5"
    try:
        yield
    finally:
        del os.environ["ASSAY_VISIBILITY_TIMEOUT_SECONDS"]


def _kill(folder: Path, victim: str, kills: int, killed: Counter[str], ended: threading.Event) -> None:
    """Kills one process again and again, each time some moments after it serves and a step was trained."""
    chance, last, steps = random.Random(victim), 0, 0
    while killed[victim] < kills and not ended.wait(0.2):
        stack, now = running_stack(folder / "state"), _steps(folder)
        if stack is None or stack.pids[victim] == last or now == steps or ended.wait(chance.uniform(0.0, 2.0)):
            continue
        with suppress(psutil.Error, IndexError, ProcessLookupError):  # it has ended by itself
            # the wrapper of the Redis server would end it gently
            pid = stack.pids[victim]
            os.kill(psutil.Process(pid).children()[0].pid if victim == "redis" else pid, signal.SIGKILL)
            killed[victim] += 1
            last, steps = pid, now


def _steps(folder: Path) -> int:
    """Steps that the job has trained."""
    return sum(len(path.read_bytes().splitlines()) for path in (folder / "runs").glob("*/metrics.jsonl"))


def _figures(outcome: Outcome, killed: Counter[str], kills: int, steps: int) -> list[Figure]:
    trained = Counter(int(line["prompt"].partition("/")[0]) for line in outcome.rollouts)
    wanted = steps * ROLLOUT["prompts_per_step"]
    again = sum(step["pipeline/asked_again"] for step in outcome.metrics)
    completions = [each for line in outcome.rollouts for each in line["completions"]]
    scored = [each for each in completions if not each["missing"]]
    right = sum(each["components"] == {"waiting/value": right_value(each["text"])} for each in scored)
    invented = len(scored) - right + sum(bool(each["components"]) for each in completions if each["missing"])
    return [
        Figure(
            "killed with SIGKILL during a job",
            ", ".join(f"{victim} {killed[victim]}" for victim in VICTIMS),
            f"{kills} times each",
            all(killed[victim] == kills for victim in VICTIMS),
        ),
        Figure(
            "how that job ended",
            f"{outcome.state.value} after {len(outcome.metrics)} steps {outcome.message}".strip(),
            "run ends",
            outcome.state is JobState.SUCCEEDED,
        ),
        Figure(
            "groups that it trained on",
            f"{len(trained)} of {wanted}, {sum(times > 1 for times in trained.values())} more than once;"
            f" {again:.0f} asked for again",
            "every group exactly once",
            trained == Counter(range(wanted)),
        ),
        Figure(
            "rewards that their text does not have",
            f"{invented} of {len(completions)}, {len(completions) - len(scored)} missing",
            "0 invented",
            invented == 0 < right,
        ),
    ]
