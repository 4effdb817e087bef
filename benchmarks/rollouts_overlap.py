"""Whether sampling, scoring and training go on at the same time, and what they promise holds meanwhile."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.rollout_jobs import Outcome, bench
from services.jobs.job import JobState

WAITING, SLOW = "benchmarks.waiting_scorer:Waiting", "benchmarks.waiting_scorer:SometimesSlow"
OVERLAP_BAR, GROWTH_BAR = 0.65, 1.15
PATIENT = {"max_staleness": 64}
PATIENT_STEPS = 120
EXACT = ("reward/", "term/", "loss/", "group/", "optim/", "rollout/", "batch/")


def overlap() -> list[Figure]:
    """Time a step, asynchronous against synchronous; the same job twice; staleness."""
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder), WAITING) as services:
        synchronous = [services.run(rollout={"max_staleness": 0}) for _ in range(2)]
        ahead = [services.run(rollout={"max_staleness": staleness}) for staleness in (1, 1, 2)]
        steady = services.run(rollout=PATIENT, optim={"steps": PATIENT_STEPS})
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder), SLOW) as services:
        slow = services.run(rollout=PATIENT, optim={"steps": PATIENT_STEPS})
    return [*_overlap(synchronous, ahead[:2]), _same(*synchronous), _staleness(ahead, (1, 1, 2)), *_slow(steady, slow)]


def _overlap(synchronous: list[Outcome], ahead: list[Outcome]) -> list[Figure]:
    before = min(each.step_seconds for each in synchronous)
    after = max(each.step_seconds for each in ahead)
    ratio = after / before
    return [
        Figure(
            "a step with staleness 1 against a synchronous one, a scorer of 200 ms",
            f"{ratio:.2f} ({1000 * after:.0f} and {1000 * before:.0f} ms, the worse of two runs each)",
            f"at most {OVERLAP_BAR}",
            ratio <= OVERLAP_BAR,
        )
    ]


def _same(first: Outcome, second: Outcome) -> Figure:
    """The same synchronous job twice: texts, versions, rewards, and every number of the losses."""
    numbers = [
        [{name: value for name, value in step.items() if name.startswith(EXACT)} for step in run.metrics]
        for run in (first, second)
    ]
    same = first.rollouts == second.rollouts and numbers[0] == numbers[1] and len(first.rollouts) > 0
    return Figure(
        "the same synchronous job twice",
        f"{len(first.rollouts)} groups and {len(numbers[0])} steps {'identical' if same else 'DIFFER'}",
        "identical tokens, rewards, losses",
        same,
    )


def _staleness(runs: list[Outcome], limits: tuple[int, ...]) -> Figure:
    """By the versions that the tokens carry."""
    worst = [
        max(line["step"] - each["versions"][0] for line in run.rollouts for each in line["completions"]) for run in runs
    ]
    return Figure(
        "largest staleness of a token, limits " + ", ".join(map(str, limits)),
        ", ".join(map(str, worst)),
        "never above the limit",
        all(found <= limit for found, limit in zip(worst, limits, strict=True)),
    )


def _slow(steady: Outcome, slow: Outcome) -> list[Figure]:
    growth = slow.step_seconds / steady.step_seconds
    prompts = [line["prompt"] for line in slow.rollouts]
    missing = sum(bool(each["missing"]) for line in slow.rollouts for each in line["completions"])
    whole = slow.state is JobState.SUCCEEDED and len(set(prompts)) == len(prompts) == PATIENT_STEPS * 16 and not missing
    return [
        Figure(
            "a step where one item in 100 takes 5 s, against none",
            f"{growth:.2f} ({1000 * slow.step_seconds:.0f} and {1000 * steady.step_seconds:.0f} ms)",
            f"at most {GROWTH_BAR}",
            growth <= GROWTH_BAR,
        ),
        Figure(
            "what the slow items cost",
            f"{len(prompts)} groups trained on, {len(prompts) - len(set(prompts))} twice, {missing} scores missing",
            "nothing lost",
            whole,
        ),
    ]
