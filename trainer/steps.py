"""From the scored groups of an optimizer step to the samples that are trained on, and what is told about them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.experience import ScoredCompletion as Scored
from services.experience import ScoredGroup
from services.rollout.engine import Completion, FinishReason
from trainer.advantages import (
    NO_DOMAIN_WEIGHTS,
    Advantages,
    MissingPolicy,
    ScoredCompletion,
    compute_advantages,
)
from trainer.combination import Combination
from trainer.group_quality import group_metrics
from trainer.grouping import Candidate
from trainer.normalisation import Normalisation
from trainer.overlong import KEEP, Overlong
from trainer.sample import Sample
from trainer.segments import Segmenter

Former = Callable[[Sequence[Candidate], int], list[int]]
"""Gives each completion of an optimizer step its group: `former(candidates, step)`."""


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
    overlong: Overlong = KEEP,
    former: Former | None = None,
) -> Step:
    """Samples for every completion that has its rewards. One of which the policy sampled no token teaches nothing, and
    is left out.

    policy_version: that of the trainer, from which staleness is counted. segmenter: says where segments end. overlong:
    what becomes of completions that were cut off. former: says which completions are compared with each other, where
    that is not by prompt. The rest is for `compute_advantages`; weights are those of this step.

    Raises MissingRewardError, and NothingCountsError where no completion has any of the weighted components.
    """
    combination = combination or Combination()
    weights = {**weights, **overlong.weights()}
    rows = [
        (place, group, replace(scored, components={**scored.components, **overlong.components(scored.completion)}))
        for place, group in enumerate(groups)
        for scored in group.completions
    ]
    flat = [row for row in rows if not overlong.dropped(row[2].completion)]
    candidates = _candidates(flat, weights, domain_weights)
    formed = former(candidates, policy_version) if former else [place for place, _, _ in flat]
    names = {*weights, *combination.gates, *(name for each in domain_weights.values() for name in each)}
    result = compute_advantages(
        [
            ScoredCompletion(
                group=own,
                components=scored.components,
                missing=frozenset(name for name in names if name.split("/")[0] in scored.missing),
                domain=group.domain,
            )
            for own, (_, group, scored) in zip(formed, flat, strict=True)
        ],
        weights,
        normalise,
        missing,
        combination=combination,
        whitened=whitened,
        drop_zero_signal=drop_zero_signal,
        domain_weights=domain_weights,
    )
    kept = [row for row, (_, _, scored) in enumerate(flat) if result.kept[row] and _trained_on(scored, overlong)]
    samples = tuple(_sample(flat[row], row, formed[row], result, policy_version, segmenter) for row in kept)
    metrics = _metrics([scored for _, _, scored in rows], result, policy_version, overlong)
    return Step(samples, metrics | _quality(result, formed, candidates))


_Row = tuple[int, ScoredGroup, Scored]
"""The place of a prompt's group in the step, the group, and a completion of it."""


def _trained_on(scored: Scored, overlong: Overlong) -> bool:
    return _sampled(scored.completion) > 0 and not overlong.masked(scored.completion)


def _sample(
    of: _Row, row: int, group: int, result: Advantages, policy_version: int, segmenter: Segmenter | None
) -> Sample:
    _, prompt, scored = of
    completion = scored.completion
    return Sample(
        prompt_ids=prompt.prompt_token_ids,
        completion_ids=completion.token_ids,
        logprobs=completion.logprobs,
        ref_logprobs=scored.ref_logprobs or None,
        teacher_logprobs=scored.teacher_logprobs or None,
        given=completion.given or None,
        staleness=[policy_version - version for version in _versions(completion)],
        advantage=float(result.advantages[row]),
        group=group,
        reward=float(result.rewards[row]),
        domain=prompt.domain,
        components=scored.components,
        component_advantages=result.named[row],
        segments=segmenter(completion.token_ids) if segmenter else None,
    )


def _quality(result: Advantages, formed: Sequence[int], candidates: Sequence[Candidate]) -> dict[str, float]:
    """How good the groups are, by the completions that have a reward."""
    known = np.flatnonzero(np.isfinite(result.rewards)).tolist()
    told = group_metrics(
        result.rewards[known],
        [formed[row] for row in known],
        [(candidates[row].prompt_id, candidates[row].prompt_ids) for row in known],
        [candidates[row].kind for row in known],
    )
    return {f"group/{name}": value for name, value in told.items()}


def _candidates(
    rows: Sequence[_Row],
    weights: Mapping[str, float],
    domain_weights: Mapping[str, Mapping[str, float]],
) -> list[Candidate]:
    """What groups are formed from. In a reward count the components that some completion of the prompt has, or misses."""
    present: dict[int, set[str]] = {}
    for place, _, scored in rows:
        present.setdefault(place, set()).update(scored.components, scored.missing)
    found = []
    for place, group, scored in rows:
        own = {**weights, **domain_weights.get(group.domain, {})}
        counted = [n for n in sorted(own) if own[n] != 0 and {n, n.split("/")[0]} & present[place]]
        reward = math.fsum(own[name] * scored.components.get(name, math.nan) for name in counted)
        ids, completion = group.prompt_token_ids, scored.completion
        kind = (group.domain, *counted)
        found.append(Candidate(group.prompt_id, kind, ids, completion.token_ids, reward, completion.text))
    return found


def _metrics(scored: Sequence[Scored], result: Advantages, policy_version: int, overlong: Overlong) -> dict[str, float]:
    components: dict[str, list[float]] = {}
    missing: dict[str, int] = {}
    for completion in scored:
        for name, value in completion.components.items():
            components.setdefault(name, []).append(value)
        for scorer in completion.missing:
            missing[scorer] = missing.get(scorer, 0) + 1
    sampled = sum(_sampled(c.completion) for c in scored)
    tokens = sum(len(c.completion.token_ids) for c in scored)
    stale = [policy_version - version for c in scored for version in _sampled_versions(c.completion)]
    truncated = sum(c.completion.finish_reason is FinishReason.LENGTH for c in scored)
    metrics = {f"reward/{name}": sum(values) / len(values) for name, values in components.items()}
    metrics |= {f"missing/{scorer}": float(count) for scorer, count in missing.items()}
    if result.kept.any():
        metrics["reward/total"] = float(result.rewards[result.kept].mean())
    return metrics | {
        "rollout/length": sampled / len(scored),
        "rollout/given": (tokens - sampled) / len(scored),
        "rollout/truncated": truncated / len(scored),
        "rollout/left_out": float(sum(overlong.dropped(c.completion) or overlong.masked(c.completion) for c in scored)),
        "rollout/staleness": float(max(stale, default=0)),
        "rollout/staleness_mean": sum(stale) / max(1, len(stale)),
        "group/count": float(result.groups),
        "group/zero_signal": float(result.zero_signal_groups),
        "group/filtered": float(result.filtered_groups),
        "group/dropped": float(result.dropped_groups),
        "group/dropped_completions": float(result.dropped_completions),
    }


def _versions(completion: Completion) -> Sequence[int]:
    """Of the weights that sampled each token."""
    return completion.token_versions or [completion.policy_version] * len(completion.token_ids)


def _sampled_versions(completion: Completion) -> list[int]:
    """The same, of the tokens that the policy sampled."""
    given = completion.given or [False] * len(completion.token_ids)
    return [version for version, told in zip(_versions(completion), given, strict=True) if not told]


def _sampled(completion: Completion) -> int:
    """How many tokens the policy sampled."""
    return len(completion.token_ids) - sum(completion.given)
