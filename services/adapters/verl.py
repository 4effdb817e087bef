"""Rewards for verl: the function that `reward.custom_reward_function` names, in a file of three lines.

from services.adapters.verl import reward_function
from services.rewards import Plan

compute_score = reward_function(Plan({"math/correctness": 1.0}), domain={"openai/gsm8k": "math"})
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from math import nan
from typing import Any

from services.adapters.checks import CheckColumns, of_label, pick
from services.adapters.source import Missing, Source
from services.conversation import prompt_text
from services.rewards import Asking, Plan
from services.verdicts import Item

ComputeScore = Callable[..., Awaitable[dict[str, float]]]


def reward_function(
    plan: Plan,
    *,
    domain: str | Mapping[str, str] = "math",
    check: str | None = "gold",
    checks: CheckColumns = (),
    prompt: str | None = None,
    addresses: Mapping[str, str] | None = None,
    missing: Missing = "raise",
    timeout_seconds: float = 120.0,
    **settings: Any,
) -> ComputeScore:
    """A coroutine function with the arguments of verl's `compute_score`, of which many calls run side by side.

    domain: of all samples, or `data_source` to domain.
    check: the check that `ground_truth` is; None where it is a JSON object of checks.
    checks: more checks, out of `extra_info`.
    prompt: key of `extra_info` that holds the prompt, which verl does not pass. Without it scorers see an empty prompt.
    missing: 'raise', which ends the batch's scoring in verl, or a number; verl takes no None.
    addresses, settings: as of `services.rewards.Rewards`.
    Its result has `score`, and each component that has a weight: NaN where that is missing.
    """
    source = Source(plan, addresses, missing=missing, timeout_seconds=timeout_seconds, **settings)
    ids = itertools.count()

    async def compute_score(
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **_of_verl: Any,
    ) -> dict[str, float]:
        extra = extra_info or {}
        found = of_label(ground_truth, check) | pick(checks, extra)
        item = Item(str(next(ids)), _question(prompt, extra), solution_str, found)
        (reward,) = rewards = await source.score_async([Asking(_domain(domain, data_source), item)])
        (score,) = source.numbers(rewards)
        return {"score": score} | {name: reward.scored.components.get(name, nan) for name in plan.weights}

    return compute_score


def _question(key: str | None, extra: Mapping[str, Any]) -> str:
    if key is None:
        return ""
    if key not in extra:
        raise ValueError(
            f"extra_info has no {key!r} (`prompt` names it); it has {', '.join(map(repr, extra)) or 'nothing'}"
        )
    return prompt_text(extra[key])


def _domain(domain: str | Mapping[str, str], data_source: str) -> str:
    if isinstance(domain, str):
        return domain
    if data_source not in domain:
        raise ValueError(f"no domain for the data source {data_source!r}; `domain` has {', '.join(map(repr, domain))}")
    return domain[data_source]
