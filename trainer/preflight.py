"""What only a look at the disk or an import can tell of a job: its model, its data, its schedules, its loss terms.

The command line asks before it submits, the trainer before it loads a model. All problems are told at once.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path

from services.embeddings import packaged_model
from services.verdicts import Component
from trainer.config import JobConfig, JobFileError
from trainer.controller_spec import is_controller
from trainer.data_check import choice_problems, data_problems
from trainer.imports import ImportPathError, load_function
from trainer.moving import moving_range, parse_moving
from trainer.names import unknown_name
from trainer.schedule_shapes import ScheduleError


def check_job(config: JobConfig) -> None:
    """Raises JobFileError with every problem of the models' folders, the data sets, the numbers that move, DeepSpeed's
    keys and the loss terms.

    Imports torch only if nothing else is wrong, and never loads a model.
    """
    problems = [
        *_model_problems("model.path", config.model.path),
        *(_model_problems("model.teacher", config.model.teacher) if config.model.teacher else ()),
        *_vocabulary_problems(config),
        *_embedding_problems(config),
        *data_problems(config),
        *_schedule_problems(config),
        *_engine_problems(config),
    ]
    # A schedule that cannot be read has no value to judge the rewards by.
    problems = problems or [*_signal_problems(config), *choice_problems(config)]
    if not problems:
        problems = _term_problems(config)
    if problems:
        raise JobFileError(problems)


def check_components(config: JobConfig, components: Mapping[str, Component]) -> None:
    """Raises JobFileError where a component is named that no scorer has, or is used as its range does not allow.

    components: every component of the job's scorers, by name; of a scorer without any here nothing is known.
    """
    # A schedule that cannot be read has no range to judge the weights by.
    if unreadable := _schedule_problems(config):
        raise JobFileError(unreadable)
    problems = [*_weight_problems(config, components), *_advantage_problems(config, components)]
    for place, value in config.places().items():
        metric = str(value.get("metric")) if is_controller(value) else ""
        if metric.startswith("reward/") and metric != "reward/total":
            problems += _unknown(f"{place}: metric {metric!r}", metric.removeprefix("reward/"), components)
    problems += [
        f"rewards.custom: component {name!r} belongs to no scorer of the job by its name; a component is"
        f" 'scorer/name', scorers here: {', '.join(config.scorer_names())}"
        for name in components
        if name.split("/")[0] not in config.scorer_names()
    ]
    for domain, name in config.evaluation.accuracy.items():
        problems += _unknown(f"evaluation.accuracy.{domain}", name, components)
    if problems:
        raise JobFileError(problems)


def environment_problems(config: JobConfig) -> list[str]:
    """A line where no collector could make the environment, or ask it. Imports its module and makes none.

    Asked of the command line alone: a trainer has no environments, and need not have what they import.
    """
    section = config.rollout.environment
    if section is None:
        return []
    try:
        environment = load_function(section.path)
    except ImportPathError as error:
        return [f"rollout.environment: {error}"]
    try:
        inspect.signature(environment).bind(**section.kwargs)
    except TypeError as error:
        return [f"rollout.environment.kwargs: {section.path}: {error}"]
    if inspect.isclass(environment) and not inspect.iscoroutinefunction(getattr(environment, "reply", None)):
        return [f"rollout.environment.path: {section.path}: it has no method `async def reply(self, turn)`"]
    return []


def _weight_problems(config: JobConfig, components: Mapping[str, Component]) -> list[str]:
    problems = []
    for field, name, weight in _weights(config):
        if name not in components:
            problems += _unknown(field, name, components)
            continue
        lowest, highest = _range(config, weight)
        if not components[name].higher_is_better and highest > 0:
            problems.append(
                f"{field}: {name!r} is better when it is lower, so its weight is negative or 0, not {weight!r}"
            )
        if lowest < 0 and config.advantage.combine == "gated":
            problems.append(
                f"{field}: {name!r} has the weight {weight!r}, and a gate that fails turns a loss into 0, which is a gain;"
                " under combine = 'gated' weights are 0 or more: make the component a gate, or take 'normalise_first'"
            )
    return problems


def _advantage_problems(config: JobConfig, components: Mapping[str, Component]) -> list[str]:
    problems = []
    for gate in config.advantage.gates:
        if gate not in components:
            problems += _unknown("advantage.gates", gate, components)
        elif components[gate].low < 0 or not components[gate].higher_is_better:
            problems.append(f"advantage.gates: {gate!r} must be 0 or more, and better when it is higher, to open a gate")
    if config.advantage.normalise == "max_rl":
        for field, name, weight in _weights(config):
            if _range(config, weight)[0] < 0 or (name in components and components[name].low < 0):
                problems.append(
                    f"{field}: {name!r} can make a reward negative, and normalise = 'max_rl' divides by the mean reward;"
                    " it takes components and weights of 0 or more: take 'group_mean'"
                )
    return problems


def _unknown(field: str, name: str, components: Mapping[str, Component]) -> list[str]:
    """A line for a component that its scorer does not have; of a scorer without any here nothing is known."""
    of_known_scorer = any(known.split("/")[0] == name.split("/")[0] for known in components)
    return [f"{field}: {unknown_name(name, sorted(components))}"] if of_known_scorer and name not in components else []


def _weights(config: JobConfig) -> list[tuple[str, str, float | dict]]:
    """Field, component and what is written, for every weight of the rewards."""
    everywhere = [("rewards.weights", name, weight) for name, weight in config.rewards.weights.items()]
    return everywhere + [
        (f"rewards.domain_weights.{domain}", name, weight)
        for domain, weights in config.rewards.domain_weights.items()
        for name, weight in weights.items()
    ]


def _schedule_problems(config: JobConfig) -> list[str]:
    """A line for each schedule that cannot be had or is not finite at some step; imports those of the user."""
    problems = []
    for place, value in config.places().items():
        try:
            lowest, highest = _range(config, value)
        except ScheduleError as error:
            problems.append(f"{place}: {error}")
            continue
        if place.startswith("optim.") and lowest < 0:
            problems.append(f"{place}: it falls to {lowest:g}; a learning rate is 0 or more")
        elif place.startswith("optim.") and highest == 0 and config.optim.steps:
            problems.append(f"{place}: it is 0 at every step, so nothing would be trained")
    return problems


def _range(config: JobConfig, value: float | dict) -> tuple[float, float]:
    """The smallest and the largest value during the run; a run without a step has none. Raises ScheduleError."""
    return moving_range(parse_moving(value), config.optim.steps) if config.optim.steps else (0.0, 0.0)


def _signal_problems(config: JobConfig) -> list[str]:
    """Domains in which no component that a scorer of theirs has counts at any step."""
    problems = []
    for domain, scorers in config.rewards.scorers.items():
        weights = {**config.rewards.weights, **config.rewards.domain_weights.get(domain, {})}
        of_domain = [weight for name, weight in weights.items() if name.split("/")[0] in scorers]
        if config.optim.steps and all(_range(config, weight) == (0.0, 0.0) for weight in of_domain):
            problems.append(
                f"rewards.weights: nothing that counts in domain {domain!r}: give a component of its scorers"
                f" ({', '.join(scorers)}) a weight other than 0, such as \"{scorers[0]}/...\" = 1.0"
            )
    return problems


def _engine_problems(config: JobConfig) -> list[str]:
    from trainer.assembly import engine_config
    from trainer.engine_config import EngineConfigError, deepspeed_config

    try:
        deepspeed_config(engine_config(config))
    except EngineConfigError as error:
        return [f"deepspeed.config: {error}"]
    return []


def _model_problems(field: str, directory: str) -> list[str]:
    path = Path(directory)
    if not path.is_dir():
        return [f"{field}: {path} is no directory; it must hold a Hugging Face model"]
    if not (path / "config.json").is_file():
        return [f"{field}: {path} has no config.json; it must hold a Hugging Face model"]
    try:
        json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [f"{field}: {path / 'config.json'} is not JSON"]
    if not any(path.glob("*.safetensors")):
        return [f"{field}: {path} has no *.safetensors file; save the model with safe_serialization"]
    return []


def _vocabulary_problems(config: JobConfig) -> list[str]:
    """Of a teacher that the trainer does not load itself, and so would not compare."""
    if config.model.teacher is None or config.model.teacher_by == "trainer":
        return []
    sizes = []
    for directory in (config.model.teacher, config.model.path):
        try:
            sizes.append(json.loads((Path(directory) / "config.json").read_text(encoding="utf-8")).get("vocab_size"))
        except (OSError, ValueError, AttributeError):
            return []  # told by _model_problems
    if None in sizes or sizes[0] == sizes[1]:
        return []
    return [f"model.teacher: its vocabulary has {sizes[0]} entries and the policy's {sizes[1]}; they must be one"]


def _embedding_problems(config: JobConfig) -> list[str]:
    groups = config.advantage.groups
    if not (groups.mixes and groups.formation(config.rollout.samples_per_prompt).embeds):
        return []
    try:
        packaged_model()
    except FileNotFoundError as error:
        return [f"advantage.groups: by = {groups.by!r} compares embeddings: {error}"]
    return []


def _term_problems(config: JobConfig) -> list[str]:
    from trainer.assembly import probe_terms

    return probe_terms(config)
