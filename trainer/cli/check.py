"""`assay check`: a job file's faults, or its loss as a formula."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from trainer.cli.jobs import print_problems
from trainer.config import JobConfig, JobFileError, read_job
from trainer.preflight import check_job
from trainer.schedules import parse_schedule

out = Console(highlight=False, soft_wrap=True, markup=False)

NORMALISERS = {
    "token_mean": "tokens of the step",
    "sequence_mean": "sequences of the step, after dividing each by its tokens",
    "sequence_sum": "sequences of the step",
    "sum": "1",
}


def check(path: Path) -> int:
    """Prints every problem and returns 2, or prints the loss and returns 0."""
    try:
        config = read_job(path)
        check_job(config)
    except JobFileError as error:
        print_problems(error)
        return 2
    _describe(config)
    return 0


def _describe(config: JobConfig) -> None:
    total = config.optim.steps
    terms = config.loss.all_terms()
    out.print(f"job {config.job.name}: {total} optimizer steps")
    out.print("loss = " + " + ".join(f"w_{t.name} / N_{t.name} * sum({t.type or t.path})" for t in terms))
    for term in terms:
        out.print(f"  w_{term.name}: {_course(term.weight, total)}; N_{term.name}: {NORMALISERS[term.aggregation]}")
    out.print("reward = " + " + ".join(f"w * {name}" for name in config.rewards.weights))
    for name, weight in config.rewards.weights.items():
        out.print(f"  w of {name}: {_course(weight, total)}")
    out.print("every term is finite, has a live gradient, and is not moved by masked tokens")


def _course(weight: object, total: int) -> str:
    schedule = parse_schedule(weight)  # pyright: ignore[reportArgumentType]
    steps = (0, total // 2, max(0, total - 1))
    values = [schedule(step, max(1, total)) for step in steps]
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return " -> ".join(f"{value:g}" for value in values) + " (start, middle, end)"
