"""HumanEval through the services: canonical solutions, answers that solve nothing, and how fast samples are judged."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.sandbox_services import JudgingServices, passes
from services.client.scoring import ScoringClient
from services.tasks.audit import Audit, Standing, audit
from services.tasks.formats import read_tasks
from services.tasks.task import Task
from services.verdicts import Item, ItemError, Outcome, Verdict

SAMPLES = 8
REPEATS = 3
FACTOR = 25
PEER_RATES = (14.0, 27.0)
"""Programs a second that SandboxFusion's light mode ran on two cores: the least and the most that were measured."""
_SECONDS = 600.0


def humaneval(file: Path, repeats: int = REPEATS) -> list[Figure]:
    """file: JSON lines with prompt, canonical_solution, entry_point and test."""
    tasks = [task for task in read_tasks(file) if isinstance(task, Task)]
    with JudgingServices() as services, services.client() as client:
        audits = [each for each in audit(tasks, lambda items: client.score(items, _SECONDS)) if isinstance(each, Audit)]
        rates, wrong = _rates(client, samples(tasks), repeats)
    return [*_standing(audits), *_speed(rates, wrong)]


def _standing(audits: Sequence[Audit]) -> list[Figure]:
    broken = [each for each in audits if each.standing in (Standing.BROKEN, Standing.UNCHECKED)]
    weak = [each for each in audits if each.standing is Standing.WEAK]
    for each in broken:
        print(f"HUMANEVAL {each.task.id}: {each.label} {dict(each.evidence)}", file=sys.stderr)
    for each in weak:
        print(f"HUMANEVAL {each.task.id} is weak: {', '.join(each.nulls)} pass", file=sys.stderr)
    total = len(audits)
    named = "".join(f"; {each.task.id} is named weak" for each in weak)
    return [
        Figure("HumanEval, canonical solutions", f"{total - len(broken)} of {total} pass", "all", not broken),
        Figure(
            "HumanEval, nulls that pass", f"{sum(len(each.nulls) for each in weak)}{named}",
            "0 but on tasks named weak", not broken,
        ),
    ]  # fmt: skip


def samples(tasks: Sequence[Task]) -> list[tuple[Item, bool]]:
    """`SAMPLES` answers to each task, no two the same, and whether each is right; one of them returns wrong values."""
    found = []
    for number in range(SAMPLES):
        for task in tasks:
            code = f"{task.reference}\n# sample {number}\n"
            right = number < SAMPLES - 1
            if not right:
                name = task.checks["entry_point"]
                code += f"\n_right = {name}\n\n\ndef {name}(*args):\n    return [_right(*args)]\n"
            found.append((Item(f"{task.id}/{number}", task.prompt, code, task.checks), right))
    return found


def _rates(client: ScoringClient, asked: Sequence[tuple[Item, bool]], repeats: int) -> tuple[list[float], list[str]]:
    """Items a second in each repeat, and what was judged wrongly."""
    rates = []
    wrong: list[str] = []
    items = [item for item, _ in asked]
    for _ in range(repeats):
        start = time.perf_counter()
        outcomes = client.score(items, _SECONDS)
        rates.append(len(items) / (time.perf_counter() - start))
        wrong += wrong_samples(asked, outcomes)
    return rates, wrong


def wrong_samples(asked: Sequence[tuple[Item, bool]], outcomes: Mapping[str, Outcome]) -> list[str]:
    """Ids of samples whose verdict is not the one that is right, or that have none."""
    found = []
    for item, right in asked:
        outcome = outcomes[item.id]
        if isinstance(outcome, ItemError) or passes(outcome) != right:
            label = outcome.label if isinstance(outcome, Verdict) else f"{outcome.reason}: {outcome.message}"
            print(f"HUMANEVAL sample {item.id}: {label}", file=sys.stderr)
            found.append(item.id)
    return found


def _speed(rates: Sequence[float], wrong: Sequence[str]) -> list[Figure]:
    rate = statistics.median(rates)
    low, high = (FACTOR * peer for peer in PEER_RATES)
    against = f"{rate / PEER_RATES[0]:.0f} times {PEER_RATES[0]:g}, {rate / PEER_RATES[1]:.0f} times {PEER_RATES[1]:g}"
    return [
        Figure(
            "ScoreBatch of HumanEval, items a second",
            f"{rate:.0f} ({min(rates):.0f} to {max(rates):.0f}): {against} (SandboxFusion)",
            f"{low:g} at least; {high:g} for its best rate ({'met' if rate >= high else 'missed'})",
            rate >= low,
        ),
        Figure("samples judged wrongly", str(len(wrong)), "0", not wrong),
    ]
