"""`assay check`: a job file's faults, or its loss as a formula."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from trainer.assembly import make_composite
from trainer.cli.jobs import print_problems
from trainer.config import JobConfig, JobFileError, read_job
from trainer.losses.aggregation import AggregationKind
from trainer.moving import course, parse_moving
from trainer.preflight import check_job

out = Console(highlight=False, soft_wrap=True, markup=False)

NORMALISERS: Mapping[AggregationKind, str] = {
    "token_mean": "tokens of the step",
    "segment_mean": "segments of the step, after dividing each by its tokens",
    "sequence_mean": "sequences of the step, after dividing each by its tokens",
    "group_mean": "groups of the step, after dividing each by what it holds",
    "pair_mean": "pairs of the step",
    "sequence_sum": "sequences of the step, times aggregation_constant",
    "sum": "1",
}


def check(path: Path) -> int:
    """Prints every problem and returns 2, or prints the loss and returns 0."""
    try:
        config = read_job(path)
        check_job(config)
    except JobFileError as error:
        print_problems(error)
        return 2
    _describe(config)
    return 0


def _describe(config: JobConfig) -> None:
    total = config.optim.steps
    terms = config.loss.all_terms()
    out.print(f"job {config.job.name}: {total} optimizer steps")
    out.print("loss = " + " + ".join(f"w_{t.name} / N_{t.name} * sum({t.type or t.path})" for t in terms))
    for term, made in zip(terms, make_composite(config).terms, strict=True):
        divisor = NORMALISERS[made.aggregation.kind]
        out.print(f"  w_{term.name}: {_course(term.weight, total)}; N_{term.name}: {divisor}")
    courses = {place: _course(value, total) for place, value in config.places().items()}
    for place, told in courses.items():
        if place.startswith("terms.") and ".kwargs." in place:
            out.print(f"  {place.removeprefix('terms.')}: {told}")
    out.print(_reward(config))
    for place, told in courses.items():
        if place.startswith("rewards."):
            out.print(f"  w of {place.removeprefix('rewards.')}: {told}")
    for place, told in courses.items():
        if place.startswith("optim."):
            out.print(f"{place.removeprefix('optim.')}: {told}")
    out.print("every term is finite, has a live gradient, and is not moved by masked tokens")


def _reward(config: JobConfig) -> str:
    """The reward, and what becomes of it, as formulas."""
    advantage, names = config.advantage, config.rewards.weighted()
    total = " + ".join(f"w * {name}" for name in names)
    reward = {
        "gated": f"{' * '.join(advantage.gates)} * ({total})",
        "lexicographic": f"{', then '.join(advantage.order)}, in this order",
    }.get(advantage.combine, total)
    inner = " + ".join(f"w * {advantage.normalise}({name})" for name in names)
    outer = inner if advantage.combine == "normalise_first" else f"{advantage.normalise}(reward)"
    return f"reward = {reward}\nadvantage = " + (f"whitened({outer})" if advantage.whiten else outer)


def _course(value: float | dict, total: int) -> str:
    return course(parse_moving(value), total)
