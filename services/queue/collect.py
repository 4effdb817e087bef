"""The collection task: samples the policy, has each group scored as soon as it is sampled, and delivers it once.

Every failure becomes an experience with an `error`, so that the trainer never waits for an answer that cannot come. A
group that fails holds up no other group of its task, nor does one whose scores take long.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

import grpc
import structlog

from services.addresses import UnknownAddressError, WrongAddressError
from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.rollout import RolloutClient
from services.experience import Experience, ScoredGroup
from services.queue.collection import CollectionPrompt, CollectionRequest, Collections
from services.queue.conversation import Conversations
from services.queue.environment import EnvironmentPathError, environment_class
from services.queue.group import Shared, score_group
from services.queue.lease import Leases
from services.queue.loop_thread import LoopThread
from services.queue.raised import raised_at
from services.rollout.engine import Completion, Prompt, PromptCompletions, Sampling

ROLLOUT = "rollout"
GROUPS_AT_ONCE = 64
"""Groups that one worker has scored at once: most of their time they wait for scorers, which say themselves when they
are full."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Collector:
    """What a collecting worker works with."""

    collections: Collections
    leases: Leases
    rollout: RolloutClient
    loop: LoopThread
    shared: Shared
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(GROUPS_AT_ONCE))


def collect(collector: Collector, request: CollectionRequest, ticket: str) -> None:
    """One delivery of a request, with the message's ticket (`Leases.stand_by`).

    Returns when its message may be acknowledged; raises while Redis is away for long. Only the groups that are neither
    delivered nor withdrawn are computed.
    """
    key = f"collect:{request.key}"
    with collector.leases.hold(key) as lease:
        open_keys = collector.collections.open([prompt.key for prompt in request.prompts])
        if not open_keys:
            return
        if lease is None:
            collector.leases.stand_by(key, ticket, lambda fresh: collector.collections.send_again(request, fresh))
            return
        prompts = tuple(prompt for prompt in request.prompts if prompt.key in open_keys)
        collector.loop.run(_Task(collector, request.model_copy(update={"prompts": prompts})).run())


class _Task:
    """The groups of one delivery of a request on their way."""

    def __init__(self, collector: Collector, request: CollectionRequest) -> None:
        self._collector, self._request = collector, request
        self._start = time.monotonic()
        self._deadline = self._start + request.timeout_seconds
        self._calls: Counter[str] = Counter()
        """Calls that were not counted with a group yet."""
        self._errors: list[str] = []
        self._given_up = False

    async def run(self) -> None:
        """Samples, and goes on with each group as soon as its last completion is there. Raises redis-py's errors."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as groups:

                def begin(prompt: CollectionPrompt, sampled: PromptCompletions | Exception) -> None:
                    if not self._given_up:
                        groups.create_task(self._finish(prompt, sampled))

                await asyncio.to_thread(
                    self._sample, lambda prompt, sampled: loop.call_soon_threadsafe(begin, prompt, sampled)
                )
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        log.info(
            "collected",
            key=self._request.key,
            prompts=len(self._request.prompts),
            samples=self._request.samples,
            seconds=round(time.monotonic() - self._start, 3),
            errors=len(self._errors),
            error=self._errors[0] if self._errors else "",
        )

    def _sample(self, begin: Callable[[CollectionPrompt, PromptCompletions | Exception], object]) -> None:
        """Begins each group with its completions, or with the reason why there are none. Blocks."""
        request = self._request
        missing = dict(enumerate(request.prompts))
        samples: list[dict[int, Completion]] = [{} for _ in request.prompts]
        self._calls[ROLLOUT] += 1
        try:
            stream = self._collector.rollout.generate_stream(
                request.policy,
                [Prompt(prompt.id, prompt.text, prompt.key) for prompt in request.prompts],
                request.samples,
                Sampling(**request.sampling.model_dump()),
                min_policy_version=request.min_policy_version,
                timeout_seconds=request.timeout_seconds,
            )
            with closing(stream):
                for finished in stream:
                    if self._given_up:
                        return
                    group = samples[finished.prompt]
                    group[finished.sample] = finished.completion
                    if len(group) == request.samples:
                        prompt = missing.pop(finished.prompt)
                        completions = tuple(group[sample] for sample in range(request.samples))
                        begin(prompt, PromptCompletions(prompt.id, finished.prompt_token_ids, completions))
        except Exception as error:
            for prompt in missing.values():
                begin(prompt, error)

    async def _finish(self, prompt: CollectionPrompt, sampled: PromptCompletions | Exception) -> None:
        """Goes on with a group until it is scored, and delivers it. Where that fails, the task is given up as a whole."""
        try:
            if isinstance(sampled, Exception):
                await self._deliver(self._failed(prompt, sampled))
                return
            async with self._collector.slots:
                if not await asyncio.to_thread(self._collector.collections.open, [prompt.key]):
                    return
                try:
                    experience = Experience(prompt.key, await self._scored(prompt, sampled))
                except Exception as error:
                    experience = self._failed(prompt, error)
            await self._deliver(experience)
        except BaseException:
            self._given_up = True
            raise

    async def _scored(self, prompt: CollectionPrompt, sampled: PromptCompletions) -> ScoredGroup:
        """The group with all its turns and scores."""
        rollout, request, failed = self._collector.rollout, self._request, {}
        if request.environment is not None:
            make = await asyncio.to_thread(environment_class, request.environment.path)
            conversations = Conversations(rollout, request, request.environment, make, self._deadline, self._calls)
            sampled, failed = await conversations.hold(prompt, sampled)
        return await score_group(self._collector.shared, request, prompt, sampled, failed, self._deadline, self._calls)

    async def _deliver(self, experience: Experience) -> None:
        experience = replace(experience, calls=dict(self._calls))
        self._calls.clear()
        if experience.error:
            self._errors.append(experience.error)
        await asyncio.to_thread(self._collector.collections.deliver, self._request.reply_to, experience)

    def _failed(self, prompt: CollectionPrompt, error: Exception) -> Experience:
        if isinstance(error, ServiceError):
            return Experience(prompt.key, error=str(error), may_pass=_may_pass(error))
        if isinstance(error, (UnknownAddressError, WrongAddressError, EnvironmentPathError)):
            return Experience(prompt.key, error=str(error))
        frame = raised_at(error)
        log.error("group failed", key=prompt.key, exception=type(error).__name__, at=frame)
        return Experience(prompt.key, error=f"the collector failed with {type(error).__name__} at {frame}")


def _may_pass(error: ServiceError) -> bool:
    """A service that is away, or one that was started anew and has not been given the policy again."""
    return isinstance(error, ServiceUnavailableError) or error.code is grpc.StatusCode.NOT_FOUND
