"""Measures whether bad job files are refused, with the mend in the message, before a model loads."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.bad_jobs import BAD_JOBS, GOOD, BadJob
from benchmarks.figures import Figure
from trainer.cli.job_file import read_checked_job
from trainer.config import JobFileError

LIMIT_SECONDS = 2.0
COLD_STARTS = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What `assay check` says of a job file."""

    problems: Sequence[str]
    seconds: float

    def refuses(self, job: BadJob) -> bool:
        """Whether one of its lines names the field and the mend, and no other fault is seen than the one made."""
        return len(self.problems) == 1 and job.field in self.problems[0] and job.mend in self.problems[0]


def refusals() -> list[Figure]:
    """The good job passes; every bad one is refused in time, with the field and the mend in the message."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_folder(Path(name))
        good = ask(folder, GOOD)
        answers = [(job, ask(folder, job.text)) for job in BAD_JOBS]
        cold = [from_the_shell(folder, BAD_JOBS[0].text) for _ in range(COLD_STARTS)]
    refused = [job for job, answer in answers if answer.refuses(job)]
    slowest = max(answer.seconds for _, answer in answers)
    return [
        Figure("bad configurations: the good one", _told(good), "passes", not good.problems),
        Figure(
            "bad configurations",
            f"{len(refused)} of {len(answers)} refused, slowest {slowest:.2f} s",
            f"all, each in less than {LIMIT_SECONDS:.0f} s",
            len(refused) == len(answers) and slowest < LIMIT_SECONDS,
        ),
        Figure(
            "bad configurations: `assay check` of a loss that is none, from the shell, imports and all",
            f"{median(cold):.2f} s (median of {COLD_STARTS}, slowest {max(cold):.2f} s)",
            f"less than {LIMIT_SECONDS:.0f} s",
            median(cold) < LIMIT_SECONDS,
        ),
    ]


def _told(good: Answer) -> str:
    return "; ".join(good.problems) or f"passes, {good.seconds:.1f} s"


def make_folder(folder: Path) -> Path:
    """Gives the folder what the jobs name: a model that no one can load, so that a check that tried would fail, and data."""
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").touch()
    row = {"id": "p1", "domain": "math", "prompt": "2 + 2 = ?", "checks": {"gold": "4"}, "difficulty": 0.1}
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def from_the_shell(folder: Path, text: str) -> float:
    """Seconds until `assay check` has refused a job file. Raises RuntimeError where it did not."""
    (folder / "job.toml").write_text(text)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "trainer.cli", "check", folder / "job.toml"], capture_output=True, check=False)
    if done.returncode != 2:
        raise RuntimeError(f"assay check ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return time.perf_counter() - began


def ask(folder: Path, text: str) -> Answer:
    """Reads and checks a job file as `assay check` does, in this process."""
    path = folder / "job.toml"
    path.write_text(text)
    began = time.perf_counter()
    problems: list[str] = []
    try:
        read_checked_job(path)
    except JobFileError as error:
        problems = error.problems
    return Answer(problems, time.perf_counter() - began)
