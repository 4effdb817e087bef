"""What the loop asks of the services, on every rank: rank 0 talks to them, the others get what it got."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

from transformers import AutoTokenizer

from services.experience import ScoredGroup, groups_from_bytes, groups_to_bytes
from services.verdicts import Component
from trainer.canary import SEQUENCES, TOLERANCE, probe_sequences, probes
from trainer.checkpoint import publish
from trainer.config import JobFileError
from trainer.data import Prompt
from trainer.engine import Engine
from trainer.evaluation import evaluate, measure
from trainer.names import unknown_name
from trainer.nccl import NcclGroup
from trainer.orders import Orders
from trainer.pipeline import Lesson, Pipeline
from trainer.preflight import check_components
from trainer.prompt_stream import MixedPrompts, open_stream
from trainer.report import Accuracy
from trainer.rollouts import Rollouts, Weights, canary_errors, training_sampling
from trainer.run import Run
from trainer.weight_transfer import Sender, send_weights

KEPT_VERSIONS = 2


class Sampler:
    """Publishes the policy and collects its scored rollouts. Every method is a collective: all ranks call it.

    A context manager: nobody waits any more for groups that are under way when the block ends, however it ends.
    """

    def __init__(
        self,
        run: Run,
        engine: Engine,
        start: Path,
        frozen: Mapping[str, Path],
        has_signal: Callable[[ScoredGroup, int], bool],
    ) -> None:
        """Checks the job against what the services say of themselves.

        start: the directory of the model that RL begins with. frozen: role (`reference`, `teacher`) to the directory of
        a model whose log-probabilities of the samples are wanted. has_signal: whether a group teaches anything at a step.
        Raises JobFileError, DataError, ServiceError.
        """
        self._run, self._engine, self._has_signal = run, engine, has_signal
        self._tokenizer = AutoTokenizer.from_pretrained(start, local_files_only=True)
        self._components: dict[str, Component] = {}
        self.metrics: dict[str, float] = {}
        """Of the step that was collected last, and of the update before it; on rank 0."""
        self.seconds = {"rollouts": 0.0, "publish": 0.0, "evaluation": 0.0}
        self._rollouts: Rollouts | None = None
        self._pipeline: Pipeline | None = None
        self._sender: Sender | None = None
        self._is_published = False
        if run.group.rank == 0:
            config = run.config
            self._rollouts = Rollouts(config, run.progress.job_id, run.progress.attempt)
            workers = self._rollouts.check_engine().transfer_workers
            self._sender = Sender(workers, run.group.device, NcclGroup)
            stream = open_stream(config, self._tokenizer)
            self._components = self._check_scorers(self._rollouts, stream)
            samples = config.rollout.samples_per_prompt
            orders = Orders(self._rollouts, config, "train", samples, training_sampling(config))
            self._pipeline = Pipeline(orders, stream, config.rollout, self._judge, config.optim.steps)
            prompts = [prompt.text for prompt in islice(stream.known(), SEQUENCES)]
            for role, directory in frozen.items():
                self._rollouts.publish_frozen(role, Weights(directory, version=0))
        else:
            prompts = []
        positions = getattr(engine.policy.model.config, "max_position_embeddings", None)
        prompts = run.group.gather(prompts)[0]
        self._canary = probe_sequences(prompts, self._tokenizer, positions, run.config.job.seed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pipeline:
            self._pipeline.withdraw()

    @property
    def calls(self) -> dict[str, int]:
        """Calls made by this attempt and its collectors, by service; on rank 0."""
        return dict(self._rollouts.calls) if self._rollouts else {}

    def state_dict(self) -> dict[str, Any]:
        """What was drawn and what comes next, on rank 0."""
        return self._pipeline.state_dict() if self._pipeline else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there. Raises DataError."""
        if self._pipeline:
            self._pipeline.load_state_dict(state)

    def publish(self, version: int) -> None:
        """Returns once the policy is sampled from the engine's weights. Raises CanaryError, ServiceError."""
        began = time.monotonic()
        folder = self._run.run_dir / "weights" / str(version)
        published = publish(self._engine, self._tokenizer, folder, self._run.group)
        canary = probes(self._engine, self._canary)
        section = self._run.config.rollout
        tolerance = section.canary_tolerance or TOLERANCE[self._run.config.deepspeed.dtype]
        weights = Weights(folder, version, published.sha256, canary, tolerance)
        # vLLM starts with the first version, from its files
        is_served = section.transfer == "nccl" and self._is_published and self._transfer(weights)
        self._is_published = True
        if self._rollouts is not None:
            if not is_served:
                self._rollouts.publish(weights)
            for old in folder.parent.iterdir():
                if old.name.isdigit() and not version - KEPT_VERSIONS < int(old.name) <= version:
                    shutil.rmtree(old, ignore_errors=True)
        self.seconds["publish"] += time.monotonic() - began

    def collect(self, step: int, max_difficulty: float | None = None) -> list[ScoredGroup] | None:
        """The scored groups of an optimizer step, whose weights have the version `step`; None where the run is to end.

        Raises RolloutError, and DataError where no prompt is as easy as that.
        """
        began = time.monotonic()
        data = None
        if self._pipeline and self._rollouts:
            trained = self._pipeline.collect(step, max_difficulty, lambda: self._run.stop.received)
            data = groups_to_bytes([each.group for each in trained or ()])
            canary = {"canary/difference": self._rollouts.canary_difference}
            self.metrics = {**self._pipeline.metrics, **canary}
        groups = groups_from_bytes(self._run.group.broadcast(data))
        self.seconds["rollouts"] += time.monotonic() - began
        return groups or None

    def evaluate(self, when: str) -> Accuracy | None:
        """Held-out accuracy of the published weights; on rank 0, None elsewhere and where there is no held-out set."""
        began = time.monotonic()
        accuracy = None
        if self._rollouts is not None:
            accuracy = evaluate(when, self._run.config, self._rollouts, self._components, self._run.run_dir)
        self._run.group.barrier()
        self.seconds["evaluation"] += time.monotonic() - began
        return accuracy

    def _transfer(self, weights: Weights) -> bool:
        """Whether the policy is sampled from weights that went from GPU to GPU; on rank 0. A collective."""
        rollouts = self._rollouts
        with canary_errors(weights.version):
            update = partial(rollouts.begin_transfer, weights) if rollouts else None
            served = send_weights(self._engine, weights.path, self._run.group, self._sender, update)
        if rollouts is not None and served is not None:
            rollouts.transferred(weights, served)
        return served is not None

    def _judge(self, group: ScoredGroup, step: int) -> Lesson:
        accuracy = self._run.config.evaluation.accuracy
        rate = measure([group], accuracy, self._components).overall if group.domain in accuracy else None
        return Lesson(self._has_signal(group, step), rate)

    def _check_scorers(self, rollouts: Rollouts, stream: MixedPrompts) -> dict[str, Component]:
        described = rollouts.describe_scorers()
        components = {name: component for found, _ in described.values() for name, component in found.items()}
        check_components(self._run.config, components)
        keys = {
            domain: frozenset[str]().union(*(described[scorer][1] for scorer in scorers))
            for domain, scorers in self._run.config.rewards.scorers.items()
        }
        for prompt in stream.known():
            _check_keys(prompt, keys[prompt.domain])
        return components


def _check_keys(prompt: Prompt, known: frozenset[str]) -> None:
    for key in prompt.checks:
        if key not in known:
            raise JobFileError([f"data.train: prompt {prompt.id!r}: checks: {unknown_name(key, sorted(known))}"])
