"""The job file's sections as the objects that train: the composite, the engine's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.composite import Composite
from trainer.config import JobConfig, TermSection
from trainer.losses.aggregation import Aggregation
from trainer.losses.user import LossPathError
from trainer.term import TermError, make_term

if TYPE_CHECKING:
    from trainer.engine_config import EngineConfig
    from trainer.term import Term


def make_composite(config: JobConfig) -> Composite:
    """The composite of the job. Raises TermError, LossPathError."""
    return Composite([_term(section) for section in config.loss.all_terms()])


def probe_terms(config: JobConfig) -> list[str]:
    """A line for each term that cannot be made, or that synthetic tensors show to be no loss."""
    from trainer.probe import probe_term

    problems = []
    for section in config.loss.all_terms():
        try:
            term = _term(section)
        except (TermError, LossPathError, ValueError) as error:
            problems.append(f"loss.terms: {error}")
            continue
        problems += [f"loss.terms: {problem}" for problem in probe_term(term)]
    return problems


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
        overrides=config.deepspeed.config,
    )


def _term(section: TermSection) -> Term:
    return make_term(
        section.name,
        type=section.type,
        path=section.path,
        weight=section.weight,
        kwargs=section.kwargs,
        aggregation=Aggregation(section.aggregation, section.aggregation_constant),
        needs=section.needs,
    )
