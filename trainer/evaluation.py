"""Greedy accuracy on the held-out prompts, through the same queue and services as the training's rollouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from services.experience import ScoredGroup
from services.verdicts import Component
from trainer.config import JobConfig
from trainer.orders import Orders, collection_prompt, gather
from trainer.prompt_source import policy_tokenizer, read_heldout
from trainer.report import Accuracy
from trainer.rollouts import Rollouts, greedy_sampling


def evaluate(
    when: str, config: JobConfig, rollouts: Rollouts, components: dict[str, Component], run_dir: Path
) -> Accuracy | None:
    """Accuracy of the published weights; None without a held-out set.

    when: `before` or `after`. What was measured in an earlier attempt at the job is read back, not measured again.
    """
    if not config.data.has_heldout():
        return None
    path = run_dir / f"accuracy_{when}.json"
    if path.exists():
        return Accuracy(**json.loads(path.read_text()))
    prompts = read_heldout(config, policy_tokenizer(config))
    orders = Orders(rollouts, config, f"evaluation-{when}", 1, greedy_sampling(config))
    groups = gather(orders, [collection_prompt(orders.key(str(n)), prompt.id, prompt) for n, prompt in enumerate(prompts)])
    accuracy = measure(groups, config.evaluation.accuracy, components)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(accuracy)))
    partial.replace(path)
    return accuracy


def measure(
    groups: Sequence[ScoredGroup], measures: dict[str, str], components: dict[str, Component]
) -> Accuracy:
    """Counts completions whose measure is at its best; those without it are counted as missing and are in no ratio."""
    right: dict[str, list[bool]] = {}
    missing = 0
    for group in groups:
        component = components[measures[group.domain]]
        best = component.high if component.higher_is_better else component.low
        for scored in group.completions:
            if component.name in scored.components:
                right.setdefault(group.domain, []).append(scored.components[component.name] == best)
            else:
                missing += 1
    flat = [answer for answers in right.values() for answer in answers]
    return Accuracy(
        overall=sum(flat) / len(flat) if flat else None,
        by_domain={domain: sum(answers) / len(answers) for domain, answers in sorted(right.items())},
        scored=len(flat),
        missing=missing,
    )
