"""What a run leaves behind for people: `summary.json` and a picture of its curves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.metrics import read_metrics

PANELS = (
    ("Reward components (mean)", r"reward/(.+)"),
    ("Loss terms (value)", r"term/([^/]+)/value"),
    ("Weights of components", r"weight/(.+)"),
    ("Weights of loss terms", r"term/([^/]+)/weight"),
    ("Share of the gradient, by term", r"term/([^/]+)/share"),
    ("Controllers", r"controller/(.+?)(?<!/unchanged)"),
)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Greedy accuracy on held-out prompts. What could not be scored is counted apart and is in no ratio."""

    overall: float | None
    """None where nothing could be scored."""
    by_domain: Mapping[str, float]
    """Domains of which something could be scored."""
    scored: int
    missing: int


@dataclass(frozen=True, slots=True)
class Summary:
    """`summary.json`. `accuracy_*` are None where the job has no held-out set."""

    job: str
    steps: int
    accuracy_before: Accuracy | None
    accuracy_after: Accuracy | None
    calls: Mapping[str, int]
    seconds: Mapping[str, float]
    checkpoint: str
    model: str
    curves: str


def write_summary(run_dir: Path, summary: Summary) -> None:
    """Writes `summary.json` in one piece."""
    partial = run_dir / "summary.partial"
    partial.write_text(json.dumps(asdict(summary), indent=2) + "\n")
    partial.replace(run_dir / "summary.json")


def draw_curves(run_dir: Path) -> Path:
    """Draws `curves.png` from `metrics.jsonl`: components, terms and the weights of both, over the steps of RL."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [line for line in read_metrics(run_dir) if line["phase"] == "rl"]
    figure, axes = pyplot.subplots(3, 2, figsize=(15, 12), sharex=True)
    for axis, (title, pattern) in zip(axes.flat, PANELS, strict=True):
        axis.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)  # pyright: ignore[reportAttributeAccessIssue]
        for name, (steps, values) in sorted(_curves(lines, re.compile(pattern)).items()):
            axis.plot(steps, values, label=name, linewidth=1.3)
        axis.set_title(title)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in axes[-1]:
        axis.set_xlabel("optimizer step")
    figure.tight_layout()
    path = run_dir / "curves.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _curves(lines: Sequence[dict], pattern: re.Pattern[str]) -> dict[str, tuple[list[int], list[float]]]:
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        for name, value in line["values"].items():
            found = pattern.fullmatch(name)
            if value is not None and found:
                steps, values = curves.setdefault(found[1], ([], []))
                steps.append(line["step"])
                values.append(value)
    return curves
