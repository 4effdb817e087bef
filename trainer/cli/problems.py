"""How the command line tells what is wrong, on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from trainer.config import JobFileError

err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_problem(problem: object) -> None:
    """One line, as it stands: brackets in it are no markup."""
    err.print(f"[red]error:[/] {escape(str(problem))}")


def print_problems(error: JobFileError) -> None:
    """Every problem of a job file, a line each."""
    for problem in error.problems:
        print_problem(problem)
