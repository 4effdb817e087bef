"""`assay up` and `assay run`: everything on this machine."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from services.client.channel import ServiceError
from services.client.jobs import JobsClient
from services.jobs.job import Job, JobState, StepMetrics
from services.stack import RunningStack, Stack, StackError, running_stack
from trainer.cli.display import Display, print_summary
from trainer.cli.job_file import read_checked_job
from trainer.cli.jobs import state_line
from trainer.cli.problems import print_problems
from trainer.cli.services import only, services_with
from trainer.config import JobConfig, JobFileError, job_to_json

out = Console(highlight=False, soft_wrap=True)
STEADY_SECONDS = 1.0


class Stopped(BaseException):
    """SIGTERM or SIGINT: everything is to be stopped."""

    unfinished = False
    """Whether a job was under way, which can go on from its checkpoint."""


def up(custom: Mapping[str, str], engine: str | None, state_dir: Path, runs_dir: Path) -> int:
    """Runs until a signal comes, with this rollout engine; returns the exit code."""
    with _stop_on_signals():
        try:
            specs = services_with(custom, engine)
            with Stack(specs, state_dir=state_dir, runs_dir=runs_dir, on_event=_say) as stack:
                for name, address in sorted(stack.addresses.items()):
                    out.print(f"  {name:<12} {address}")
                out.print(f"everything runs; logs in {state_dir / 'logs'}; submit from another shell; Ctrl-C stops it")
                while True:
                    time.sleep(STEADY_SECONDS)
        except StackError as error:
            out.print(str(error), style="red", markup=False)
            return 1
        except Stopped:
            out.print("everything is stopped")
            return 0


def run(path: Path, state_dir: Path | None, runs_dir: Path, plain: bool) -> int:
    """One job from start to end; returns the exit code."""
    try:
        config = read_checked_job(path)
    except JobFileError as error:
        print_problems(error)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="assay-")) if state_dir is None else state_dir
    code, unfinished = 1, False
    try:
        with _stop_on_signals():
            code = _run(config, folder, runs_dir, Display(out, plain), may_go_on=state_dir is not None)
    except Stopped as stopped:
        code, unfinished = 130, stopped.unfinished
        out.print("stopped; nothing is left running")
        if unfinished:
            again = ["assay", "run", path, "--state-dir", folder, "--runs-dir", runs_dir, *["--plain"] * plain]
            out.print(f"it goes on from its last checkpoint with: {shlex.join(map(str, again))}", markup=False)
    except (StackError, ServiceError) as error:
        out.print(str(error), style="red", markup=False)
    finally:
        if state_dir is None and code in (0, 130) and not unfinished:
            shutil.rmtree(folder, ignore_errors=True)
        elif code != 0:
            out.print(f"logs of every process are in {folder / 'logs'}")
    return code


def _run(config: JobConfig, state_dir: Path, runs_dir: Path, display: Display, *, may_go_on: bool) -> int:
    began = time.monotonic()
    specs = only([*config.scorer_names(), "rollout", "jobs"], services_with(config.rewards.custom, config.rollout.engine))
    with display, Stack(specs, state_dir=state_dir, runs_dir=runs_dir, on_event=display.process) as stack:
        started = time.monotonic() - began
        with JobsClient(stack.addresses["jobs"]) as client:
            job = (_left_unfinished(client, config) if may_go_on else None) or client.submit(_plain(config))
            try:
                _follow(client, job.id, config, display)
            except Stopped as stopped:
                stopped.unfinished = True
                raise
            job = client.get(job.id)
        calls = count_calls(running_stack(state_dir))
    run_dir = Path(job.run_dir)
    if job.state is not JobState.SUCCEEDED:
        out.print(state_line(job))
        out.print(f"the trainer's log is {run_dir / 'trainer.log'}")
        return 1
    summary = _complete_summary(run_dir, calls, {"start": started, "total": time.monotonic() - began})
    print_summary(out, summary, run_dir)
    return 0


def _left_unfinished(client: JobsClient, config: JobConfig) -> Job | None:
    """The same job, where a run that was stopped has left it in this state folder: a second one would train beside it."""
    for job in client.list():
        if not job.state.final and json.loads(client.get(job.id).config_json) == _plain(config):
            return job
    return None


def _plain(config: JobConfig) -> dict[str, Any]:
    return json.loads(job_to_json(config))


def _follow(client: JobsClient, job_id: str, config: JobConfig, display: Display) -> None:
    for event in client.watch(job_id):
        if isinstance(event.what, Job):
            display.job(event.what)
        elif isinstance(event.what, StepMetrics):
            display.step(event.what, config.total_steps())


def count_calls(stack: RunningStack | None) -> dict[str, int]:
    """Calls that ended well or not, as each service itself has counted them, by service."""
    calls: Counter[str] = Counter()
    for name, address in (stack.metrics_addresses if stack else {}).items():
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "assay_requests_total":
                    calls[name] += int(sample.value)
    return dict(calls)


def _complete_summary(run_dir: Path, calls: Mapping[str, int], seconds: Mapping[str, float]) -> dict:
    """Adds what only this process knows to the trainer's summary: every service's own count, and the whole time."""
    path = run_dir / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["calls"] = dict(sorted(calls.items()))
    summary["seconds"] |= {name: round(value, 2) for name, value in seconds.items()}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(summary, indent=2) + "\n")
    partial.replace(path)
    return summary


def _say(name: str, event: str) -> None:
    if event in ("serving", "died"):
        out.print(f"{name}: {event}")


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Turns the first SIGINT or SIGTERM into `Stopped`, and ignores more while everything is being stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
