"""The tables of the job file, but those about losses."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from services.addresses import PORTS
from services.rollout.limits import MAX_STOP_CHARACTERS, MAX_STOP_STRINGS
from trainer.combination import Combination, CombinationKind
from trainer.group_section import GroupsSection
from trainer.loss_sections import TermSection, check_names
from trainer.names import unknown_name
from trainer.normalisation import Normalisation
from trainer.overlong import Overlong, Truncated
from trainer.places import Moves, Scheduled
from trainer.section import Fraction, Positive, Section

Beta = Annotated[float, Field(ge=0, lt=1)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]


class JobSection(Section):
    """`[job]`: what the run is called and how stubborn it is."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Letters, digits, dots, dashes and underscores, at most 63."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the order of the data, of sampling, and of new parameters."""
    max_attempts: Positive = 3
    """How often a crashed trainer is started again from its checkpoint."""


class ModelSection(Section):
    """`[model]`: the policy to begin with."""

    path: str = Field(min_length=1)
    """A local directory with a Hugging Face causal language model and its tokenizer."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass: slower, and less memory."""
    teacher: Annotated[str, Field(min_length=1)] | None = None
    """A frozen model with the same vocabulary, for terms that distil."""
    teacher_by: Literal["trainer", "service"] = "trainer"
    """Who runs the teacher: `trainer` holds a copy in each of its processes; `service` has the rollout service score each
    completion once, which serves terms that read `teacher_logprobs` and none that compare whole distributions."""

    @model_validator(mode="after")
    def _there_is_a_teacher(self) -> ModelSection:
        if self.teacher_by == "service" and self.teacher is None:
            raise ValueError("teacher_by: the service has nothing to run: name a model directory as teacher")
        return self


class WarmupSection(Section):
    """`[warmup]`: supervised steps before any rollout.

    On JSON lines with `prompt` and `completion`, or with `prompt`, `chosen` and `rejected`.
    """

    path: str = Field(min_length=1)
    """The rows."""
    steps: Positive
    """Optimizer steps."""
    batch_size: Positive = 64
    """Rows of one optimizer step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of AdamW, at every step."""
    terms: list[TermSection] = Field(default_factory=list)
    """The loss of the warm-up; without any it is one `sft`. The reference policy of its terms is the model it begins with."""

    @model_validator(mode="after")
    def _names_differ(self) -> WarmupSection:
        check_names([term.name for term in self.terms])
        return self


class EnvironmentSection(Section):
    """`[rollout.environment]`: a tool or a partner that answers the policy, so that a completion has several turns."""

    path: str = Field(min_length=1)
    """Import path (`pkg.mod:Class`) of your own class; see `services.queue.environment`."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the class."""
    max_turns: Positive = 8
    """Turns of the policy in one completion."""
    reply_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Longest time for one reply; a completion whose environment takes longer is missing."""


class RolloutSection(Section):
    """`[rollout]`: how the policy is sampled for one optimizer step."""

    prompts_per_step: Positive
    """Groups of an optimizer step."""
    samples_per_prompt: Positive
    """Completions of a group."""
    max_new_tokens: Positive
    """Longest completion; one that reaches it is cut off."""
    truncated: Truncated = "keep"
    """What becomes of completions that were cut off. `keep`: they are like any other; `mask`: the others of their group are
    compared with them, and nothing is trained on them; `drop`: they are not even compared with; `penalise`: they are kept,
    and length costs reward before it comes to the end."""
    penalised_tokens: Positive | None = None
    """Of `penalise`: the last tokens before `max_new_tokens`, over which the penalty grows from 0 to 1; a fifth of it by
    default."""
    length_penalty: Annotated[float, Field(gt=0)] | None = None
    """Of `penalise`: what the penalty weighs in the reward; 1 by default."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Divides the logits of the sampler."""
    top_p: Fraction = 1.0
    """The likeliest tokens that make up this much probability are sampled."""
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Tokens less likely than this share of the likeliest one are not sampled."""
    stop: Annotated[list[StopText], Field(max_length=MAX_STOP_STRINGS)] = Field(default_factory=list)
    """Texts that end a completion, at most 16 of at most 256 characters; the text is cut before the first of them."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What samples. `assay run` starts it; a submitted job is refused where the rollout service runs another."""
    transfer: Literal["files", "nccl"] = "files"
    """How new weights come to the engine: from the folder that the trainer writes, or with `vllm` on GPUs of its own from the
    trainer's GPU over NCCL. The folder is written in either case."""
    environment: EnvironmentSection | None = None
    """What answers the policy between its turns."""
    max_staleness: Annotated[int, Field(ge=0, le=1000)] = 0
    """Policy versions by which a token may be older than the weights that learn from it. 0 samples, then trains; from 1 on
    both go on at the same time."""
    resample: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Groups sampled for a step, as a multiple of `prompts_per_step`, to replace those without signal; 1 replaces none."""
    canary_tolerance: Annotated[float, Field(gt=0)] | None = None
    """Largest difference in nats between the log-probabilities of the trainer and the engine; by default that of the dtype."""
    record: bool = False
    """Whether every group that is trained on is written to `rollouts.jsonl` in the run's folder, texts and scores."""
    prompts_per_task: Positive = 16
    """Prompts in one Celery task."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Longest time for a task. A group that has not come twice this long after those that were asked for before it is asked
    for again, once."""

    @model_validator(mode="after")
    def _transfer_has_its_engine(self) -> RolloutSection:
        if self.transfer == "nccl" and self.engine != "vllm":
            raise ValueError(f"transfer = 'nccl' needs engine = 'vllm'; {self.engine!r} takes 'files'")
        return self

    @model_validator(mode="after")
    def _penalty_is_whole(self) -> RolloutSection:
        if self.truncated != "penalise" and (self.penalised_tokens is not None or self.length_penalty is not None):
            raise ValueError("penalised_tokens and length_penalty need truncated = 'penalise'")
        if self.penalised_tokens is not None and self.penalised_tokens > self.max_new_tokens:
            raise ValueError(f"penalised_tokens must be at most max_new_tokens, {self.max_new_tokens}")
        return self

    def overlong(self) -> Overlong:
        """What becomes of completions that are too long."""
        cache = self.penalised_tokens or max(1, self.max_new_tokens // 5)
        weight = 1.0 if self.length_penalty is None else self.length_penalty
        return Overlong(self.truncated, self.max_new_tokens, cache, weight)


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
    """How often a scorer that does not answer is asked."""

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
        for name in self.custom:
            if name in PORTS or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(
                    f"custom: {name!r} cannot be the name of a scorer of your own: letters, digits and underscores,"
                    f" and none of {', '.join(PORTS)}"
                )
        for name in sorted(set(self.custom) - named):
            raise ValueError(
                f"custom: {name!r} judges nothing: name it in a list of [rewards.scorers], or take it away"
            )
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
    """How the rewards of a group become advantages."""
    combine: CombinationKind = "weighted_sum"
    """How the components of a completion become one reward."""
    gates: list[str] = Field(default_factory=list)
    """Components that multiply the weighted sum of the others, for `combine = "gated"`."""
    order: list[str] = Field(default_factory=list)
    """Weighted components from the most important on, for `combine = "lexicographic"`."""
    whiten: bool = False
    """Whether the advantages of a whole step get mean 0 and spread 1 after they were normalised."""
    drop_zero_signal: bool = False
    """Whether groups whose advantages are all 0 are left out of the step, also for the terms that use none."""
    groups: GroupsSection = GroupsSection()
    """Which completions are compared with each other; those of one prompt by default."""

    @model_validator(mode="after")
    def _combination_is_whole(self) -> AdvantageSection:
        self.combination()
        return self

    def combination(self) -> Combination:
        """How components are combined. Raises ValueError."""
        return Combination(self.combine, tuple(self.gates), tuple(self.order))


class OptimSection(Section):
    """`[optim]`: AdamW, one step for each batch of rollouts."""

    steps: int = Field(ge=0, le=10**9)
    """Optimizer steps of reinforcement learning; 0 is a warm-up alone."""
    learning_rate: Scheduled
    """Of AdamW."""
    learning_rate_factor: Moves = 1.0
    """Multiplies the learning rate: the place for a controller."""
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.95), strict=False)
    """How slowly AdamW's means of the gradient and of its square forget."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Of matrices; biases and norms have none."""
    gradient_clipping: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the whole gradient; 0 does not clip."""
    micro_batch_size: Positive = 64
    """Sequences in one forward pass of one rank; changes memory and speed, never the gradient."""


def _check_whole(value: Any) -> Any:
    """Literal alone takes `true` for 1."""
    if type(value) is not int:
        raise ValueError("must be 0, 1, 2 or 3")
    return value


class DeepSpeedSection(Section):
    """`[deepspeed]`: how the trainer is spread and how exactly it computes."""

    zero_stage: Annotated[Literal[0, 1, 2, 3], BeforeValidator(_check_whole)] = 0
    """What the processes share out: nothing, optimizer states, gradients too, parameters too."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the parameters in forward and backward passes."""
    processes: Positive = 1
    """Trainer processes, one for each GPU where there are any."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Merged into DeepSpeed's own configuration; keys that the trainer sets are refused, with the place to set them."""


class EvaluationSection(Section):
    """`[evaluation]`: what counts as a right answer on the held-out prompts."""

    accuracy: dict[str, str] = Field(default_factory=dict)
    """Domain to the component that is at its best where the answer is right."""


class CheckpointSection(Section):
    """`[checkpoint]`: how often, and how many are kept."""

    every_steps: Positive = 20
    """Optimizer steps between two checkpoints; the last step of reinforcement learning has one too."""
    keep: Positive = 2
    """The newest ones that stay on disk."""
