"""The `assay` command line. Each command's work is in a module of its own, imported when it is called."""

from __future__ import annotations

import gc
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from services.http.command import json_or_text, serve
from services.sandbox.command import execute
from trainer.cli.calibrate import calibrate
from trainer.cli.tasks import tasks

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("exec")(execute)
app.command("serve")(serve)
app.add_typer(tasks, name="tasks")
app.add_typer(calibrate, name="calibrate")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"assay {version('assay')}")
        raise typer.Exit


@app.callback()
def assay(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Score what a language model writes, and train the model on the scores.

    **assay run JOB.toml** does everything on this machine and ends. For more than one job, start the services
    once with **assay up** and use **submit**, **status**, **watch**, **logs** and **cancel** from any other shell.
    """


# Losses and scorers are named by import path; those of the current folder are found here as by `python -m`.
sys.path.insert(0, str(Path.cwd()))

JobFile = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job file.", show_default=False)]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id, as `assay submit` printed it.", show_default=False)
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="ASSAY_JOBS_ADDRESS",
        help="host:port of the job service. Without it, the one that `assay up` started in this folder.",
        show_default=False,
    ),
]
StateDir = Annotated[
    Path,
    typer.Option(
        envvar="ASSAY_STATE_DIR", help="Folder for logs, the embedded Redis and the addresses of what runs here."
    ),
]
RunsDir = Annotated[Path, typer.Option(envvar="ASSAY_RUNS_DIR", help="Folder where each job gets a folder of its own.")]
CustomScorers = Annotated[
    list[str] | None,
    typer.Option(
        "--scorer",
        metavar="NAME=PKG.MOD:CLASS",
        help="Serve a scorer of your own under this name. May be given more than once.",
        show_default=False,
    ),
]


@app.command()
def up(
    scorer: CustomScorers = None,
    engine: Annotated[
        Literal["transformers", "vllm"] | None,
        typer.Option(help="What samples; vllm needs an environment of its own, which ASSAY_VLLM_PYTHON names."),
    ] = None,
    state_dir: StateDir = Path(".assay"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Start every service, Redis and the workers here, until Ctrl-C.

    Redis is embedded; set REDIS_URL to use another one. Logs are in STATE_DIR/logs.
    """
    from trainer.cli.local import up

    raise typer.Exit(up(_pairs(scorer or [], "--scorer"), engine, state_dir, runs_dir))


@app.command()
def run(
    job: JobFile,
    state_dir: Annotated[
        Path | None, typer.Option(help="Folder for logs and the embedded Redis; without it a temporary one.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    plain: Annotated[bool, typer.Option("--plain", help="Print every tenth step instead of a live display.")] = False,
) -> None:
    """Run a job from start to end: services, queue, workers and trainer, all here.

    Shows its progress, and at the end the accuracy before and after, the calls of every service, and where the
    checkpoint lies. Exits with 0 only if the job succeeded. Ctrl-C stops everything, nothing is left running, and the
    command that goes on from the checkpoint is printed.
    """
    from trainer.cli.local import run

    raise typer.Exit(run(job, state_dir, runs_dir, plain))


@app.command()
def check(job: JobFile) -> None:
    """Say what is wrong with a job file, or what its loss is, without running it.

    Looks at the file, the model's folder, the data sets and the loss terms: each term is tried on synthetic tensors,
    and refused where it has no gradient.
    """
    # Most of the wait is torch's import, and a quarter of that the collector, which finds nothing in so short a life.
    gc.disable()
    from trainer.cli.check import check

    code = check(job)
    gc.freeze()
    raise typer.Exit(code)


@app.command()
def submit(
    job: JobFile,
    key: Annotated[
        str, typer.Option("--key", help="Idempotency key: a second submission with the same key is the same job.")
    ] = "",
    address: Address = None,
    state_dir: StateDir = Path(".assay"),
) -> None:
    """Queue a job and print its id."""
    from trainer.cli.jobs import submit

    raise typer.Exit(submit(job, key, address, state_dir))


@app.command()
def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="A job's id; without it all jobs.", show_default=False)
    ] = None,
    address: Address = None,
    state_dir: StateDir = Path(".assay"),
) -> None:
    """Show one job, or all jobs, newest first."""
    from trainer.cli.jobs import status

    raise typer.Exit(status(job, address, state_dir))


@app.command()
def watch(job: JobId, address: Address = None, state_dir: StateDir = Path(".assay")) -> None:
    """Follow a job's steps until it ends. Exits with 0 only if it succeeded."""
    from trainer.cli.jobs import watch

    raise typer.Exit(watch(job, address, state_dir))


@app.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the job ends.")] = False,
    address: Address = None,
    state_dir: StateDir = Path(".assay"),
) -> None:
    """Print what a job's trainer wrote."""
    from trainer.cli.jobs import logs

    raise typer.Exit(logs(job, follow, address, state_dir))


@app.command()
def cancel(job: JobId, address: Address = None, state_dir: StateDir = Path(".assay")) -> None:
    """Ask a job to stop; it writes a checkpoint first. A job that has ended stays as it is."""
    from trainer.cli.jobs import cancel

    raise typer.Exit(cancel(job, address, state_dir))


@app.command()
def score(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help="JSON lines, one item each.",
            show_default=False,
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    domain: Annotated[
        str, typer.Option("--domain", "-d", help="math, code, safety, coherence, judge, or a name given by --scorer.")
    ],
    prompt: Annotated[str, typer.Option(help="Column of the prompt.")] = "prompt",
    response: Annotated[str, typer.Option(help="Column of the response, which is what is scored.")] = "response",
    response_text: Annotated[
        str | None, typer.Option(help="Score this text for every row, instead of a column.", show_default=False)
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id", help="Column of the id; without it `id`, `task_id` or the line's number.", show_default=False
        ),
    ] = None,
    checks: Annotated[
        list[str] | None,
        typer.Option(
            "--check",
            metavar="KEY=COLUMN",
            help="Take a key of the scorer's checks from this column, e.g. --check gold=answer. Columns named like a key need no option.",
            show_default=False,
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="KEY=VALUE",
            help="A key of the scorer's checks for every row that does not have it: JSON, or a text, e.g. --option percent=ratio.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    scorer: CustomScorers = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="host:port of a scorer that runs; without it one is started for this file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Score a file and print a line for each row, then the sums.

    Where rows carry a boolean `expected`, the last line counts agreements: a row agrees when the scorer's first
    component is at its best exactly where `expected` is true. Rows without a score are shown with the reason; they are
    in no sum. Exits with 0 only if every row has a score.

    Example: assay score --domain code humaneval.jsonl --response canonical_solution
    """
    from trainer.cli.rows import Columns
    from trainer.cli.score import score as score_file

    columns = Columns(prompt, response, id_column, _pairs(checks or [], "--check", "KEY=COLUMN"), response_text)
    chosen = {key: json_or_text(text) for key, text in _pairs(options or [], "--option", "KEY=VALUE").items()}
    raise typer.Exit(score_file(file, domain, columns, chosen, as_json, _pairs(scorer or [], "--scorer"), address))


def _pairs(texts: list[str], option: str, metavar: str = "NAME=PKG.MOD:CLASS") -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise typer.BadParameter(f"{option} takes {metavar}, not {text!r}")
        pairs[name] = value
    return pairs
