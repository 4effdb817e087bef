"""From the scored groups of an optimizer step to the samples that are trained on, and what is told about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.experience import ScoredGroup
from services.rollout.engine import FinishReason
from trainer.advantages import Advantages, MissingPolicy, Normalisation, ScoredCompletion, compute_advantages
from trainer.sample import Sample


@dataclass(frozen=True, slots=True)
class Step:
    """The samples of an optimizer step, and metrics that need no model."""

    samples: tuple[Sample, ...]
    metrics: Mapping[str, float]


def make_step(
    groups: Sequence[ScoredGroup],
    weights: Mapping[str, float],
    normalise: Normalisation,
    missing: MissingPolicy,
    policy_version: int,
) -> Step:
    """Samples for every completion that has its rewards. A completion without tokens teaches nothing and is left out.

    weights: component to its weight at this step.
    policy_version: that of the trainer, from which staleness is counted.
    Raises MissingRewardError, and ValueError where no completion has any of the weighted components.
    """
    flat = [(place, group, scored) for place, group in enumerate(groups) for scored in group.completions]
    result = compute_advantages(
        [
            ScoredCompletion(
                group=place,
                components=scored.components,
                missing=frozenset(name for name in weights if name.split("/")[0] in scored.missing),
            )
            for place, _, scored in flat
        ],
        weights,
        normalise,
        missing,
    )
    samples = tuple(
        Sample(
            prompt_ids=group.prompt_token_ids,
            completion_ids=scored.completion.token_ids,
            logprobs=scored.completion.logprobs,
            ref_logprobs=scored.ref_logprobs or None,
            advantage=float(advantage),
        )
        for (_, group, scored), advantage, kept in zip(flat, result.advantages, result.kept, strict=True)
        if kept and scored.completion.token_ids
    )
    return Step(samples, _metrics(groups, result, policy_version))


def _metrics(groups: Sequence[ScoredGroup], result: Advantages, policy_version: int) -> dict[str, float]:
    scored = [completion for group in groups for completion in group.completions]
    components: dict[str, list[float]] = {}
    missing: dict[str, int] = {}
    for completion in scored:
        for name, value in completion.components.items():
            components.setdefault(name, []).append(value)
        for scorer in completion.missing:
            missing[scorer] = missing.get(scorer, 0) + 1
    lengths = [len(c.completion.token_ids) for c in scored]
    truncated = sum(c.completion.finish_reason is FinishReason.LENGTH for c in scored)
    oldest = min(c.completion.policy_version for c in scored)
    metrics = {f"reward/{name}": sum(values) / len(values) for name, values in components.items()}
    metrics |= {f"missing/{scorer}": float(count) for scorer, count in missing.items()}
    if result.kept.any():
        metrics["reward/total"] = float(result.rewards[result.kept].mean())
    return metrics | {
        "rollout/length": sum(lengths) / len(scored),
        "rollout/truncated": truncated / len(scored),
        "rollout/staleness": float(policy_version - oldest),
        "group/count": float(result.groups),
        "group/zero_signal": float(result.zero_signal_groups),
        "group/dropped": float(result.dropped_groups),
        "group/dropped_completions": float(result.dropped_completions),
    }
