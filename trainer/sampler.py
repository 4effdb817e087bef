"""What the loop asks of the services, on every rank: rank 0 talks to them, the others get what it got."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from transformers import AutoTokenizer

from services.experience import Experience, ScoredGroup, experience_from_bytes, experience_to_bytes
from services.verdicts import Component
from trainer.checkpoint import publish
from trainer.config import JobFileError
from trainer.data import Prompt, draw, read_prompts, within
from trainer.engine import Engine
from trainer.evaluation import evaluate
from trainer.names import unknown_name
from trainer.preflight import check_components
from trainer.report import Accuracy
from trainer.rollouts import Rollouts, Weights
from trainer.run import Run

KEPT_VERSIONS = 2
SEED_STRIDE = 1_000_003


class Sampler:
    """Publishes the policy and collects its scored rollouts. Every method is a collective: all ranks call it."""

    def __init__(self, run: Run, engine: Engine, start: Path, needs_reference: bool) -> None:
        """Checks the job against what the scorers say of themselves. Raises JobFileError, DataError, ServiceError."""
        self._run, self._engine, self._start = run, engine, start
        self._tokenizer = AutoTokenizer.from_pretrained(start, local_files_only=True)
        self._prompts = read_prompts(Path(run.config.data.train), list(run.config.rewards.scorers))
        self._components: dict[str, Component] = {}
        self.metrics: dict[str, float] = {}
        """Of the data of the step that was collected last."""
        self.seconds = {"rollouts": 0.0, "publish": 0.0, "evaluation": 0.0}
        self._rollouts: Rollouts | None = None
        if run.group.rank == 0:
            self._rollouts = Rollouts(run.config, run.progress.job_id, run.progress.attempt, needs_reference)
            self._components = self._check_scorers(self._rollouts)

    @property
    def calls(self) -> dict[str, int]:
        """Calls made by this attempt and its collectors, by service; on rank 0."""
        return dict(self._rollouts.calls) if self._rollouts else {}

    def publish(self, version: int) -> None:
        """Returns once the policy is sampled from the engine's weights."""
        began = time.monotonic()
        folder = self._run.run_dir / "weights" / str(version)
        published = publish(self._engine, self._tokenizer, folder, self._run.group)
        if self._rollouts is not None:
            self._rollouts.publish(Weights(folder, version, published.sha256))
            for old in folder.parent.iterdir():
                if old.name.isdigit() and not version - KEPT_VERSIONS < int(old.name) <= version:
                    shutil.rmtree(old, ignore_errors=True)
        self.seconds["publish"] += time.monotonic() - began

    def anchor(self) -> None:
        """Makes the model that RL started from the reference policy, where a term needs one."""
        if self._rollouts is not None:
            self._rollouts.publish_reference(Weights(self._start, version=0, sha256=""))

    def collect(self, step: int, max_difficulty: float | None = None) -> list[ScoredGroup]:
        """The scored groups of an optimizer step, in the order of its prompts. Raises RolloutError, and DataError where no
        prompt is as easy as that."""
        began = time.monotonic()
        config = self._run.config

        eligible = within(self._prompts, max_difficulty)
        self.metrics = {} if max_difficulty is None else {"data/max_difficulty": max_difficulty, "data/eligible": len(eligible)}

        def collect(rollouts: Rollouts) -> bytes:
            prompts = draw(eligible, config.job.seed, step, config.rollout.prompts_per_step)
            groups = rollouts.collect(
                f"step-{step}",
                prompts,
                samples=config.rollout.samples_per_prompt,
                temperature=config.rollout.temperature,
                top_p=config.rollout.top_p,
                seed=config.job.seed * SEED_STRIDE + step,
            )
            return experience_to_bytes(Experience(key=str(step), groups=tuple(groups)))

        groups = experience_from_bytes(self._run.group.broadcast(collect(self._rollouts) if self._rollouts else None)).groups
        self.seconds["rollouts"] += time.monotonic() - began
        return list(groups)

    def evaluate(self, when: str) -> Accuracy | None:
        """Held-out accuracy of the published weights; on rank 0, None elsewhere and where there is no held-out set."""
        began = time.monotonic()
        accuracy = None
        if self._rollouts is not None:
            accuracy = evaluate(when, self._run.config, self._rollouts, self._components, self._run.run_dir)
        self._run.group.barrier()
        self.seconds["evaluation"] += time.monotonic() - began
        return accuracy

    def _check_scorers(self, rollouts: Rollouts) -> dict[str, Component]:
        described = rollouts.describe_scorers()
        components = {name: component for found, _ in described.values() for name, component in found.items()}
        check_components(self._run.config, components)
        keys = {
            domain: frozenset[str]().union(*(described[scorer][1] for scorer in scorers))
            for domain, scorers in self._run.config.rewards.scorers.items()
        }
        for prompt in self._prompts:
            _check_keys(prompt, keys[prompt.domain])
        return components


def _check_keys(prompt: Prompt, known: frozenset[str]) -> None:
    for key in prompt.checks:
        if key not in known:
            raise JobFileError([f"data.train: prompt {prompt.id!r}: checks: {unknown_name(key, sorted(known))}"])
