"""What the scorers of a job say of their components, read from their classes: no service has to run for it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from services.server.errors import StartError
from services.verdicts import Component
from trainer.config import JobConfig
from trainer.imports import ImportPathError, load_function

OF_ASSAY = {
    "math": "services.math.scorer.MathScorer",
    "code": "services.code.scorer.CodeScorer",
    "safety": "services.safety.scorer.SafetyScorer",
    "coherence": "services.coherence.scorer.CoherenceScorer",
    "judge": "services.judge.scorer.JudgeScorer",
}

RUBRIC_FILE_VARIABLE = "ASSAY_JUDGE_RUBRIC_FILE"


@dataclass(frozen=True, slots=True)
class Described:
    """What can be told of a job's scorers here."""

    components: dict[str, Component]
    """By name."""
    checks: dict[str, type[BaseModel]]
    """The model of the checks that a scorer takes, by scorer."""
    elsewhere: list[str]
    """Scorers that are neither Assay's nor in `[rewards.custom]`: of their components nothing is known here."""
    problems: list[str]
    """A line for each scorer that cannot be had."""


def described(config: JobConfig) -> Described:
    """The scorers of a job, as far as they can be had here. Imports their modules and makes none of them."""
    found = Described({}, {}, [], [])
    known = {**OF_ASSAY, **config.rewards.custom}
    for name in config.scorer_names():
        if name in known:
            if name == "judge":
                _describe_own_rubrics(found)
            _describe(name, known[name], found)
        elif close := difflib.get_close_matches(name, known, n=1):
            found.problems.append(
                f"rewards.scorers: no scorer is called {name!r}; did you mean {close[0]!r}? One of your own is named in"
                " [rewards.custom]"
            )
        else:
            found.elsewhere.append(name)
    return found


def components_by_domain(config: JobConfig) -> dict[str, list[str]]:
    """The components that samples of each domain have, as far as they are known here, by their scorers or by the job."""
    named = {*config.rewards.weighted(), *config.advantage.gates, *config.evaluation.accuracy.values()}
    known = sorted(named.union(described(config).components))
    everywhere = list(config.rollout.overlong().weights())
    return {
        domain: [*(name for name in known if name.split("/")[0] in scorers), *everywhere]
        for domain, scorers in config.rewards.scorers.items()
    }


def named_components(config: JobConfig) -> list[str]:
    """Those of all domains."""
    return sorted({name for names in components_by_domain(config).values() for name in names})


def _describe_own_rubrics(found: Described) -> None:
    """The judge's components of a file of rubrics, where the variable that gives it to the service is set here too."""
    from services.judge.rubrics import read_rubrics
    from services.judge.scorer import components_of

    try:
        rubrics = read_rubrics(os.environ.get(RUBRIC_FILE_VARIABLE) or None).rubrics
    except StartError as error:
        found.problems.append(f"{RUBRIC_FILE_VARIABLE}: {error}")
        return
    found.components.update({component.name: component for component in components_of(rubrics)})


def _describe(name: str, path: str, found: Described) -> None:
    try:
        scorer = load_function(path)
    except ImportPathError as error:
        found.problems.append(f"rewards.custom.{name}: {error}")
        return
    components: Sequence[Component] = getattr(scorer, "components", ())
    found.components.update({component.name: component for component in components})
    checks = getattr(scorer, "checks", None)
    if isinstance(checks, type) and issubclass(checks, BaseModel):
        found.checks[name] = checks
