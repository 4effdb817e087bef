"""`assay calibrate`: fits scorers to a user's own labels. The work is in modules that are imported when a command is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

calibrate = typer.Typer(no_args_is_help=True)


@calibrate.callback()
def group() -> None:
    """Fit a scorer to labels of your own."""


@calibrate.command()
def safety(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS.jsonl",
            help="JSON lines, one labelled text each.",
            show_default=False,
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The head's file, or a folder to write head.safetensors into.")
    ] = Path("head.safetensors"),
    text: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    toxic: Annotated[str, typer.Option(help="Column of the label: true or false, 1 or 0.")] = "toxic",
    toxic_value: Annotated[
        list[str] | None,
        typer.Option(
            help="A label of another kind that means toxic; all others then mean harmless. May be given more than once.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the texts that is measured on, and not fitted on.")
    ] = 0.3,
    threshold: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="From where on a text is labelled toxic: f1 (the best F1), precision=0.95 (the best recall with that"
            " precision) or recall=0.9.",
        ),
    ] = "f1",
    seed: Annotated[int, typer.Option(min=0, help="Of the split and of the folds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit the toxicity of the safety scorer to your own labels, and say how good it is.

    Fits a head over the embeddings on a part of the texts, measures it on the rest, and writes it to a file that
    `python -m services.safety --head FILE` serves, as does `assay up` with ASSAY_SAFETY_HEAD=FILE in the environment.

    Example: assay calibrate safety labels.jsonl --out head.safetensors --threshold precision=0.95
    """
    from trainer.cli.calibrate_safety import calibrate_safety

    values = toxic_value or []
    raise typer.Exit(calibrate_safety(file, out, text, toxic, values, held_out, threshold, seed, as_json))
