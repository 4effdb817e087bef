"""`assay submit`, `status`, `watch`, `logs`, `cancel`: what any shell can ask of the job service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from services.client.channel import ServiceError
from services.client.jobs import JobsClient
from services.jobs.job import Job, JobState, LogLine, StepMetrics
from trainer.cli.job_file import read_checked_job
from trainer.cli.problems import err, print_problem, print_problems
from trainer.cli.services import NotRunningError, jobs_address
from trainer.config import JobFileError, job_to_json

out = Console(highlight=False, soft_wrap=True)

STATE_STYLES = {
    JobState.QUEUED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "magenta",
}


def submit(path: Path, key: str, address: str | None, state_dir: Path) -> int:
    try:
        config = read_checked_job(path)
    except JobFileError as error:
        print_problems(error)
        return 2

    def queue(client: JobsClient) -> int:
        job = client.submit(json.loads(job_to_json(config)), key)
        if job.deduplicated:
            err.print(f"the key is that of job {job.id}, which is {job.state.value.lower()}")
        print(job.id)
        return 0

    return _ask(address, state_dir, queue)


def status(job_id: str | None, address: str | None, state_dir: Path) -> int:
    def show(client: JobsClient) -> int:
        if job_id is None:
            print_jobs(client.list())
        else:
            _print_job(client.get(job_id))
        return 0

    return _ask(address, state_dir, show)


def watch(job_id: str, address: str | None, state_dir: Path) -> int:
    def follow(client: JobsClient) -> int:
        for event in client.watch(job_id):
            if isinstance(event.what, Job):
                out.print(state_line(event.what))
            elif isinstance(event.what, StepMetrics):
                out.print(metrics_line(event.what))
        job = client.get(job_id)
        if job.run_dir:
            out.print(f"results in {job.run_dir}", markup=False)
        return 0 if job.state is JobState.SUCCEEDED else 1

    return _ask(address, state_dir, follow)


def logs(job_id: str, follow: bool, address: str | None, state_dir: Path) -> int:
    def show(client: JobsClient) -> int:
        for event in client.watch(job_id, history_only=not follow):
            if isinstance(event.what, LogLine):
                print(event.what.line, flush=True)
        return 0

    return _ask(address, state_dir, show)


def cancel(job_id: str, address: str | None, state_dir: Path) -> int:
    def stop(client: JobsClient) -> int:
        out.print(state_line(client.cancel(job_id)))
        return 0

    return _ask(address, state_dir, stop)


def state_line(job: Job) -> str:
    """One line on a job's state."""
    text = f"{job.id} [{STATE_STYLES[job.state]}]{job.state.value.lower()}[/]"
    if job.attempts > 1:
        text += f", attempt {job.attempts}"
    return f"{text}: {escape(job.message)}" if job.message else text


def metrics_line(metrics: StepMetrics) -> str:
    """One line on an optimizer step: the reward, the scores that count most, the terms."""
    shown = {
        name: value
        for name, value in metrics.values.items()
        if name.startswith(("loss/", "reward/")) or (name.startswith("term/") and name.endswith("/value"))
    }
    parts = [f"{name.removeprefix('term/').removesuffix('/value')} {value:.4g}" for name, value in sorted(shown.items())]
    return f"step {metrics.step:>5}  " + "  ".join(parts)


def _ask(address: str | None, state_dir: Path, question: Callable[[JobsClient], int]) -> int:
    try:
        with JobsClient(address or jobs_address(state_dir), patience_seconds=5.0) as client:
            return question(client)
    except (NotRunningError, ServiceError) as error:
        print_problem(error)
        return 2
    except KeyboardInterrupt:
        return 130


def print_jobs(jobs: list[Job]) -> None:
    """One line a job, however narrow the screen: ids are there to be copied, and lines to be searched."""
    if not jobs:
        out.print("no jobs")
        return
    rows = [("job", "state", "step", "attempts", "submitted", "message"), *map(_cells, jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    styles = ["bold", *(STATE_STYLES[job.state] for job in jobs)]
    for row, style in zip(rows, styles, strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.print(line.rstrip(), style=style, markup=False)


def _cells(job: Job) -> tuple[str, ...]:
    step = f"{job.step}/{job.total_steps}" if job.total_steps else ""
    return job.id, job.state.value.lower(), step, str(job.attempts), _when(job.submitted_at), job.message


def _print_job(job: Job) -> None:
    out.print(state_line(job))
    out.print(f"step {job.step} of {job.total_steps}, attempt {job.attempts}")
    for word, at in (("submitted", job.submitted_at), ("started", job.started_at), ("ended", job.ended_at)):
        if at:
            out.print(f"{word} {_when(at)}")
    if job.run_dir:
        out.print(f"results in {job.run_dir}", markup=False)


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
