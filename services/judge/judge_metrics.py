"""What judging itself counts, beside what the endpoint's requests cost."""

from __future__ import annotations

from services.server.counting import WorkerCounter

PAIRS = WorkerCounter(
    "assay_judge_pairs_total",
    "Pairs asked in both orders: `agreed`, or the place that won in both, `first` or `second`: position bias.",
    ["outcome"],
)
