"""Where adapters get their rewards: a plan, its clients, and what becomes of a reward that is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from services.rewards import Asking, AsyncRewards, Plan, Reward, Rewards

Missing = float | Literal["raise"] | None
"""What a missing reward becomes: an error, a number that its user chose, or None for trainers that can leave a response out."""


class MissingRewardError(RuntimeError):
    """A response has no reward, and nobody has said what to take instead."""


class Source:
    """Scores for one adapter. Threads may share it, and asyncio loops that run one after the other.

    It opens its channels at the first call, so a process may fork before that.
    """

    def __init__(
        self,
        plan: Plan,
        addresses: Mapping[str, str] | None = None,
        *,
        missing: Missing = "raise",
        timeout_seconds: float = 120.0,
        **settings: Any,
    ) -> None:
        """
        addresses, settings: as of `services.rewards.Rewards`.
        missing: what a missing reward becomes.
        timeout_seconds: for one call, retries included.
        """
        if missing is not None and missing != "raise" and (isinstance(missing, (str, bool)) or missing != missing):
            raise ValueError(f"missing is {missing!r}; it must be 'raise', a number or None")
        self.plan = plan
        self.timeout_seconds = timeout_seconds
        self._missing: Missing = missing
        self._arguments = (plan, addresses)
        self._settings = settings
        self._rewards = Rewards(plan, addresses, **settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._async_rewards: AsyncRewards | None = None

    def score(self, askings: Sequence[Asking]) -> list[Reward]:
        """A reward for each, in order. Raises what `Rewards.score` raises."""
        found = self._rewards.score(askings, self.timeout_seconds)
        return [found[asking.item.id] for asking in askings]

    async def score_async(self, askings: Sequence[Asking]) -> list[Reward]:
        """As `score`, for asyncio."""
        loop = asyncio.get_running_loop()
        if self._async_rewards is None or self._loop is not loop:  # channels belong to the loop that opened them
            self._async_rewards, self._loop = AsyncRewards(*self._arguments, **self._settings), loop
        found = await self._async_rewards.score(askings, self.timeout_seconds)
        return [found[asking.item.id] for asking in askings]

    def totals(self, rewards: Sequence[Reward]) -> list[float | None]:
        """The total of each, or what was chosen for it. Raises MissingRewardError where that is 'raise'."""
        absent = [reward for reward in rewards if reward.total is None]
        if absent and self._missing == "raise":
            raise MissingRewardError(
                f"{len(absent)} of {len(rewards)} responses have no reward; the first: {why(absent[0])}. "
                "`missing` says what to take instead"
            )
        return [self._missing if reward.total is None else reward.total for reward in rewards]  # pyright: ignore[reportReturnType]

    def numbers(self, rewards: Sequence[Reward]) -> list[float]:
        """As `totals`, for trainers that know numbers only. Raises MissingRewardError where None was chosen, too."""
        totals = self.totals(rewards)
        if None in totals:
            raise MissingRewardError(
                "a response has no reward, and this trainer takes no None; choose a number or 'raise'"
            )
        return [total for total in totals if total is not None]


def why(reward: Reward) -> str:
    """Why a reward has no total: scorers, reasons and fields, never texts."""
    scored = reward.scored
    if scored.missing:
        return "; ".join(
            f"{name}: {reason}: {scored.messages.get(name, '')}" for name, reason in scored.missing.items()
        )
    return "no component that its scorers gave has a weight; they gave " + (", ".join(scored.components) or "none")
