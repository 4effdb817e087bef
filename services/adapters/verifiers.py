"""Rewards for environments of verifiers, which prime-rl trains on: a function for a task's `rewards`.

    from services.adapters.verifiers import reward
    from services.rewards import Plan

    assay = reward(Plan({"math/correctness": 1.0}), {"gold": "answer"})     # in my_rewards.py

and in the task's configuration, which needs no change of its code: `rewards = {assay = {fn = "my_rewards:assay"}}`. Rubrics,
which verifiers had up to 0.3, take `rubric_func`.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from math import nan
from typing import Any

from services.adapters.checks import CheckColumns, pick
from services.adapters.source import Missing, Source
from services.conversation import Conversation, prompt_text, response_text
from services.rewards import Asking, Plan
from services.verdicts import Item

TaskReward = Callable[[Any, Any], Awaitable[float]]


def reward(
    plan: Plan,
    checks: CheckColumns = ("gold",),
    *,
    domain: str = "math",
    domain_field: str | None = None,
    addresses: Mapping[str, str] | None = None,
    missing: Missing = "raise",
    timeout_seconds: float = 120.0,
    **settings: Any,
) -> TaskReward:
    """A coroutine function `(task, trace)` that scores the trace's last reply.

    checks: fields of the task's data that become checks of the item.
    domain: of all tasks; domain_field: the field that says it for each.
    missing: 'raise', which verifiers records as the trace's error, so that the rollout is not trained on; or a number.
    addresses, settings: as of `services.rewards.Rewards`.
    The components are recorded as metrics of the trace, under their names.
    """
    source = Source(plan, addresses, missing=missing, timeout_seconds=timeout_seconds, **settings)
    ids = itertools.count()

    async def assay(task: Any, trace: Any) -> float:
        row = dict(task)
        item = Item(str(next(ids)), task.prompt_text, trace.last_reply, pick(checks, row))
        rewards = await source.score_async([Asking(domain if domain_field is None else row[domain_field], item)])
        trace.record_metrics(rewards[0].scored.components)
        (number,) = source.numbers(rewards)
        return number

    return assay


def rubric_func(
    plan: Plan,
    checks: CheckColumns | None = None,
    *,
    domain: str = "math",
    domain_field: str | None = None,
    addresses: Mapping[str, str] | None = None,
    missing: Missing = "raise",
    timeout_seconds: float = 120.0,
    **settings: Any,
) -> Callable[..., Awaitable[float]]:
    """A function for `vf.Rubric(funcs=[...])`.

    checks: `answer` and keys of `info` that become checks of the item; without it `answer` is the check `gold`.
    domain: of all rollouts; domain_field: the key of `info` that says it for each.
    missing: a number, or 'raise'. A rubric takes 0 for whatever raises, so that 'raise' does not: the rollout's `error` is set,
        and its reward is NaN. The same is done with whatever else goes wrong.
    addresses, settings: as of `services.rewards.Rewards`.
    """
    source = Source(plan, addresses, missing=missing, timeout_seconds=timeout_seconds, **settings)
    columns = {"gold": "answer"} if checks is None else checks
    ids = itertools.count()

    async def assay(
        prompt: Conversation, completion: Conversation, answer: Any, info: Mapping[str, Any], state: dict[str, Any]
    ) -> float:
        from verifiers.errors import InfraError  # pyright: ignore[reportMissingImports]

        try:
            row = {**info, "answer": answer or None}
            item = Item(str(next(ids)), prompt_text(prompt), response_text(completion), pick(columns, row))
            rewards = await source.score_async([Asking(domain if domain_field is None else row[domain_field], item)])
            (number,) = source.numbers(rewards)
        except Exception as error:
            state["error"] = InfraError(f"{type(error).__name__}: {error}")
            return nan
        return number

    return assay
