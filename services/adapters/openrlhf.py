"""Rewards for OpenRLHF: the Python file that `--reward.remote_url` names; and what its HTTP form says, for `services.http`.

from services.adapters.openrlhf import reward_function
from services.rewards import Plan

reward_func = reward_function(Plan({"math/correctness": 1.0}))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.adapters.checks import of_label
from services.adapters.source import Missing, Source
from services.rewards import Asking, Plan, Reward
from services.verdicts import Item

END_TEXTS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "</s>")
"""Special tokens that end a response of the usual models; OpenRLHF leaves them in the query."""


def reward_function(
    plan: Plan,
    *,
    domain: str = "math",
    check: str | None = "gold",
    end_texts: Sequence[str] = END_TEXTS,
    addresses: Mapping[str, str] | None = None,
    missing: Missing = "raise",
    timeout_seconds: float = 120.0,
    **settings: Any,
) -> Callable[[list[str], list[str], list[Any]], dict[str, Any]]:
    """A function `reward_func(queries, prompts, labels)`.

    check: the check that a label is; None where labels are JSON objects of checks.
    end_texts: taken off the end of responses.
    missing: 'raise' or a number. OpenRLHF logs what a reward function raises and leaves the sample without a reward,
        which its trainer does not take.
    addresses, settings: as of `services.rewards.Rewards`.
    """
    source = Source(plan, addresses, missing=missing, timeout_seconds=timeout_seconds, **settings)

    def reward_func(queries: list[str], prompts: list[str], labels: list[Any]) -> dict[str, Any]:
        rewards = source.score(make_askings(queries, prompts, labels, domain, check, end_texts))
        return answer(source.numbers(rewards), rewards)

    return reward_func


def make_askings(
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[Any],
    domain: str,
    check: str | None,
    end_texts: Sequence[str] = END_TEXTS,
) -> list[Asking]:
    """What OpenRLHF asks for. Raises ValueError for lists of different lengths, and, with the place, for a query that does
    not hold its prompt.
    """
    if not len(queries) == len(prompts) == len(labels):
        raise ValueError(
            f"{len(queries)} queries, {len(prompts)} prompts and {len(labels)} labels; there must be as many of each"
        )
    return [
        Asking(domain, Item(str(place), prompt, _response(place, query, prompt, end_texts), of_label(label, check)))
        for place, (query, prompt, label) in enumerate(zip(queries, prompts, labels, strict=True))
    ]


def answer(numbers: Sequence[float], rewards: Sequence[Reward]) -> dict[str, Any]:
    """What OpenRLHF takes: `rewards`, `scores` and numbers for its log; each a list, but a number for a single query."""
    names = dict.fromkeys(name for reward in rewards for name in reward.scored.components)
    logs = {
        name: [reward.scored.components[name] for reward in rewards]
        for name in names
        if all(name in reward.scored.components for reward in rewards)
    }
    if len(numbers) == 1:
        return {"rewards": numbers[0], "scores": numbers[0], "extra_logs": {name: one for name, (one,) in logs.items()}}
    return {"rewards": list(numbers), "scores": list(numbers), "extra_logs": logs}


def _response(place: int, query: str, prompt: str, end_texts: Sequence[str]) -> str:
    """What follows the prompt, without the special tokens at its end."""
    start = query.find(prompt.strip())
    if start < 0:
        raise ValueError(
            f"query {place} does not hold its prompt, so that nobody can tell where the response begins; "
            "was the prompt too long for the model?"
        )
    response = query[start + len(prompt.strip()) :]
    while True:
        stripped = response.rstrip()
        ends = [text for text in end_texts if stripped.endswith(text)]
        if not ends:
            return response
        response = stripped.removesuffix(max(ends, key=len))
