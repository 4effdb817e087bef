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
    _check_resampling(job)
    _check_length_penalty(job)
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
    groups = job.advantage.groups
    if groups.mixes and job.advantage.estimator == "gae":
        raise ValueError(
            f"advantage.groups: by = {groups.by!r} says what completions are compared with, and estimator = 'gae' compares"
            " them with a value head: take one of the two away"
        )
    if groups.mixes and job.rollout.resample > 1:
        raise ValueError(
            f"rollout.resample is {job.rollout.resample:g}: it replaces prompts whose completions got equal rewards, and"
            f" advantage.groups with by = {groups.by!r} compares them with others: take one of the two away"
        )
    alone = job.rollout.samples_per_prompt == 1 and job.advantage.estimator == "group" and not groups.mixes
    reads = any("advantages" in term.reads() for term in job.loss.all_terms())
    if alone and reads and compares_within_group(job.advantage.normalise):
        raise ValueError(
            f"rollout.samples_per_prompt: 1 sample has no group to be compared with, so every advantage under normalise"
            f" {job.advantage.normalise!r} would be 0: set it to 2 or more, or take normalise = 'none' or"
            " 'reinforce_plus_plus', or [advantage.groups] of several prompts, or [advantage] estimator = \"gae\""
        )


def _check_resampling(job: JobConfig) -> None:
    if job.rollout.resample > 1 and job.rollout.samples_per_prompt == 1:
        raise ValueError(
            f"rollout.resample is {job.rollout.resample:g}: it replaces groups whose completions got equal rewards, and"
            " with samples_per_prompt = 1 every group is one: set that to 2 or more, or take resample away"
        )


def _check_length_penalty(job: JobConfig) -> None:
    """The penalty is a component like others, and never above 0."""
    if job.rollout.truncated != "penalise":
        return
    if job.advantage.combine in ("gated", "lexicographic"):
        raise ValueError(
            f"rollout.truncated: 'penalise' adds to the reward, and combine = {job.advantage.combine!r} does not add: take"
            " 'weighted_sum' or 'normalise_first', or truncated = 'mask'"
        )
    if job.advantage.normalise == "max_rl":
        raise ValueError(
            "rollout.truncated: 'penalise' can make a reward negative, and normalise = 'max_rl' divides by the mean reward:"
            " take 'group_mean', or truncated = 'mask'"
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
    asking = [*["data.heldout"] * job.data.has_heldout(), *["data.curriculum"] * (job.data.curriculum is not None)]
    if asking and without:
        raise ValueError(
            f"evaluation.accuracy names no component for domain {without[0]!r}; {asking[0]} needs one for each domain"
            " of [rewards.scorers]"
        )
