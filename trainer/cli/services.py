"""Where commands find services: those of a running `assay up`, or some started for one command."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from services.addresses import PORTS
from services.stack import JUDGE_VARIABLE, ServiceSpec, Stack, StackError, default_services, running_stack, scorer_spec

NOT_SCORERS = ("sandbox", "rollout", "jobs")
SCORERS = tuple(name for name in PORTS if name not in (*NOT_SCORERS, "scorer"))


class NotRunningError(Exception):
    """Nothing runs where the command looked."""


def jobs_address(state_dir: Path) -> str:
    """The job service of the stack in this folder. Raises NotRunningError."""
    stack = running_stack(state_dir)
    if stack is None:
        raise NotRunningError(
            f"nothing runs in {state_dir}: start it with `assay up`, or give --address of a job service"
        )
    return stack.addresses["jobs"]


def services_with(custom: Mapping[str, str], rollout_engine: str | None = None) -> tuple[ServiceSpec, ...]:
    """Every service, and a user's own scorers by name.

    rollout_engine: see `services.stack.rollout_spec`. Raises typer.BadParameter for names that cannot be, StackError.
    """
    for name in custom:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise typer.BadParameter(f"scorer name {name!r}: letters, digits and underscores, beginning with a letter")
        if name in PORTS:
            raise typer.BadParameter(f"scorer name {name!r} is taken by a service of Assay; choose another")
    return (*default_services(rollout_engine), *(scorer_spec(name, path) for name, path in custom.items()))


def only(names: Iterable[str], specs: Iterable[ServiceSpec]) -> list[ServiceSpec]:
    """The services of these names and what they need. Raises typer.BadParameter for a name that is none."""
    by_name = {spec.name: spec for spec in specs}
    wanted: set[str] = set()
    for name in names:
        if name == "judge" and name not in by_name:
            raise typer.BadParameter(
                f"the judge asks a language model: set {JUDGE_VARIABLE} (such as http://127.0.0.1:8000/v1) and"
                " ASSAY_JUDGE_MODEL; see docs/judge.md"
            )
        if name not in by_name:
            raise typer.BadParameter(f"{name!r} is no service: {', '.join(by_name)}; a scorer of your own needs a path")
        wanted |= {name, *by_name[name].needs}
    return [spec for spec in by_name.values() if spec.name in wanted]


@contextmanager
def scoring_address(domain: str, custom: Mapping[str, str], console: Console) -> Iterator[str]:
    """The address of a scorer that runs for as long as the block: `domain`, with what it needs.

    Raises typer.BadParameter for an unknown domain; ends the command where the scorer does not start.
    """
    known = (*SCORERS, *custom)
    if domain not in known:
        raise typer.BadParameter(f"--domain: {domain!r} is none of {', '.join(known)}; --scorer adds your own")
    wanted = only([domain], services_with(custom))
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        try:
            stack = Stack(wanted, (), state_dir=Path(folder), runs_dir=Path(folder))
            with console.status(f"starting {domain}"):
                stack.start()
        except StackError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(2) from None
        try:
            yield stack.addresses[domain]
        finally:
            stack.stop()
