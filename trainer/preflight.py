"""What only a look at the disk or an import can tell of a job: its model, its data, its loss terms.

The command line asks before it submits, the trainer before it loads a model. All problems are told at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from services.verdicts import Component
from trainer.config import JobConfig, JobFileError
from trainer.data import DataError, read_demonstrations, read_prompts
from trainer.names import unknown_name


def check_job(config: JobConfig) -> None:
    """Raises JobFileError with every problem of the model's folder, the data sets and the loss terms.

    Imports torch only if nothing else is wrong, and never loads the model.
    """
    problems = [*_model_problems(config), *_data_problems(config)]
    if not problems:
        problems = _term_problems(config)
    if problems:
        raise JobFileError(problems)


def check_components(config: JobConfig, components: Mapping[str, Component]) -> None:
    """Raises JobFileError where a weight or a measure names a component that no scorer has, or rewards the worse end.

    components: every component of the job's scorers, by name, as the services describe them.
    """
    problems = []
    for name, weight in config.rewards.weights.items():
        if name not in components:
            problems.append(f"rewards.weights: {unknown_name(name, sorted(components))}")
        elif not components[name].higher_is_better and _largest(weight) > 0:
            problems.append(
                f"rewards.weights: {name!r} is better when it is lower, so its weight is negative or 0, not {weight!r}"
            )
    problems += [
        f"evaluation.accuracy.{domain}: {unknown_name(name, sorted(components))}"
        for domain, name in config.evaluation.accuracy.items()
        if name not in components
    ]
    if problems:
        raise JobFileError(problems)


def _largest(weight: object) -> float:
    """The largest number in a scheduled weight: every schedule stays between its own numbers."""
    if isinstance(weight, Mapping):
        if "phases" in weight or "points" in weight:
            return max(pair[1] for pair in weight.get("phases", weight.get("points")))
        return max(float(weight[key]) for key in ("start", "end", "value") if key in weight)
    return float(weight)  # pyright: ignore[reportArgumentType]


def _model_problems(config: JobConfig) -> list[str]:
    path = Path(config.model.path)
    if not path.is_dir():
        return [f"model.path: {path} is no directory; it must hold a Hugging Face model"]
    if not (path / "config.json").is_file():
        return [f"model.path: {path} has no config.json; it must hold a Hugging Face model"]
    try:
        json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [f"model.path: {path / 'config.json'} is not JSON"]
    if not any(path.glob("*.safetensors")):
        return [f"model.path: {path} has no *.safetensors file; save the model with safe_serialization"]
    return []


def _data_problems(config: JobConfig) -> list[str]:
    domains = sorted(config.rewards.scorers)
    readers: list[tuple[str, str | None, Callable[[Path], object]]] = [
        ("data.train", config.data.train, lambda path: read_prompts(path, domains)),
        ("data.heldout", config.data.heldout, lambda path: read_prompts(path, domains)),
        ("warmup.path", config.warmup and config.warmup.path, read_demonstrations),
    ]
    problems = []
    for field, path, read in readers:
        if path is not None:
            try:
                read(Path(path))
            except DataError as error:
                problems.append(f"{field}: {error}")
    return problems


def _term_problems(config: JobConfig) -> list[str]:
    from trainer.assembly import probe_terms

    return probe_terms(config)
