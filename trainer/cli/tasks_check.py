"""`assay tasks check`: a file's tasks through the code scorer, and what is said of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.client.channel import ServiceError
from services.client.scoring import ScoringClient
from services.tasks.audit import Audit, Standing, audit
from services.tasks.form import Form
from services.tasks.formats import TaskFileError, read_tasks
from services.tasks.task import Task, Unreadable
from services.verdicts import Item, Outcome
from trainer.cli.problems import err, print_problem
from trainer.cli.services import scoring_address

TIMEOUT_SECONDS = 600.0
UNREADABLE = "unreadable"
_STYLES = {Standing.WEAK: "yellow", Standing.BROKEN: "red", UNREADABLE: "red"}
_LONGEST_CELL = 300


def check_tasks(
    file: Path, form: Form | None, address: str | None, as_json: bool, write: Path | None, unchecked: bool, strict: bool
) -> int:
    """Audits a file; see `assay tasks check --help`. Returns the exit code."""
    writable = {Standing.OK, Standing.UNCHECKED} if unchecked else {Standing.OK}
    counts: Counter[str] = Counter()
    table = Table("task", "is", "because")
    if write and write.exists() and write.samefile(file):
        print_problem(f"--write {str(write)!r} is the file that is read, of which rows would be lost; name another")
        return 2
    try:
        with ExitStack() as stack:
            out = stack.enter_context(_whole_file(write)) if write else None
            found = address or stack.enter_context(scoring_address("code", {}, err))
            client = stack.enter_context(ScoringClient("code", found))
            client.describe()

            def score(items: Sequence[Item]) -> dict[str, Outcome]:
                return client.score(items, TIMEOUT_SECONDS)

            for row in audit(read_tasks(file, form), score):
                standing = row.standing.value if isinstance(row, Audit) else UNREADABLE
                counts[standing] += 1
                if as_json:
                    print(json.dumps(_as_json(row), ensure_ascii=False), flush=True)
                elif standing in _STYLES:
                    table.add_row(_name(row), Text(standing, _STYLES[standing]), _reason(row))
                if out and isinstance(row, Audit) and row.standing in writable:
                    out.write(f"{_job_row(row.task)}\n")
    except BrokenPipeError:  # the reader of standard output has gone, which is the command line's matter
        raise
    except (ServiceError, TaskFileError, OSError) as error:
        print_problem(error)
        return 2
    _print_counts(counts, table, as_json)
    bad = counts[Standing.BROKEN] + counts[UNREADABLE] + (counts[Standing.WEAK] if strict else 0)
    return 1 if bad else 0


@contextmanager
def _whole_file(path: Path) -> Iterator[TextIO]:
    """A file that appears when the block has ended well, and not before."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _job_row(task: Task) -> str:
    return json.dumps(
        {"id": task.id, "domain": "code", "prompt": task.prompt, "checks": task.checks}, ensure_ascii=False
    )


def _as_json(row: Audit | Unreadable) -> dict[str, object]:
    if isinstance(row, Unreadable):
        return {"line": row.line, "is": UNREADABLE, "message": row.message}
    said: dict[str, object] = {"id": row.task.id, "is": row.standing.value}
    if row.standing is Standing.WEAK:
        said["nulls"] = list(row.nulls)
    if row.standing is Standing.BROKEN:
        said |= {"label": row.label, "evidence": dict(row.evidence)}
    return said


def _name(row: Audit | Unreadable) -> Text:
    return Text(f"line {row.line}" if isinstance(row, Unreadable) else _printable(row.task.id))


def _reason(row: Audit | Unreadable) -> Text:
    if isinstance(row, Unreadable):
        return Text(_printable(row.message))
    if row.standing is Standing.WEAK:
        return Text(f"these pass: {', '.join(row.nulls)}")
    evidence = "; ".join(f"{key}: {value}" for key, value in sorted(row.evidence.items()))
    return Text(_printable(f"{row.label}; {evidence}"))


def _printable(text: str) -> str:
    """A file's text on a screen: one line, cut, and without what a terminal would take for a command."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= _LONGEST_CELL else f"{line[: _LONGEST_CELL - 3]}..."


def _print_counts(counts: Counter[str], table: Table, as_json: bool) -> None:
    names = [*(standing.value for standing in Standing), UNREADABLE]
    if as_json:
        print(json.dumps({name: counts[name] for name in names}))
        return
    console = Console(highlight=False)
    if table.row_count:
        console.print(table)
    console.print(", ".join(f"{counts[name]} {name}" for name in names), soft_wrap=True)
