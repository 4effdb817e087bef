"""Groups that were asked for and have not come yet; what failed or got lost is asked for again.

A group is known by its key, and is taken once: a second delivery of the same key finds nobody who waits for it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.experience import Experience, ScoredGroup
from services.queue.collection import CollectionPrompt, CollectionSampling
from trainer.config import JobConfig
from trainer.data import Prompt
from trainer.rollouts import RolloutError, Rollouts

ATTEMPTS = 3
"""How often a group is asked for whose collection fails, where the failure is none that passes."""
LOST_AFTER = 2.0
"""A group got lost on the way that has not come this many times the time-out of its task after what was asked for before it
had come: until then its task may be in the queue. One whose failures would pass and do not is given up after as long."""


@dataclass(frozen=True, slots=True)
class Order:
    """A group under way."""

    prompt: CollectionPrompt
    task: int = 0
    """In which it was asked for, the last time."""
    failing_since: float | None = None
    """Of `time.monotonic`."""
    failures: int = 0
    lost: bool = False
    """Whether it was asked for again because nothing came."""


class Orders:
    """The groups that one run waits for. Asks in tasks of `rollout.prompts_per_task` prompts."""

    def __init__(
        self, rollouts: Rollouts, config: JobConfig, purpose: str, samples: int, sampling: CollectionSampling
    ) -> None:
        """purpose: tells the keys of these orders from those of others of the run."""
        self._rollouts, self._samples, self._sampling = rollouts, samples, sampling
        self._size = config.rollout.prompts_per_task
        self._patience = config.rollout.timeout_seconds * LOST_AFTER
        self._reply_to = f"{rollouts.policy}.{purpose}"
        self._open: dict[str, Order] = {}
        self._tasks = itertools.count()
        self._moved: dict[int, float] = {}
        """When, of `time.monotonic`, a task was sent, or a group of it or of an earlier one came."""
        self.asked_again = 0
        """Groups that were asked for again, by failure or loss."""

    def __len__(self) -> int:
        return len(self._open)

    def key(self, name: str) -> str:
        """The key of the group of this name, unique among all runs."""
        return f"{self._reply_to}.{name}"

    def place(self, prompts: Sequence[CollectionPrompt]) -> None:
        """Asks for the groups of these prompts, whose keys `key` made."""
        self._send({prompt.key: Order(prompt) for prompt in prompts})

    def withdraw(self) -> None:
        """Tells the collectors that nobody waits for what is under way."""
        self._rollouts.withdraw(list(self._open))
        self._open.clear()

    def take(self, wait_seconds: float) -> list[tuple[str, ScoredGroup]]:
        """Keys and groups of what has come, in the order in which it came; waits for the first, but not for ever.

        Raises RolloutError where a group failed `ATTEMPTS` times, or got lost twice.
        """
        failed: dict[str, Order] = {}
        groups = []
        came: list[int] = []
        for experience in self._rollouts.receive(list(self._open), self._reply_to, wait_seconds):
            order = self._open.pop(experience.key, None)
            if order is None:
                continue
            came.append(order.task)
            if experience.group is None:
                failed[experience.key] = self._failed(order, experience)
            else:
                groups.append((experience.key, experience.group))
        now = time.monotonic()
        self._moved = {
            task: now if came and task >= min(came) else self._moved[task]
            for task in {order.task for order in self._open.values()}
        }
        if failed:
            # a service that was down for longer than its clients wait, or came back without the policy
            self._rollouts.publish_again()
            self._send_again(failed)
        self._send_again(self._lost())
        return groups

    def _failed(self, order: Order, experience: Experience) -> Order:
        now = time.monotonic()
        since = now if order.failing_since is None else order.failing_since
        if experience.may_pass and now - since <= self._patience:
            return replace(order, failing_since=since)
        if order.failures + 1 >= ATTEMPTS or experience.may_pass:
            times = "for too long" if experience.may_pass else f"{ATTEMPTS} times"
            raise RolloutError(f"group {experience.key!r} failed {times}: {experience.error}")
        return replace(order, failures=order.failures + 1, failing_since=since)

    def _lost(self) -> dict[str, Order]:
        now = time.monotonic()
        late = {key: order for key, order in self._open.items() if now - self._moved[order.task] > self._patience}
        for key, order in late.items():
            if order.lost:
                raise RolloutError(
                    f"group {key!r} was asked for twice and did not come within {self._patience:g} seconds"
                )
        return {key: replace(order, lost=True) for key, order in late.items()}

    def _send_again(self, orders: dict[str, Order]) -> None:
        self.asked_again += len(orders)
        self._send(orders)

    def _send(self, orders: dict[str, Order]) -> None:
        for part in _parts(list(orders.values()), self._size):
            task, prompts = next(self._tasks), [order.prompt for order in part]
            self._moved[task] = time.monotonic()
            self._open |= {order.prompt.key: replace(order, task=task) for order in part}
            self._rollouts.request(prompts, self._reply_to, self._samples, self._sampling, task)


def collection_prompt(key: str, name: str, prompt: Prompt) -> CollectionPrompt:
    """A prompt as collectors take it. name: unique within the run, and part of the random stream of its samples."""
    return CollectionPrompt(key=key, id=name, domain=prompt.domain, text=prompt.text, checks=prompt.checks)


def gather(orders: Orders, prompts: Sequence[CollectionPrompt]) -> list[ScoredGroup]:
    """The groups of these prompts, in their order. Raises RolloutError."""
    orders.place(prompts)
    groups: dict[str, ScoredGroup] = {}
    while len(orders):
        groups |= orders.take(wait_seconds=1.0)
    return [groups[prompt.key] for prompt in prompts]


def _parts(orders: Sequence[Order], size: int) -> Iterable[Sequence[Order]]:
    return (orders[start : start + size] for start in range(0, len(orders), size))
