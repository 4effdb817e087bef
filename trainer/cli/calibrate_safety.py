"""`assay calibrate safety`: a head of the safety scorer from a user's labels, with its figures on held-out rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from services.safety.calibration import Calibration, CalibrationError, calibrate
from services.safety.head import save_head
from services.safety.labels import MAX_PROBLEMS, Labels, LabelsError, read_labels
from services.safety.measures import parse_rule, wilson


def calibrate_safety(
    file: Path,
    out: Path,
    text: str,
    toxic: str,
    toxic_values: Sequence[str],
    held_out: float,
    threshold: str,
    seed: int,
    as_json: bool,
) -> int:
    """Fits, measures, prints and writes; see `assay calibrate safety --help`. Returns the exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        rule = parse_rule(threshold)
    except ValueError as error:
        raise typer.BadParameter(f"--threshold: {error}") from None
    target = out / "head.safetensors" if out.is_dir() else out
    if not target.parent.is_dir():
        raise typer.BadParameter(f"--out: there is no folder {target.parent}")
    try:
        labels = read_labels(file, text, toxic, toxic_values)
        with console.status(f"reading {len(labels.texts)} texts"):
            calibration = calibrate(labels, held_out, rule, seed)
        save_head(calibration.head, target)
    except (LabelsError, CalibrationError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    except ImportError as error:
        console.print(f"{error}: pip install '.[safety]' in Assay's folder", style="red", markup=False)
        return 2
    except OSError as error:
        console.print(f"{target} cannot be written: {error.strerror}", style="red", markup=False)
        return 2
    if as_json:
        print(json.dumps({"head": str(target), **calibration.head.facts.model_dump()}))
    else:
        print("\n".join([*_told_of_labels(labels), *_told_of_figures(calibration), *_told_of_use(target)]))
    return 0


def _told_of_labels(labels: Labels) -> list[str]:
    toxic = int(labels.toxic.sum())
    lines = [f"{labels.rows} rows: {toxic} toxic and {len(labels.texts) - toxic} harmless texts"]
    if labels.duplicates:
        lines.append(f"{labels.duplicates} rows left out: an earlier row has the same text and label")
    if labels.conflicts:
        shown = "; ".join(", ".join(map(str, group)) for group in labels.conflicts[:MAX_PROBLEMS])
        more = " ..." if len(labels.conflicts) > MAX_PROBLEMS else ""
        rows = sum(map(len, labels.conflicts))
        lines.append(f"{rows} rows left out: the same text with both labels (lines {shown}{more})")
    return lines


def _told_of_figures(calibration: Calibration) -> list[str]:
    facts, cut = calibration.head.facts, calibration.cut
    rows = facts.rows
    held = rows["held_out_toxic"] + rows["held_out_harmless"]
    low, high = calibration.auc_interval
    said_right, found = wilson(cut.hits, cut.said), wilson(cut.hits, cut.toxic)
    lines = [
        f"fitted on {rows['fitted_toxic'] + rows['fitted_harmless']} texts, strength {facts.strength:g} by cross-validation;"
        f" measured on {held} held out ({rows['held_out_toxic']} toxic)",
        "",
        f"AUC          {calibration.auc:.3f}  (95 %: {low:.3f} to {high:.3f}); the default estimate: {calibration.general_auc:.3f}",
        f"Brier score  {calibration.brier:.3f}  (always saying the share of toxic texts: {calibration.base_brier:.3f})",
        f"ECE          {calibration.calibration_error:.3f}  (expected calibration error, ten bins)",
        "",
        "probability   texts   mean said   toxic",
        *(
            f"{bin.low:.1f} to {bin.high:.1f}   {bin.rows:5d}   {bin.said:9.2f}   {bin.toxic:5.2f}"
            for bin in calibration.reliability
        ),
        "",
        f"threshold    {cut.threshold:.3f}  ({facts.rule}, on the training part's own folds)",
        f"precision    {cut.precision:.3f}  (95 %: {said_right[0]:.3f} to {said_right[1]:.3f}; {cut.hits} of {cut.said})",
        f"recall       {cut.recall:.3f}  (95 %: {found[0]:.3f} to {found[1]:.3f}; {cut.hits} of {cut.toxic})",
    ]
    if held < 100:
        lines.append(f"{held} texts are few to measure on: look at the intervals")
    return lines


def _told_of_use(target: Path) -> list[str]:
    return ["", f"wrote {target}; serve it with: python -m services.safety --head {target}"]
