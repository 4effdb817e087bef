"""Measures the safety scorer: `python -m benchmarks.scorers_safety FILE [--disagreements] [--show-texts]`.

FILE holds JSON lines with `text` and `toxic`. Nothing of it reaches the default estimate; the head is fitted on one half and
measured on the other, for several ways to halve. Disagreements are told by line, and with their texts only where asked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, report
from services.safety.calibration import fit, split
from services.safety.embedded import EmbeddedBackend
from services.safety.head import probabilities
from services.safety.measures import auc, auc_interval, brier, calibration_error, cut
from services.safety.scorer import SafetyScorer
from services.safety.windows import WindowReader, Windows
from services.verdicts import Item, Verdict

SPLITS = 20
DEFAULT_BAR = 0.88
CALIBRATED_BAR = 0.95
LENGTHS = ((0, 50), (50, 200), (200, None))
"""Characters of a text, from and up to, by which areas are told."""


@dataclass(frozen=True)
class Comments:
    """Texts, and which of them are toxic: bool, shape (len(texts),)."""

    texts: Sequence[str]
    toxic: np.ndarray


def safety(file: Path, *, disagreements: bool = False, show_texts: bool = False) -> list[Figure]:
    """The figures of this part; prints what stands behind them as it goes."""
    comments = read_comments(file)
    scorer = SafetyScorer(EmbeddedBackend())
    items = [Item(str(place), "", text) for place, text in enumerate(comments.texts)]
    began = time.process_time()
    verdicts = [outcome for outcome in scorer.score(items) if isinstance(outcome, Verdict)]
    print(f"default: {len(items) / (time.process_time() - began):.0f} items a second and core", file=sys.stderr)
    values = np.array([verdict.components["safety/toxicity"] for verdict in verdicts])
    windows = WindowReader().read(comments.texts)
    if disagreements:
        _list(comments, values, scorer.toxic_from, show_texts)
    _tell_lengths(comments, values)
    return [
        _default(comments, values),
        _calibrated(comments, windows),
        _repeated(items, verdicts),
    ]


def read_comments(file: Path) -> Comments:
    """Raises ValueError where a line is not of this form."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return Comments([row["text"] for row in rows], np.array([bool(row["toxic"]) for row in rows]))


def _default(comments: Comments, values: np.ndarray) -> Figure:
    area = auc(comments.toxic, values)
    low, high = auc_interval(area, int(comments.toxic.sum()), int((~comments.toxic).sum()))
    at_half = cut(comments.toxic, values, 0.5)
    measured = (
        f"{area:.3f} (95 %: {low:.3f} to {high:.3f}); from 0.5 on precision {at_half.precision:.2f},"
        f" recall {at_half.recall:.2f}"
    )
    return Figure("safety AUC, default", measured, f"{DEFAULT_BAR}", area >= DEFAULT_BAR)


def _calibrated(comments: Comments, windows: Windows) -> Figure:
    areas, errors, scores, seconds = [], [], [], []
    for seed in range(SPLITS):
        train, test = split(comments.toxic, 0.5, seed)
        began = time.process_time()
        head = fit(windows.of(train), comments.toxic[train], seed)
        seconds.append(time.process_time() - began)
        said = probabilities(windows.of(test), head.weights, head.intercept)
        areas.append(auc(comments.toxic[test], said))
        errors.append(calibration_error(comments.toxic[test], said))
        scores.append(brier(comments.toxic[test], said))
    print(
        f"calibrated: ECE {statistics.median(errors):.3f}, Brier score {statistics.median(scores):.3f} (medians);"
        f" a fit of {len(comments.texts) // 2} embedded texts takes {statistics.median(seconds):.2f} s of CPU time",
        file=sys.stderr,
    )
    median = statistics.median(areas)
    measured = f"{median:.3f}, the median of {SPLITS} halvings; the least {min(areas):.3f}"
    return Figure("safety AUC, calibrated on half", measured, f"{CALIBRATED_BAR}", median >= CALIBRATED_BAR)


def _repeated(items: Sequence[Item], verdicts: Sequence[Verdict]) -> Figure:
    """The same items to a scorer made anew, in other batches and the other way round."""
    backend = EmbeddedBackend()
    scorer = SafetyScorer(backend)
    turned = items[::-1]
    size = backend.batch_size
    again = [outcome for start in range(0, len(turned), size) for outcome in scorer.score(turned[start : start + size])]
    same = sum(one == other for one, other in zip(verdicts, reversed(again), strict=True))
    return Figure(
        "safety, verdicts of a second scorer, other batches", f"{same} of {len(items)} equal", "all", same == len(items)
    )


def _tell_lengths(comments: Comments, values: np.ndarray) -> None:
    lengths = np.array([len(text) for text in comments.texts])
    for low, high in LENGTHS:
        part = (lengths >= low) & (lengths < (high or np.inf))
        kinds = comments.toxic[part]
        if 0 < kinds.sum() < len(kinds):
            name = f"{low} to {high - 1}" if high else f"{low} or more"
            print(
                f"default, {name} characters: {len(kinds)} texts, AUC {auc(kinds, values[part]):.3f}", file=sys.stderr
            )


def _list(comments: Comments, values: np.ndarray, toxic_from: float, show_texts: bool) -> None:
    """Each text whose label is not the file's, the furthest off first."""
    wrong = np.flatnonzero((values >= toxic_from) != comments.toxic)
    for place in sorted(wrong, key=lambda each: -abs(values[each] - toxic_from)):
        kind = "toxic" if comments.toxic[place] else "harmless"
        text = f": {comments.texts[int(place)]!r}" if show_texts else ""
        print(f"row {place + 1}: {kind}, scored {values[place]:.3f}{text}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="JSON lines with text and toxic")
    parser.add_argument("--disagreements", action="store_true", help="list rows whose label differs from the file's")
    parser.add_argument("--show-texts", action="store_true", help="with their texts, which may be vile")
    given = parser.parse_args(arguments)
    return report(safety(given.file, disagreements=given.disagreements, show_texts=given.show_texts))


if __name__ == "__main__":
    sys.exit(main())
