"""The job file: one frozen tree, read from TOML, sent as JSON, refused with errors that name the field and the mend.

Reading it imports neither torch nor a model, so that a mistake is answered at once. What only a look at the disk or
an import can tell (a missing model, a loss that has no gradient) is `trainer/preflight.py`'s.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.agreement import check_agreement
from trainer.combination import Combination, CombinationKind
from trainer.job_problems import describe
from trainer.losses.aggregation import AggregationKind
from trainer.losses.contract import Scope
from trainer.losses.registry import BUILT_IN_TERMS
from trainer.moving import is_moving
from trainer.names import unknown_name
from trainer.normalisation import Normalisation
from trainer.places import Arguments, Moves, Scheduled, check_controllers


class JobFileError(ValueError):
    """A job file that cannot be run. `problems` has a line for each fault, with the field, the value and the mend."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of the job file: frozen, unknown keys refused, numbers finite and never made out of strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class JobSection(Section):
    """`[job]`: what the run is called and how stubborn it is."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    max_attempts: Positive = 3
    """How often a crashed trainer is started again from its checkpoint."""


class ModelSection(Section):
    """`[model]`: a Hugging Face causal language model in a local directory."""

    path: str = Field(min_length=1)
    gradient_checkpointing: bool = False
    teacher: Annotated[str, Field(min_length=1)] | None = None
    """A frozen model with the same vocabulary, for terms that distil; every trainer process holds a copy."""


class DataSection(Section):
    """`[data]`: JSON lines with `id`, `domain`, `prompt`, `checks`; `heldout` is never trained on."""

    train: str = Field(min_length=1)
    heldout: str | None = None


class WarmupSection(Section):
    """`[warmup]`: supervised steps on JSON lines with `prompt` and `completion`, before any rollout."""

    path: str = Field(min_length=1)
    steps: Positive
    batch_size: Positive = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3


class RolloutSection(Section):
    """`[rollout]`: how the policy is sampled for one optimizer step."""

    prompts_per_step: Positive
    samples_per_prompt: Positive
    max_new_tokens: Positive
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Fraction = 1.0
    prompts_per_task: Positive = 16
    """Prompts in one Celery task."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Longest wait for the rollouts of a step."""


class RewardsSection(Section):
    """`[rewards]`: which scorers judge a domain, and what their components weigh."""

    scorers: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(min_length=1)
    """Domain to scorer names."""
    weights: dict[str, Moves] = Field(min_length=1)
    """Component to weight; components without one are recorded and do not count."""
    domain_weights: dict[str, dict[str, Moves]] = Field(default_factory=dict)
    """Domain to the weights that differ there: `[rewards.domain_weights.code]`."""
    custom: dict[str, str] = Field(default_factory=dict)
    """Name to import path (`pkg.mod:Class`) of your own scorers, started beside the others."""
    missing: Literal["drop_sample", "drop_group", "fail"] = "drop_sample"
    """What becomes of a rollout whose score is still missing after `attempts`."""
    attempts: Positive = 3

    @model_validator(mode="after")
    def _weights_belong_to_scorers(self) -> RewardsSection:
        named = {scorer for scorers in self.scorers.values() for scorer in scorers}
        for component in self.weights:
            scorer = component.split("/")[0]
            if "/" not in component or scorer not in named:
                raise ValueError(
                    f"weights: {component!r} belongs to no scorer named in [rewards.scorers]; a component is"
                    f" 'scorer/name', scorers here: {', '.join(sorted(named))}"
                )
        for name in sorted(set(self.custom) - named):
            raise ValueError(f"custom: {name!r} judges nothing: name it in a list of [rewards.scorers], or take it away")
        for domain, weights in self.domain_weights.items():
            if domain not in self.scorers:
                raise ValueError(f"domain_weights: {unknown_name(domain, sorted(self.scorers))}")
            for component in weights:
                if component.split("/")[0] not in self.scorers[domain]:
                    raise ValueError(
                        f"domain_weights.{domain}: {component!r} belongs to no scorer of that domain:"
                        f" {', '.join(self.scorers[domain])}"
                    )
        return self

    def weighted(self) -> list[str]:
        """Every component with a weight, everywhere or in a domain."""
        return list(dict.fromkeys([*self.weights, *(name for each in self.domain_weights.values() for name in each)]))


class AdvantageSection(Section):
    """`[advantage]`: from rewards to advantages."""

    estimator: Literal["group", "gae"] = "group"
    """`group` compares the completions of one prompt; `gae` compares each token with what a value head expected."""
    gamma: Fraction = 1.0
    """Discount of a reward for each token until it; of `gae`."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    """0 trusts the value head (least variance), 1 the reward (no bias); of `gae`."""

    normalise: Normalisation = "group_mean_std"
    combine: CombinationKind = "weighted_sum"
    gates: list[str] = Field(default_factory=list)
    """Components that multiply the weighted sum of the others, for `combine = "gated"`."""
    order: list[str] = Field(default_factory=list)
    """Weighted components from the most important on, for `combine = "lexicographic"`."""
    whiten: bool = False
    """Whether the advantages of a whole step get mean 0 and spread 1 after they were normalised."""
    drop_zero_signal: bool = False
    """Whether groups whose advantages are all 0 are left out of the step, also for the terms that use none."""

    @model_validator(mode="after")
    def _combination_is_whole(self) -> AdvantageSection:
        self.combination()
        return self

    def combination(self) -> Combination:
        """How components are combined. Raises ValueError."""
        return Combination(self.combine, tuple(self.gates), tuple(self.order))


class TermSection(Section):
    """`[[loss.terms]]`: one term of the composite, built in (`type`) or your own (`path`)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    type: str | None = None
    path: str | None = None
    weight: Moves = 1.0
    aggregation: AggregationKind | None = None
    """What the term is divided by; each type has its own default."""
    aggregation_constant: Annotated[float, Field(gt=0)] = 1.0
    """Divides `sequence_sum`, and nothing else: the longest completion makes it Dr.GRPO's."""
    kwargs: Arguments = Field(default_factory=dict)
    """Numbers may be schedules or controllers."""
    needs: list[str] = Field(default_factory=list)
    """What your own function reads beside the behaviour policy's log-probabilities and the advantages."""
    scope: Scope | None = None
    """What your own function is called with: one sequence (the default), the two of a pair, or the list of a group."""
    non_negative: bool = False
    """Your word that your own function is never below 0, as some controllers ask; built-in terms know it themselves."""

    @model_validator(mode="after")
    def _one_source(self) -> TermSection:
        if (self.type is None) == (self.path is None):
            raise ValueError("give either type (a built-in term) or path (your own function), and not both")
        if self.type is not None and self.type not in BUILT_IN_TERMS:
            raise ValueError(f"type: {unknown_name(self.type, sorted(BUILT_IN_TERMS))}")
        if self.type is not None and self.non_negative:
            raise ValueError(f"non_negative is for your own functions; {self.type!r} knows it itself")
        return self

    def reads(self) -> frozenset[str]:
        """Fields of `PackedBatch` that it reads or, being your own function, may read, as far as rewards go."""
        return frozenset({"advantages", "rewards"}) if self.type is None else BUILT_IN_TERMS[self.type].needs

    def is_non_negative(self) -> bool:
        """Whether the term is never below 0."""
        return self.non_negative if self.type is None else BUILT_IN_TERMS[self.type].non_negative


class LossSection(Section):
    """`[loss]`: the terms; `path` and `kwargs` alone (prime-rl's form) are a composite of one term named `loss`."""

    terms: list[TermSection] = Field(default_factory=list)
    path: str | None = None
    kwargs: Arguments = Field(default_factory=dict)
    not_finite: Literal["raise", "skip_step"] = "raise"
    combination: Literal["sum", "pcgrad"] = "sum"
    """How the terms' gradients become one; `pcgrad` projects conflicts out, and runs the policy twice a step."""
    segment_ends: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Texts after which a segment of a completion ends, for terms that look at segments: `[". ", "\\n"]`."""
    parameter_cosines_every: int = Field(default=0, ge=0)
    """Steps between two comparisons of the terms' gradients with respect to all parameters; 0 is never."""

    @model_validator(mode="after")
    def _terms_or_path(self) -> LossSection:
        if self.path is not None and self.terms:
            raise ValueError("give either terms or path, and not both")
        if self.path is None and not self.terms:
            raise ValueError("no terms: add [[loss.terms]] tables, or path = \"package.module.function\"")
        if self.path is None and self.kwargs:
            raise ValueError("kwargs without path: give each term its own kwargs")
        names = [term.name for term in self.terms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"terms: the name {twice[0]!r} is used twice")
        return self

    def all_terms(self) -> list[TermSection]:
        """The terms, prime-rl's form included."""
        if self.path is not None:
            return [TermSection(name="loss", path=self.path, kwargs=self.kwargs)]
        return self.terms


class OptimSection(Section):
    """`[optim]`: AdamW, one step for each batch of rollouts."""

    steps: int = Field(ge=0)
    learning_rate: Scheduled
    learning_rate_factor: Moves = 1.0
    """Multiplies the learning rate: the place for a controller."""
    betas: tuple[Fraction, Fraction] = Field(default=(0.9, 0.95), strict=False)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clipping: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the whole gradient; 0 does not clip."""
    micro_batch_size: Positive = 64
    """Sequences in one forward pass of one rank; changes memory and speed, never the gradient."""


class DeepSpeedSection(Section):
    """`[deepspeed]`: ZeRO stage, precision, processes; `config` is merged into DeepSpeed's own."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    processes: Positive = 1
    config: dict[str, Any] = Field(default_factory=dict)


class EvaluationSection(Section):
    """`[evaluation]`: what counts as a right answer on the held-out prompts."""

    accuracy: dict[str, str] = Field(default_factory=dict)
    """Domain to the component that is at its best where the answer is right."""


class CheckpointSection(Section):
    """`[checkpoint]`: how often, and how many are kept."""

    every_steps: Positive = 20
    keep: Positive = 2


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
    return parse_job(tree, path.resolve().parent)


def job_from_json(text: str) -> JobConfig:
    """A job as it travels. Raises JobFileError."""
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
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

    data = config.data.model_copy(update={"train": resolve(config.data.train), "heldout": resolve(config.data.heldout)})
    model = config.model.model_copy(
        update={"path": resolve(config.model.path), "teacher": resolve(config.model.teacher)}
    )
    warmup = config.warmup and config.warmup.model_copy(update={"path": resolve(config.warmup.path)})
    return config.model_copy(update={"data": data, "model": model, "warmup": warmup})
