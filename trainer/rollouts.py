"""The trainer's end of the services: publishes weights to the rollout service, and asks collectors for scored groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from services.addresses import address_of
from services.client.channel import ServiceError
from services.client.rollout import PendingUpdate, RolloutClient
from services.client.scoring import ScoringClient
from services.experience import Experience
from services.queue.app import make_app
from services.queue.collection import (
    CollectionEnvironment,
    CollectionPrompt,
    CollectionRequest,
    Collections,
    CollectionSampling,
)
from services.queue.connection import UNREACHABLE, connect, redis_url
from services.rollout.engine import Description, Probe, Served, Transfer, WeightSource
from services.verdicts import Component
from trainer.config import JobConfig, JobFileError

UPDATE_TIMEOUT_SECONDS = 900.0


class RolloutError(Exception):
    """The rollouts of a step could not be had; the message says what the collectors answered."""


class CanaryError(RuntimeError):
    """The engine that samples does not compute with the weights that it was given."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Published weights: a Hugging Face directory, its place in the order of updates, and its checksum."""

    path: Path
    version: int
    sha256: str = ""
    canary: tuple[Probe, ...] = ()
    tolerance: float = 0.0


class Rollouts:
    """The services of one attempt at a job.

    The policy's name holds the attempt, so that a resumed run can publish an older version than the one that a killed
    attempt has left at the service.
    """

    def __init__(self, config: JobConfig, job_id: str, attempt: int) -> None:
        self.policy = f"{job_id}.{attempt}"
        self._config = config
        self._published: dict[str, Weights] = {}
        self._client = RolloutClient(address_of("rollout"))
        url = redis_url()
        self._collections = Collections(connect(url), make_app(url))
        self.calls: Counter[str] = Counter()
        self.canary_difference = 0.0
        """In nats, of the policy's last update."""

    @property
    def version(self) -> int:
        """Of the policy that is sampled."""
        return self._published[self.policy].version

    def check_engine(self) -> Description:
        """Raises JobFileError where the service samples with another engine than the job names, or takes no transfer that
        the job wants; ServiceError."""
        description, wanted = self._client.describe(), self._config.rollout.engine
        found = description.engine
        self.calls["rollout"] += 1
        if found != wanted:
            raise JobFileError(
                [
                    f"rollout.engine is {wanted!r}, and the rollout service at {self._client.address} samples with {found!r};"
                    f" start the services with `assay up --engine {wanted}`, or change rollout.engine"
                ]
            )
        if self._config.rollout.transfer == "nccl" and not description.transfer_workers:
            raise JobFileError(
                [
                    f"rollout.transfer is 'nccl', and the rollout service at {self._client.address} does not compute on "
                    "NVIDIA GPUs; take 'files'"
                ]
            )
        return description

    def publish(self, weights: Weights) -> None:
        """Returns once the policy is sampled from these weights. Raises CanaryError, ServiceError."""
        self.canary_difference = self._update(self.policy, weights)

    def begin_transfer(self, weights: Weights, transfer: Transfer) -> PendingUpdate:
        """The same, with tensors that are sent meanwhile; `transferred` ends it."""
        self.calls["rollout"] += 1
        source = WeightSource(
            policy=self.policy,
            version=weights.version,
            path=str(weights.path.absolute()),
            sha256=weights.sha256,
            canary=weights.canary,
            tolerance=weights.tolerance,
            transfer=transfer,
        )
        return self._client.begin_update(source, timeout_seconds=UPDATE_TIMEOUT_SECONDS)

    def transferred(self, weights: Weights, served: Served) -> None:
        """The policy is sampled from these weights, which went to the engine by a transfer."""
        self.canary_difference = served.canary_difference
        self._published[self.policy] = weights

    def publish_frozen(self, role: str, weights: Weights) -> None:
        """Serves weights that never change for their log-probabilities, such as `reference`. Raises ServiceError."""
        self._update(f"{self.policy}.{role}", weights)

    def publish_again(self) -> None:
        """Sends everything that was published once more: a service that was started anew knows nothing. Raises RolloutError."""
        for policy, weights in self._published.items():
            try:
                self._update(policy, weights)
            except ServiceError as error:
                raise RolloutError(f"the weights could not be published again: {error}") from error

    def request(
        self,
        prompts: Sequence[CollectionPrompt],
        reply_to: str,
        samples: int,
        sampling: CollectionSampling,
        serial: int,
    ) -> None:
        """Sends a task for these prompts. serial: tells tasks of the same prompts apart."""
        section = self._config.rollout
        environment = section.environment
        self._collections.enqueue(
            CollectionRequest(
                key=f"{prompts[0].key}.{serial}",
                reply_to=reply_to,
                policy=self.policy,
                min_policy_version=self.version,
                prompts=tuple(prompts),
                samples=samples,
                sampling=sampling,
                scorers={domain: tuple(names) for domain, names in self._config.rewards.scorers.items()},
                reference_policy=self._frozen("reference", sampling),
                teacher_policy=self._frozen("teacher", sampling),
                environment=environment and CollectionEnvironment(**environment.model_dump()),
                scoring_attempts=self._config.rewards.attempts,
                timeout_seconds=section.timeout_seconds,
            )
        )

    def receive(self, keys: Sequence[str], reply_to: str, wait_seconds: float) -> list[Experience]:
        """What has come of these keys, each once; see `Collections.receive`."""
        came = self._collections.receive(keys, reply_to, wait_seconds)
        for experience in came:
            self.calls.update(experience.calls)
        return came

    def withdraw(self, keys: Sequence[str]) -> None:
        """Spares collectors the groups that nobody will receive, unless Redis is away."""
        if keys:
            with suppress(*UNREACHABLE):
                self._collections.withdraw(keys)

    def describe_scorers(self) -> dict[str, tuple[dict[str, Component], frozenset[str]]]:
        """Components by name and the keys of its checks, for each scorer of the job. Raises ServiceError."""
        described = {}
        for name in self._config.scorer_names():
            with ScoringClient(name, address_of(name)) as client:
                answer = client.describe()
            self.calls[name] += 1
            components = {component.name: component for component in answer.components}
            described[name] = (components, frozenset(answer.checks_schema.get("properties", {})))
        return described

    def _update(self, policy: str, weights: Weights) -> float:
        self.calls["rollout"] += 1
        with canary_errors(weights.version):
            served = self._client.update_weights(
                policy,
                weights.version,
                str(weights.path),
                weights.sha256,
                canary=weights.canary,
                tolerance=weights.tolerance,
                timeout_seconds=UPDATE_TIMEOUT_SECONDS,
            )
        self._published[policy] = weights
        return served.canary_difference

    def _frozen(self, role: str, sampling: CollectionSampling) -> str:
        """A greedy answer is for evaluation, which asks for no log-probabilities."""
        policy = f"{self.policy}.{role}"
        return policy if sampling.temperature > 0 and policy in self._published else ""


@contextmanager
def canary_errors(version: int) -> Iterator[None]:
    """Turns the ServiceError of a missed canary into CanaryError."""
    try:
        yield
    except ServiceError as error:
        if error.code is grpc.StatusCode.DATA_LOSS:
            raise CanaryError(
                f"version {version} of the weights is not what the engine computes with: {error}"
            ) from error
        raise


def training_sampling(config: JobConfig) -> CollectionSampling:
    """How the policy is sampled for training. Samples differ by the ids of their prompts, not by the seed."""
    section = config.rollout
    return CollectionSampling(
        temperature=section.temperature,
        top_p=section.top_p,
        min_p=section.min_p,
        max_new_tokens=section.max_new_tokens,
        stop=tuple(section.stop),
        seed=config.job.seed,
    )


def greedy_sampling(config: JobConfig) -> CollectionSampling:
    """How the policy is sampled for evaluation."""
    section = config.rollout
    return CollectionSampling(temperature=0.0, max_new_tokens=section.max_new_tokens, stop=tuple(section.stop))
