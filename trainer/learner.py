"""One optimizer step of reinforcement learning: from scored groups to new weights, and all numbers that move between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from services.experience import ScoredGroup
from trainer.advantages import NothingCountsError
from trainer.assembly import engine_config, make_composite, wanted_policy
from trainer.batching import MicroBatch, make_micro_batches
from trainer.controllers import Controllers
from trainer.engine import Engine
from trainer.estimation import estimate_advantages
from trainer.group_former import GroupFormer
from trainer.moving import parse_moving
from trainer.reward_weights import RewardWeights
from trainer.run import Run
from trainer.sample import Sample
from trainer.schedules import parse_schedule
from trainer.segments import Segmenter
from trainer.steps import BarrenError, Former, Step, make_step

MOST_BARREN_STEPS = 10
"""How many steps in a row may have nothing to train on before the job is stopped."""


class Learner:
    """The policy under its optimizer, with its loss. Methods are collectives: all ranks call them."""

    def __init__(self, run: Run, start: Path) -> None:
        """Loads the model in `start`. Raises ModelError, TermError, EngineConfigError."""
        config = run.config
        self._run, self._config = run, config
        self.composite = make_composite(config)
        self.engine = Engine(wanted_policy(config, start, self.composite), engine_config(config), run.group)
        self._rewards = RewardWeights.of(config.rewards)
        self._rate = parse_schedule(config.optim.learning_rate)
        self._rate_factor = parse_moving(config.optim.learning_rate_factor)
        most = config.data.max_difficulty
        self._max_difficulty = None if most is None else parse_moving(most)
        places = {**self.composite.places(), **self._rewards.places(), "optim.learning_rate_factor": self._rate_factor}
        if self._max_difficulty is not None:
            places["data.max_difficulty"] = self._max_difficulty
        self.controllers = Controllers(places)
        ends = config.loss.segment_ends
        grouped = config.advantage.groups
        tokenizer: Any = AutoTokenizer.from_pretrained(start, local_files_only=True) if ends or grouped.mixes else None
        self._barren_steps = 0
        self._segmenter = Segmenter(lambda token: tokenizer.decode([token]), ends) if ends else None
        self._former = _former(run, tokenizer, self.composite.compares_pairs) if grouped.mixes else None

    def max_difficulty(self, step: int) -> float | None:
        """Of the prompts that the step is to learn from; None is no limit."""
        return self._max_difficulty(step, self._config.optim.steps) if self._max_difficulty else None

    def learn(self, groups: Sequence[ScoredGroup], step: int) -> dict[str, float]:
        """Takes the optimizer step and moves the controllers; the step's metrics, equal on all ranks.

        A step of which no sample is left changes nothing. Raises BarrenError where that goes on, and what `make_step` and
        `Engine.train_step` raise.
        """
        total = self._config.optim.steps
        weights, domain_weights = self._rewards.at(step, total)
        made = self._made(groups, step, self._former)
        metrics = {**made.metrics, **_told(weights, domain_weights)}
        self._barren_steps = 0 if made.samples else self._barren_steps + 1
        if self._barren_steps >= min(MOST_BARREN_STEPS, total):
            raise BarrenError(_reasons(self._barren_steps, groups, metrics))
        if made.samples:
            rate = self._rate(step, total) * self._rate_factor(step, total)
            batches = self._batches(made.samples)
            result = self.engine.train_step(batches, self.composite, step=step, total_steps=total, learning_rate=rate)
            metrics |= result.metrics
        metrics |= self.controllers.metrics()
        self.controllers.update(metrics)
        return metrics

    def has_signal(self, group: ScoredGroup, step: int) -> bool:
        """Whether the completions of a group have rewards that differ; True where missing ones leave none to compare, for
        `learn` to see to, and False where no component that counts applies to the prompt.

        Raises what `make_step` raises.
        """
        try:
            metrics = self._made([group], step).metrics
        except NothingCountsError:
            return False
        return metrics["group/zero_signal"] == 0 and metrics["rollout/left_out"] < len(group.completions)

    def _made(self, groups: Sequence[ScoredGroup], step: int, former: Former | None = None) -> Step:
        config = self._config
        weights, domain_weights = self._rewards.at(step, config.optim.steps)
        return make_step(
            groups,
            weights,
            config.advantage.normalise,
            config.rewards.missing,
            policy_version=step,
            combination=config.advantage.combination(),
            whitened=config.advantage.whiten,
            drop_zero_signal=config.advantage.drop_zero_signal,
            domain_weights=domain_weights,
            segmenter=self._segmenter,
            overlong=config.rollout.overlong(),
            former=former,
        )

    def _batches(self, samples: Sequence[Sample]) -> list[MicroBatch]:
        group, advantage = self._run.group, self._config.advantage
        batches = make_micro_batches(
            samples,
            self._config.optim.micro_batch_size,
            rank=group.rank,
            world_size=group.world_size,
            whole_groups=self.composite.whole_groups,
        )
        if advantage.estimator == "group":
            return batches
        return estimate_advantages(
            self.engine,
            batches,
            group,
            gamma=advantage.gamma,
            gae_lambda=advantage.gae_lambda,
            whiten=advantage.whiten,
        )


def _former(run: Run, tokenizer: Any, pairs: bool) -> Former:
    grouped = run.config.advantage.groups

    def decode(token_ids: Sequence[int]) -> str:
        return tokenizer.decode(token_ids, skip_special_tokens=True)

    formation = grouped.formation(run.config.rollout.samples_per_prompt)
    return GroupFormer(formation, run.config.job.seed, run.group, decode, grouped.warnings(pairs))


def _reasons(steps: int, groups: Sequence[ScoredGroup], metrics: Mapping[str, float]) -> str:
    missing = Counter(why for group in groups for scored in group.completions for why in scored.missing.items())
    told = [f"{count} scores of {scorer!r} were missing ({reason})" for (scorer, reason), count in missing.items()]
    if metrics["group/filtered"]:
        told.append(
            f"{int(metrics['group/filtered'])} groups had no signal and advantage.drop_zero_signal left them out"
        )
    if metrics["rollout/left_out"]:
        told.append(f"{int(metrics['rollout/left_out'])} completions were cut off and rollout.truncated left them out")
    reasons = "; ".join(told) or "every completion was empty"
    return f"{steps} steps in a row had no rollout to train on; in the last of them {reasons}"


def _told(weights: Mapping[str, float], domain_weights: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    told = {f"weight/{name}": value for name, value in weights.items()}
    for domain, own in domain_weights.items():
        told |= {f"weight/{domain}/{name}": value for name, value in own.items()}
    return told
