"""What the components of the rewards weigh, everywhere and in single domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.moving import Moving, parse_moving

if TYPE_CHECKING:
    from trainer.job_sections import RewardsSection


@dataclass(frozen=True)
class RewardWeights:
    """Weights that may move. Controllers among them have their state here, so make it once a run."""

    everywhere: Mapping[str, Moving]
    """By component."""
    of_domain: Mapping[str, Mapping[str, Moving]]
    """By domain and component: what differs there."""

    @staticmethod
    def of(section: RewardsSection) -> RewardWeights:
        """The weights of `[rewards.weights]` and `[rewards.domain_weights]`."""
        return RewardWeights(
            everywhere={name: parse_moving(weight) for name, weight in section.weights.items()},
            of_domain={
                domain: {name: parse_moving(weight) for name, weight in weights.items()}
                for domain, weights in section.domain_weights.items()
            },
        )

    def at(self, step: int, total_steps: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """The values at a step: everywhere by component, and by domain and component."""
        everywhere = {name: weight(step, total_steps) for name, weight in self.everywhere.items()}
        of_domain = {
            domain: {name: weight(step, total_steps) for name, weight in weights.items()}
            for domain, weights in self.of_domain.items()
        }
        return everywhere, of_domain

    def places(self) -> dict[str, Moving]:
        """What moves, by place: see `trainer.places`."""
        everywhere = {f"rewards.{name}": weight for name, weight in self.everywhere.items()}
        return everywhere | {
            f"rewards.{domain}.{name}": weight
            for domain, weights in self.of_domain.items()
            for name, weight in weights.items()
        }
