"""Rewards for trainers of other kinds: items go to the scorers of their domain, and components become one number.

    plan = Plan(weights={"math/correctness": 1.0, "safety/toxicity": -0.5}, routes={"math": ("math", "safety")})
    with Rewards(plan) as rewards:
        found = rewards.score([Asking("math", Item("a", "2 + 2 = ?", "It is \\boxed{4}", {"gold": "4"}))], 30.0)
        found["a"].total                                          # 1.0, or None where a component is missing

`AsyncRewards` is the same for asyncio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from services.addresses import SCORERS, address_of
from services.async_scoring import AsyncScoring
from services.scored import Scored
from services.scoring import Scoring
from services.verdicts import Item
from services.wire import ScorerDescription

WEIGHTS: Mapping[str, float] = MappingProxyType({"math/correctness": 1.0, "code/tests": 1.0})
"""What counts where nothing is said: whether the answer is right."""


@dataclass(frozen=True, slots=True)
class Asking:
    """An item and what kind of task it is: `math`, `code`, or the name of any route or scorer."""

    domain: str
    item: Item


@dataclass(frozen=True, slots=True)
class Reward:
    """What an item is worth."""

    total: float | None
    """The weighted sum; None where a component is missing that has a weight, or where none has one. Never a stand-in."""
    scored: Scored


@dataclass(frozen=True, slots=True)
class Plan:
    """Which scorers score the items of a domain, and what their components are worth."""

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    """Full component name to its weight. In an item's total count those that the scorers of its domain declare."""
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Domain to its scorers. A domain without a route is scored by the scorer of its name."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Scorer to checks of every item that does not have the same key itself."""

    def scorers(self, domain: str) -> tuple[str, ...]:
        """The scorers of a domain."""
        return tuple(self.routes.get(domain, (domain,)))

    def by_scorer(self, askings: Sequence[Asking]) -> dict[str, list[Item]]:
        """The items of each scorer."""
        items: dict[str, list[Item]] = {}
        for asking in askings:
            for scorer in self.scorers(asking.domain):
                items.setdefault(scorer, []).append(asking.item)
        return items

    def refuse_unknown(self, descriptions: Mapping[str, ScorerDescription]) -> None:
        """Raises ValueError for a weight of a component that its scorer does not declare: totals would leave it out.

        Scorers of one's own may have components of any name, so no weight is refused before all in the routes have answered.
        """
        own = {scorer for scorers in self.routes.values() for scorer in scorers}.difference(SCORERS)
        if not own <= descriptions.keys():
            return
        declared = {one.name for description in descriptions.values() for one in description.components}
        for name in self.weights:
            scorer = name.partition("/")[0]
            if scorer in descriptions and name not in declared:
                known = ", ".join(one.name for one in descriptions[scorer].components)
                raise ValueError(f"weights: unknown component {name!r}; known: {known}")

    def reward(self, domain: str, scored: Scored, descriptions: Mapping[str, ScorerDescription]) -> Reward:
        """What the scorers said, weighed. descriptions: of the scorers that could be asked what they declare."""
        scorers = self.scorers(domain)
        declared = {one.name for name in scorers if name in descriptions for one in descriptions[name].components}
        weights = {name: weight for name, weight in self.weights.items() if name in declared}
        known = all(name in descriptions for name in scorers)  # else a weight may be of one that is missing
        return Reward(scored.total(weights) if weights and known else None, scored)


def _addresses(plan: Plan, given: Mapping[str, str] | None) -> dict[str, str]:
    """Addresses of Assay's own scorers, of those in the plan's routes and of those that are given."""
    routed = [scorer for scorers in plan.routes.values() for scorer in scorers]
    given = given or {}
    return {name: given.get(name) or address_of(name) for name in dict.fromkeys([*SCORERS, *routed, *given])}


def _rewards(
    plan: Plan, askings: Sequence[Asking], scored: Mapping[str, Scored], descriptions: Mapping[str, ScorerDescription]
) -> dict[str, Reward]:
    plan.refuse_unknown(descriptions)
    return {one.item.id: plan.reward(one.domain, scored[one.item.id], descriptions) for one in askings}


class Rewards:
    """Threads may share it; close it, or use it as a context."""

    def __init__(self, plan: Plan, addresses: Mapping[str, str] | None = None, **settings: Any) -> None:
        """
        addresses: scorer to `host:port`; for those that are not in it, `ASSAY_<SCORER>_ADDRESS` or the default port.
        settings: of `services.scoring.Scoring`: retries, patience_seconds, hedge_seconds.
        Raises services.addresses.UnknownAddressError for a scorer of one's own without an address.
        """
        self.plan = plan
        self._scoring = Scoring(_addresses(plan, addresses), **settings)

    def __enter__(self) -> Rewards:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all channels."""
        self._scoring.close()

    def score(self, askings: Sequence[Asking], timeout_seconds: float, plan: Plan | None = None) -> dict[str, Reward]:
        """A reward for each item, by id; ids are unique.

        plan: another one for this call, of the same scorers.
        Raises ValueError for a domain that nobody scores and a weight of a component that its scorer does not have, and what
        `Scoring.score` raises.
        """
        plan = plan or self.plan
        scored = self._scoring.score(plan.by_scorer(askings), timeout_seconds, plan.options)
        return _rewards(plan, askings, scored, self._scoring.descriptions)


class AsyncRewards:
    """`Rewards` for asyncio, in one loop."""

    def __init__(self, plan: Plan, addresses: Mapping[str, str] | None = None, **settings: Any) -> None:
        self.plan = plan
        self._scoring = AsyncScoring(_addresses(plan, addresses), **settings)

    async def __aenter__(self) -> AsyncRewards:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all channels."""
        await self._scoring.close()

    async def score(
        self, askings: Sequence[Asking], timeout_seconds: float, plan: Plan | None = None
    ) -> dict[str, Reward]:
        """As `Rewards.score`."""
        plan = plan or self.plan
        scored = await self._scoring.score(plan.by_scorer(askings), timeout_seconds, plan.options)
        return _rewards(plan, askings, scored, self._scoring.descriptions)
