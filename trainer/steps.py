"""From the scored groups of an optimizer step to the samples that are trained on, and what is told about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.experience import ScoredGroup
from services.rollout.engine import FinishReason
from trainer.advantages import (
    NO_DOMAIN_WEIGHTS,
    Advantages,
    MissingPolicy,
    ScoredCompletion,
    compute_advantages,
)
from trainer.combination import Combination
from trainer.normalisation import Normalisation
from trainer.sample import Sample
from trainer.segments import Segmenter


class BarrenError(RuntimeError):
    """Step after step no rollout was left to train on; the message says why."""


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
    *,
    combination: Combination | None = None,
    whitened: bool = False,
    drop_zero_signal: bool = False,
    domain_weights: Mapping[str, Mapping[str, float]] = NO_DOMAIN_WEIGHTS,
    segmenter: Segmenter | None = None,
) -> Step:
    """Samples for every completion that has its rewards. A completion without tokens teaches nothing and is left out.

    policy_version: that of the trainer, from which staleness is counted. segmenter: says where segments end. The rest is
    for `compute_advantages`; weights are those of this step.

    Raises MissingRewardError, and ValueError where no completion has any of the weighted components.
    """
    combination = combination or Combination()
    flat = [(place, group, scored) for place, group in enumerate(groups) for scored in group.completions]
    names = {*weights, *combination.gates, *(name for each in domain_weights.values() for name in each)}
    result = compute_advantages(
        [
            ScoredCompletion(
                group=place,
                components=scored.components,
                missing=frozenset(name for name in names if name.split("/")[0] in scored.missing),
                domain=group.domain,
            )
            for place, group, scored in flat
        ],
        weights,
        normalise,
        missing,
        combination=combination,
        whitened=whitened,
        drop_zero_signal=drop_zero_signal,
        domain_weights=domain_weights,
    )
    samples = tuple(
        Sample(
            prompt_ids=group.prompt_token_ids,
            completion_ids=scored.completion.token_ids,
            logprobs=scored.completion.logprobs,
            ref_logprobs=scored.ref_logprobs or None,
            advantage=float(result.advantages[row]),
            group=place,
            reward=float(result.rewards[row]),
            domain=group.domain,
            components=scored.components,
            component_advantages=result.named[row],
            segments=segmenter(scored.completion.token_ids) if segmenter else None,
        )
        for row, (place, group, scored) in enumerate(flat)
        if result.kept[row] and scored.completion.token_ids
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
        "group/filtered": float(result.filtered_groups),
        "group/dropped": float(result.dropped_groups),
        "group/dropped_completions": float(result.dropped_completions),
    }
