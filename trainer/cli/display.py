"""What `assay run` shows: a live display on a terminal, a line a step anywhere else, and the table at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.jobs.job import Job, StepMetrics
from trainer.cli.jobs import metrics_line, state_line

PLAIN_EVERY = 10


class Display:
    """Shows processes, the job's state and its steps. Use it as a context; `plain` prints lines instead."""

    def __init__(self, console: Console, plain: bool) -> None:
        self._console = console
        self._plain = plain
        self._states: dict[str, str] = {}
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._steps = self._progress.add_task("starting services", total=None)
        self._metrics: Mapping[str, float] = {}
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if not self._plain:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._plain:
            self._live.stop()

    def process(self, name: str, event: str) -> None:
        """A process of the stack changed its state."""
        self._states[name] = event
        if self._plain or event == "died":
            self._console.print(f"{name}: {event}")

    def job(self, job: Job) -> None:
        """The job changed its state."""
        self._console.print(state_line(job))
        self._progress.update(self._steps, description=job.state.value.lower())

    def step(self, metrics: StepMetrics, total: int) -> None:
        """An optimizer step is done."""
        self._metrics = metrics.values
        phase = "RL" if any(name.startswith("reward/") for name in metrics.values) else "warm-up"
        self._progress.update(self._steps, completed=metrics.step, total=total, description=phase)
        if self._plain and (metrics.step % PLAIN_EVERY == 0 or metrics.step == total):
            self._console.print(metrics_line(metrics))

    def _render(self) -> Group:
        waiting = [f"{name} {state}" for name, state in self._states.items() if state != "serving"]
        parts: list[Any] = [self._progress]
        if waiting:
            parts.append("  " + ", ".join(waiting))
        shown = {n: v for n, v in self._metrics.items() if n.startswith(("reward/", "rollout/")) or n.endswith("/value")}
        if shown:
            table = Table.grid(padding=(0, 3))
            names = sorted(shown)
            for row in range(0, len(names), 3):
                table.add_row(*(f"{name} [bold]{shown[name]:.4g}[/]" for name in names[row : row + 3]))
            parts.append(table)
        return Group(*parts)


def print_summary(console: Console, summary: Mapping[str, Any], run_dir: Path) -> None:
    """Accuracy before and after, calls of every service, seconds by phase, and where everything lies."""
    before, after = summary["accuracy_before"], summary["accuracy_after"]
    if before and after:
        table = Table(title="held-out greedy accuracy", title_justify="left")
        for column in ("domain", "before RL", "after RL", "change"):
            table.add_column(column, justify="left" if column == "domain" else "right")
        rows = {**before["by_domain"], "overall": before["overall"]}
        ends = {**after["by_domain"], "overall": after["overall"]}
        for name in [*sorted({*before["by_domain"], *after["by_domain"]}), "overall"]:
            start, end = rows.get(name), ends.get(name)
            change = "" if start is None or end is None else f"{100 * (end - start):+.1f} points"
            table.add_row(name, *("no score" if share is None else f"{share:.1%}" for share in (start, end)), change)
        console.print(table)
        if before["missing"] or after["missing"]:
            console.print(f"without a score, and in no ratio: {before['missing']} before, {after['missing']} after")
    console.print("calls      " + ", ".join(f"{name} {count}" for name, count in summary["calls"].items()))
    console.print("seconds    " + ", ".join(f"{name} {value:.1f}" for name, value in summary["seconds"].items()))
    console.print(f"model      {summary['model']}")
    console.print(f"checkpoint {summary['checkpoint']}")
    console.print(f"curves     {summary['curves']}")
    console.print(f"summary    {run_dir / 'summary.json'}")
