"""The trainer's end of the rollouts: publishes weights to the rollout service and gets scored groups from the queue.

A collection that was given up, because a service was down for longer than its clients wait or came back without the
policy, is asked for again after the weights have been published anew: at most `ATTEMPTS` times in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.addresses import address_of
from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.client.scoring import ScoringClient
from services.experience import Experience, ScoredGroup
from services.queue.app import make_app
from services.queue.collection import CollectionPrompt, CollectionRequest, Collections, CollectionSampling
from services.queue.connection import connect, redis_url
from services.verdicts import Component
from trainer.config import JobConfig
from trainer.data import Prompt

ATTEMPTS = 3
UPDATE_TIMEOUT_SECONDS = 300.0


class RolloutError(Exception):
    """The rollouts of a step could not be had; the message says what the collectors answered."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Published weights: a Hugging Face directory, its place in the order of updates, and its checksum."""

    path: Path
    version: int
    sha256: str


class Rollouts:
    """Rollouts for one attempt at a job.

    The policy's name holds the attempt, so that a resumed run can publish an older version than the one that a killed
    attempt has left at the service.
    """

    def __init__(self, config: JobConfig, job_id: str, attempt: int, needs_reference: bool) -> None:
        self._config = config
        self._policy = f"{job_id}.{attempt}"
        self._reference = f"{self._policy}.reference" if needs_reference else ""
        self._published: dict[str, Weights] = {}
        self._client = RolloutClient(address_of("rollout"))
        url = redis_url()
        self._collections = Collections(connect(url), make_app(url))
        self.calls: Counter[str] = Counter()
        self.seconds = {"generate": 0.0, "score": 0.0}

    def publish(self, weights: Weights) -> None:
        """Returns once the policy is sampled from these weights. Raises ServiceError."""
        self._update(self._policy, weights)

    def publish_reference(self, weights: Weights) -> None:
        """Makes these weights the frozen anchor, where a term needs one. Raises ServiceError."""
        if self._reference:
            self._update(self._reference, weights)

    def collect(
        self, purpose: str, prompts: Sequence[Prompt], *, samples: int, temperature: float, top_p: float, seed: int
    ) -> list[ScoredGroup]:
        """One scored group for each prompt, in the order of the prompts.

        purpose: names the collection within the job (`step-12`); asked for twice it is computed once.
        temperature: 0 is greedy; then no reference log-probabilities are fetched.
        Raises RolloutError.
        """
        size = self._config.rollout.prompts_per_task
        chunks = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        sampling = CollectionSampling(
            temperature=temperature, top_p=top_p, max_new_tokens=self._config.rollout.max_new_tokens, seed=seed
        )
        reply_to = f"{self._policy}.{purpose}"
        requests = {
            f"{reply_to}.{index}": self._request(f"{reply_to}.{index}", reply_to, chunk, samples, sampling)
            for index, chunk in enumerate(chunks)
        }
        done: dict[str, Experience] = {}
        for attempt in range(1, ATTEMPTS + 1):
            failures = self._gather({key: r for key, r in requests.items() if key not in done}, reply_to, done)
            if not failures:
                break
            if attempt == ATTEMPTS:
                raise RolloutError(f"{purpose}: {len(failures)} of {len(chunks)} collections failed: {failures[0]}")
            self._publish_again()
        return [group for key in requests for group in done[key].groups]

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

    def _update(self, policy: str, weights: Weights) -> None:
        self.calls["rollout"] += 1
        self._client.update_weights(
            policy, weights.version, str(weights.path), weights.sha256, timeout_seconds=UPDATE_TIMEOUT_SECONDS
        )
        self._published[policy] = weights

    def _publish_again(self) -> None:
        for policy, weights in self._published.items():
            try:
                self._update(policy, weights)
            except ServiceError as error:
                raise RolloutError(f"the weights could not be published again: {error}") from error

    def _request(
        self, key: str, reply_to: str, prompts: Sequence[Prompt], samples: int, sampling: CollectionSampling
    ) -> CollectionRequest:
        return CollectionRequest(
            key=key,
            reply_to=reply_to,
            policy=self._policy,
            min_policy_version=self._published[self._policy].version,
            # a small data set may give a prompt twice to one step: its place keeps the two apart
            prompts=tuple(
                CollectionPrompt(id=f"{place}/{prompt.id}", domain=prompt.domain, text=prompt.text, checks=prompt.checks)
                for place, prompt in enumerate(prompts)
            ),
            samples=samples,
            sampling=sampling,
            scorers={domain: tuple(names) for domain, names in self._config.rewards.scorers.items()},
            reference_policy=self._reference if sampling.temperature > 0 else "",
            scoring_attempts=self._config.rewards.attempts,
            timeout_seconds=self._config.rollout.timeout_seconds,
        )

    def _gather(
        self, requests: dict[str, CollectionRequest], reply_to: str, done: dict[str, Experience]
    ) -> list[str]:
        """Sends the requests and fills `done`; returns what the failed ones said."""
        for request in requests.values():
            self._collections.enqueue(request)
        failures: list[str] = []
        patience = self._config.rollout.timeout_seconds * 2
        try:
            for experience in self._collections.collect(list(requests), reply_to, patience):
                if experience.error:
                    failures.append(experience.error)
                    continue
                done[experience.key] = experience
                self.calls.update(experience.calls)
                self.seconds["generate"] += experience.generate_seconds
                self.seconds["score"] += experience.score_seconds
        except TimeoutError as error:
            failures.append(str(error))
        return failures
