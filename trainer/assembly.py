"""The job file's sections as the objects that train: the composite, the engine's settings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.composite import Composite
from trainer.config import JobConfig
from trainer.controller_spec import is_controller
from trainer.controllers import Controller
from trainer.imports import ImportPathError
from trainer.loss_sections import TermSection
from trainer.moving import moving_range
from trainer.names import unknown_name
from trainer.schedule_shapes import ScheduleError
from trainer.term import TermError, make_term

if TYPE_CHECKING:
    from trainer.engine_config import EngineConfig
    from trainer.policy import Policy
    from trainer.term import Term


def make_composite(config: JobConfig) -> Composite:
    """The composite of the job. Raises TermError, ImportPathError."""
    return Composite(
        [_term(section, config) for section in config.loss.all_terms()], config.loss.combination, seed=config.job.seed
    )


def warmup_composite(config: JobConfig) -> Composite:
    """The composite of the warm-up: its own terms, or imitation. Raises TermError, ImportPathError."""
    sections = config.warmup.terms if config.warmup else []
    return Composite([_term(section, config) for section in sections] or [make_term("sft", type="sft")])


def teacher_at_service(config: JobConfig, composite: Composite) -> bool:
    """Whether the rollout service is to bring the teacher's log-probabilities of each completion."""
    return config.model.teacher_by == "service" and "teacher_logprobs" in composite.needs


def wanted_policy(config: JobConfig, start: Path, composite: Composite, *, reference: Path | None = None) -> Policy:
    """The model in `start`, with the value head and the frozen models that the composite asks for. Raises ModelError.

    reference: the model of `ref_logprobs`, where no rollout brings them.
    """
    from trainer.policy import OF_THE_TEACHER, load_policy

    taught = config.model.teacher_by == "trainer" and bool(composite.needs & OF_THE_TEACHER)
    return load_policy(
        start,
        gradient_checkpointing=config.model.gradient_checkpointing,
        value_head="values" in composite.needs,
        teacher=Path(config.model.teacher) if taught and config.model.teacher else None,
        reference=reference if "ref_logprobs" in composite.needs else None,
    )


def probe_terms(config: JobConfig) -> list[str]:
    """A line for each term that cannot be made, that this job cannot feed, or that synthetic tensors show to be no loss.

    In a run without a step no term of `[loss]` is tried: what moves has no value then.
    """
    problems = _warmup_problems(config)
    terms: list[Term] = []
    for section in config.loss.all_terms():
        try:
            term = _term(section, config)
        except (TermError, ImportPathError, ValueError) as error:
            problems.append(f"loss.terms: {error}")
            continue
        terms.append(term)
        problems += [f"loss.terms: {problem}" for problem in [*_unfed(config, term), *_probed(config, term)]]
    return [*problems, *_together(config, terms)] or _unwatched(config, terms)


def _probed(config: JobConfig, term: Term) -> list[str]:
    """The first fault that the probe finds; of a function of one's own also with what samples of each domain have."""
    from trainer.components import components_by_domain, named_components
    from trainer.probe import probe_term

    tried = [named_components(config), *(components_by_domain(config).values() if term.user_function else ())]
    faults = (fault for names in tried for fault in probe_term(term, config.optim.steps, names))
    return list(islice(faults, 1)) if config.optim.steps else []


def engine_config(config: JobConfig) -> EngineConfig:
    """The engine's settings from `[deepspeed]`, `[optim]` and `[loss]`."""
    from trainer.engine_config import EngineConfig

    return EngineConfig(
        zero_stage=config.deepspeed.zero_stage,
        dtype=config.deepspeed.dtype,
        betas=config.optim.betas,
        weight_decay=config.optim.weight_decay,
        gradient_clipping=config.optim.gradient_clipping,
        not_finite=config.loss.not_finite,
        parameter_cosines_every=config.loss.parameter_cosines_every,
        overrides=config.deepspeed.config,
    )


def _term(section: TermSection, config: JobConfig) -> Term:
    return make_term(
        section.name,
        type=section.type,
        path=section.path,
        weight=section.weight,
        kwargs=section.kwargs,
        aggregation=section.aggregation,
        constant=section.aggregation_constant,
        longest=config.rollout.max_new_tokens,
        needs=section.needs,
        scope=section.scope,
    )


FROM_ROLLOUTS = frozenset({"inference_logprobs", "old_logprobs", "advantages", "values", "old_values", "returns"})
"""What a warm-up has not: there are no rollouts, and a value head would not be kept."""

IMITATE_ALL = ("sft", "sft_smoothed")
"""Terms that imitate whatever they see."""

FROM_PAIRS = frozenset({"chosen", "rejected", "rewards", "group_index", "group_tokens", "group_sequences"})
"""What a warm-up has where its rows are pairs."""


def _warmup_problems(config: JobConfig) -> list[str]:
    from trainer.demonstrations import holds_comparisons
    from trainer.probe import probe_term

    if config.warmup is None:
        return []
    paired = holds_comparisons(Path(config.warmup.path))
    if paired and not config.warmup.terms:
        return ["warmup.terms: the rows are pairs, and nothing says how to learn from them: add a term, such as dpo"]
    problems: list[str] = []
    terms: list[Term] = []
    for section in config.warmup.terms:
        try:
            term = _term(section, config)
        except (TermError, ImportPathError, ValueError) as error:
            problems.append(f"warmup.terms: {error}")
            continue
        faults = [f"term {term.name!r}: needs {need}, which only rollouts bring" for need in term.needs & FROM_ROLLOUTS]
        if not paired and (term.needs & FROM_PAIRS or term.scope != "sequence"):
            faults.append(f"term {term.name!r}: needs pairs: give rows with prompt, chosen and rejected in warmup.path")
        if any(isinstance(moving, Controller) for moving in term.places().values()):
            faults.append(
                f"term {term.name!r}: a warm-up takes numbers and schedules; controllers stand in [[loss.terms]]"
            )
        faults += _unreadable(term, config.warmup.steps)
        if paired and section.type in IMITATE_ALL:
            faults.append(f"term {term.name!r}: {section.type!r} imitates the rejected rows too; take 'nll_chosen'")
        faults += [] if faults else [*_unfed(config, term, rollouts=False), *probe_term(term, config.warmup.steps)]
        problems += [f"warmup.terms: {fault}" for fault in faults]
        terms.append(term)
    if not problems and terms and all(_never(term, config.warmup.steps) for term in terms):
        problems.append("warmup.terms: every weight is 0 at every step, so nothing would be trained")
    return problems


def _never(term: Term, steps: int) -> bool:
    """Whether its weight is 0 at every step."""
    return moving_range(term.weight, steps) == (0.0, 0.0)


def _unreadable(term: Term, steps: int) -> list[str]:
    """A line for each schedule of the term that cannot be had or is not finite at some step."""
    faults = []
    for place, moving in term.places().items():
        try:
            moving_range(moving, steps)
        except ScheduleError as error:
            faults.append(f"term {term.name!r}: {place.removeprefix(f'terms.{term.name}.')}: {error}")
    return faults


def _unfed(config: JobConfig, term: Term, *, rollouts: bool = True) -> list[str]:
    """What the term reads and this job does not have."""
    where = f"term {term.name!r}: needs"
    problems = []
    teacher = term.needs & {"teacher_logprobs", "forward_kl", "reverse_kl", "jensen_shannon"}
    if teacher and config.model.teacher is None:
        problems.append(f"{where} a teacher: name a model directory with the same vocabulary as [model] teacher")
    elif teacher and config.model.teacher_by == "service" and (not rollouts or teacher != {"teacher_logprobs"}):
        wanted = "the teacher's whole distributions" if rollouts else "a teacher in a warm-up, which has no rollouts"
        problems.append(
            f'{where} {wanted}; the service gives the log-probabilities of completions: set [model] teacher_by = "trainer"'
        )
    if "segment_index" in term.needs and not (rollouts and config.loss.segment_ends):
        problems.append(f'{where} segments: say where they end, such as [loss] segment_ends = [". ", "\\n"]')
    if "returns" in term.needs and config.advantage.estimator != "gae":
        problems.append(f'{where} returns: set [advantage] estimator = "gae"')
    compares = term.scope if term.scope != "sequence" else "group" if "group_sequences" in term.needs else None
    alone = config.rollout.samples_per_prompt < 2 and not config.advantage.groups.mixes
    if rollouts and compares and alone:
        problems.append(f"{where} {compares}s: set [rollout] samples_per_prompt to 2 or more")
    return problems


def _unwatched(config: JobConfig, terms: Sequence[Term]) -> list[str]:
    """Controllers that watch what a built-in term does not tell, and so would never move. Your own may tell anything."""
    from trainer.probe import told_metrics

    built_in = {term.name: term for term in terms if term.user_function is None}
    problems = []
    for place, value in config.places().items():
        watched = value.get("metric", "") if is_controller(value) and config.optim.steps else ""
        area, name, metric = [*watched.split("/", 2), "", ""][:3]
        if area == "term" and name in built_in:
            told = told_metrics(built_in[name], config.optim.steps)
            if metric not in told:
                problems.append(f"{place}: metric {watched!r}: of term {name!r}, {unknown_name(metric, sorted(told))}")
    return problems


def _together(config: JobConfig, terms: Sequence[Term]) -> list[str]:
    """What the terms and settings of the job cannot be together."""
    problems = []
    steps = config.optim.steps
    if terms and steps and all(_never(term, steps) for term in terms):
        problems.append("loss.terms: every weight is 0 at every step, so nothing would be trained")
    if config.loss.combination == "pcgrad" and len(terms) < 2:
        problems.append("loss.combination: 'pcgrad' removes conflicts between terms, and there is only one; use 'sum'")
    if config.loss.parameter_cosines_every and config.deepspeed.zero_stage == 3:
        problems.append(
            "loss.parameter_cosines_every: ZeRO 3 holds no whole parameters; set it to 0, or deepspeed.zero_stage to 2"
        )
    if config.advantage.estimator == "gae" and not any("returns" in term.needs for term in terms):
        problems.append("advantage.estimator: 'gae' needs a value head that learns: add a term of type = \"value\"")
    return problems
