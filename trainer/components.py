"""What the scorers of a job say of their components, read from their classes: no service has to run for it."""

from __future__ import annotations

from collections.abc import Sequence

from services.verdicts import Component
from trainer.config import JobConfig
from trainer.imports import ImportPathError, load_function

OF_ASSAY = {
    "math": "services.math.scorer.MathScorer",
    "code": "services.code.scorer.CodeScorer",
    "safety": "services.safety.scorer.SafetyScorer",
    "coherence": "services.coherence.scorer.CoherenceScorer",
}


def named_components(config: JobConfig) -> list[str]:
    """Every component that can be named here: those of scorers that can be had, and those that the job names."""
    named = {*config.rewards.weighted(), *config.advantage.gates, *config.evaluation.accuracy.values()}
    return sorted(named.union(described_components(config)[0]))


def described_components(config: JobConfig) -> tuple[dict[str, Component], list[str]]:
    """The components of the job's scorers by name, and a line for each scorer of the user's own that cannot be had.

    Imports the modules of the scorers and makes none of them. A scorer that is neither Assay's nor in `[rewards.custom]`
    is served by someone else: of its components nothing is known here.
    """
    found: dict[str, Component] = {}
    problems: list[str] = []
    for name in config.scorer_names():
        path = config.rewards.custom.get(name, OF_ASSAY.get(name))
        if path is None:
            continue
        try:
            components: Sequence[Component] = getattr(load_function(path.replace(":", ".")), "components", ())
        except ImportPathError as error:
            problems.append(f"rewards.custom.{name}: {error}")
            continue
        found |= {component.name: component for component in components}
    return found, problems
