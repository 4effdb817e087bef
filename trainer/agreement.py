"""What the tables of a job file must agree on among each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.names import unknown_name
from trainer.normalisation import compares_within_group

if TYPE_CHECKING:
    from trainer.config import JobConfig


def check_agreement(job: JobConfig) -> None:
    """Raises ValueError for the first disagreement; the message names the fields."""
    _check_gates_and_order(job)
    _check_groups(job)
    _check_accuracy(job)


def _check_gates_and_order(job: JobConfig) -> None:
    weighted = job.rewards.weighted()
    for gate in job.advantage.gates:
        if gate in weighted:
            raise ValueError(f"advantage.gates: {gate!r} has a weight too; a gate multiplies: take its weight away")
        if gate.split("/")[0] not in job.scorer_names():
            raise ValueError(f"advantage.gates: {gate!r} belongs to no scorer of [rewards.scorers]")
    if job.advantage.order and set(job.advantage.order) != set(weighted):
        raise ValueError(
            f"advantage.order must name the components that have weights and no others: {', '.join(weighted)}"
        )


def _check_groups(job: JobConfig) -> None:
    alone = job.rollout.samples_per_prompt == 1 and job.advantage.estimator == "group"
    reads = any("advantages" in term.reads() for term in job.loss.all_terms())
    if alone and reads and compares_within_group(job.advantage.normalise):
        raise ValueError(
            f"rollout.samples_per_prompt: 1 sample has no group to be compared with, so every advantage under normalise"
            f" {job.advantage.normalise!r} would be 0: set it to 2 or more, or take normalise = 'none' or"
            " 'reinforce_plus_plus', or [advantage] estimator = \"gae\""
        )


def _check_accuracy(job: JobConfig) -> None:
    for domain, component in job.evaluation.accuracy.items():
        if domain not in job.rewards.scorers:
            raise ValueError(f"evaluation.accuracy: {unknown_name(domain, sorted(job.rewards.scorers))}")
        if component.split("/")[0] not in job.rewards.scorers[domain]:
            raise ValueError(
                f"evaluation.accuracy.{domain}: {component!r} belongs to no scorer of that domain:"
                f" {', '.join(job.rewards.scorers[domain])}"
            )
    without = sorted(set(job.rewards.scorers) - set(job.evaluation.accuracy))
    if job.data.heldout is not None and without:
        raise ValueError(
            f"evaluation.accuracy names no component for domain {without[0]!r}; data.heldout needs one for each domain"
            " of [rewards.scorers]"
        )
