"""The job file: one frozen tree, read from TOML, sent as JSON, refused with errors that name the field and the mend.

Reading it imports neither torch nor a model, so that a mistake is answered at once. What only a look at the disk or
an import can tell (a missing model, a loss that has no gradient) is `trainer/preflight.py`'s.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from trainer.agreement import check_agreement
from trainer.data_sections import DataSection
from trainer.job_problems import describe
from trainer.job_sections import (
    AdvantageSection,
    CheckpointSection,
    DeepSpeedSection,
    EvaluationSection,
    JobSection,
    ModelSection,
    OptimSection,
    RewardsSection,
    RolloutSection,
    WarmupSection,
)
from trainer.loss_sections import LossSection
from trainer.moving import is_moving
from trainer.places import check_controllers
from trainer.section import Section


class JobFileError(ValueError):
    """A job file that cannot be run. `problems` has a line for each fault, with the field, the value and the mend."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class JobConfig(Section):
    """The whole job file."""

    job: JobSection
    model: ModelSection
    data: DataSection
    warmup: WarmupSection | None = None
    rollout: RolloutSection
    rewards: RewardsSection
    advantage: AdvantageSection = AdvantageSection()
    loss: LossSection
    optim: OptimSection
    deepspeed: DeepSpeedSection = DeepSpeedSection()
    evaluation: EvaluationSection = EvaluationSection()
    checkpoint: CheckpointSection = CheckpointSection()

    @model_validator(mode="after")
    def _tables_agree(self) -> JobConfig:
        check_agreement(self)
        return self

    @model_validator(mode="after")
    def _controllers_fit(self) -> JobConfig:
        terms = self.loss.all_terms()
        check_controllers(
            self.places(),
            terms=[term.name for term in terms],
            non_negative=[term.name for term in terms if term.is_non_negative()],
            scorers=self.scorer_names(),
        )
        return self

    def places(self) -> dict[str, Any]:
        """What is written wherever a number may move, by place: see `trainer.places`."""
        found: dict[str, Any] = {}
        for term in self.loss.all_terms():
            found[f"terms.{term.name}.weight"] = term.weight
            found |= {f"terms.{term.name}.kwargs.{k}": v for k, v in term.kwargs.items() if is_moving(v)}
        found |= {f"rewards.{name}": weight for name, weight in self.rewards.weights.items()}
        for domain, weights in self.rewards.domain_weights.items():
            found |= {f"rewards.{domain}.{name}": weight for name, weight in weights.items()}
        if self.data.max_difficulty is not None:
            found["data.max_difficulty"] = self.data.max_difficulty
        found |= {f"data.sources.{source.name}.weight": source.weight for source in self.data.sources}
        if self.data.curriculum is not None:
            found["data.curriculum.target"] = self.data.curriculum.target
        found["optim.learning_rate"] = self.optim.learning_rate
        found["optim.learning_rate_factor"] = self.optim.learning_rate_factor
        return found

    def total_steps(self) -> int:
        """Optimizer steps of the warm-up and of RL together."""
        return self.optim.steps + (self.warmup.steps if self.warmup else 0)

    def scorer_names(self) -> list[str]:
        """Every scorer the job asks for, sorted."""
        return sorted({scorer for scorers in self.rewards.scorers.values() for scorer in scorers})


def parse_job(tree: dict[str, Any], base: Path | None = None) -> JobConfig:
    """A job from a tree of plain values; relative paths are taken from `base`. Raises JobFileError."""
    try:
        config = JobConfig.model_validate(tree)
    except ValidationError as error:
        raise JobFileError([describe(problem, JobConfig) for problem in error.errors()]) from None
    return _absolute(config, base) if base is not None else config


def read_job(path: Path) -> JobConfig:
    """Reads a job file. Raises JobFileError where it is absent, is not TOML, or does not fit the schema."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise JobFileError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise JobFileError([f"{path}: is not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as error:
        raise JobFileError([f"{path}: is not TOML: {error}"]) from None
    except RecursionError:
        raise JobFileError([f"{path}: its tables or lists are nested too deeply"]) from None
    return parse_job(tree, path.resolve().parent)


def job_from_json(text: str) -> JobConfig:
    """A job as it travels. Raises JobFileError."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobFileError([f"the job is not JSON: {error}"]) from None
    if not isinstance(tree, dict):
        raise JobFileError([f"the job is a JSON {type(tree).__name__}, not an object"])
    return parse_job(tree)


def job_to_json(config: JobConfig) -> str:
    """JSON that `job_from_json` reads back as an equal job."""
    return config.model_dump_json()


def _absolute(config: JobConfig, base: Path) -> JobConfig:
    def resolve(path: str | None) -> str | None:
        return None if path is None else str((base / path).resolve())

    def paths(section: Any, *names: str) -> Any:
        return section.model_copy(update={name: resolve(getattr(section, name)) for name in names})

    data = paths(config.data, "train", "heldout")
    data = data.model_copy(update={"sources": [paths(source, "path", "heldout") for source in data.sources]})
    model = config.model.model_copy(
        update={"path": resolve(config.model.path), "teacher": resolve(config.model.teacher)}
    )
    warmup = config.warmup and config.warmup.model_copy(update={"path": resolve(config.warmup.path)})
    return config.model_copy(update={"data": data, "model": model, "warmup": warmup})
