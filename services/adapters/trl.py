"""Rewards for TRL: a function for `GRPOTrainer(reward_funcs=[...])` and its other trainers with rewards.

from services.adapters.trl import reward_func
from services.rewards import Plan

trainer = GRPOTrainer(model, reward_funcs=[reward_func(Plan({"math/correctness": 1.0}), {"gold": "answer"})], ...)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from services.adapters.checks import CheckColumns, pick
from services.adapters.source import Missing, Source
from services.conversation import Conversation, prompt_text, response_text
from services.rewards import Asking, Plan, Reward
from services.verdicts import Item

RewardFunc = Callable[..., list[float | None]]


def reward_func(
    plan: Plan,
    checks: CheckColumns = ("gold",),
    *,
    domain: str = "math",
    domain_column: str | None = None,
    addresses: Mapping[str, str] | None = None,
    missing: Missing = "raise",
    timeout_seconds: float = 120.0,
    name: str = "assay",
    **settings: Any,
) -> RewardFunc:
    """The weighted sum of a plan as a reward function of TRL's.

    checks: columns of the data set that become checks of the items.
    domain: of all rows; domain_column: the column that says it for each row.
    missing: 'raise', a number, or None. TRL leaves a response out of its group where every reward function says None; where
        another one gives a number, TRL adds up what is there, so that None counts as 0 in that sum.
    name: what TRL's metrics call it; it logs `NAME/COMPONENT` (mean) and `NAME/missing` (share) beside the reward, and
        each response's labels as the column `NAME/labels` of the completions.
    addresses, settings: as of `services.rewards.Rewards`.
    The function raises MissingRewardError, and ValueError for a column that is not there.
    """
    source = Source(plan, addresses, missing=missing, timeout_seconds=timeout_seconds, **settings)

    def reward(
        prompts: Sequence[Conversation],
        completions: Sequence[Conversation],
        log_extra: Callable[[str, list[str]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        rows = {column: values for column, values in columns.items() if isinstance(values, list)}
        askings = []
        for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            row = {column: values[place] for column, values in rows.items()}
            item = Item(str(place), prompt_text(prompt), response_text(completion), pick(checks, row))
            askings.append(Asking(domain if domain_column is None else row[domain_column], item))
        rewards = source.score(askings)
        if log_metric is not None:
            for metric, value in _means(rewards).items():
                log_metric(f"{name}/{metric}", value)
        if log_extra is not None:
            log_extra(f"{name}/labels", [", ".join(one.scored.labels.values()) for one in rewards])
        return source.totals(rewards)

    reward.__name__ = reward.__qualname__ = name
    return reward


def _means(rewards: Sequence[Reward]) -> dict[str, float]:
    """The mean of each component over the responses that have it, and the share without a reward."""
    values: dict[str, list[float]] = {}
    for reward in rewards:
        for component, value in reward.scored.components.items():
            values.setdefault(component, []).append(value)
    absent = fmean(reward.total is None for reward in rewards) if rewards else 0.0
    return {component: fmean(found) for component, found in values.items()} | {"missing": absent}
