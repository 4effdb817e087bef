"""Completions of several turns: the policy samples, an environment answers, and the policy goes on from there.

A completion holds what the policy sampled and what it was given, in the order in which the policy saw it. Its text is
all of that, and it is what scorers get. `max_new_tokens` is for all of it; an answer that does not fit any more is left
out, and the completion then ended by its length.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import grpc

from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.queue.collection import CollectionEnvironment, CollectionPrompt, CollectionRequest
from services.queue.environment import Environment, EnvironmentFailedError, Turn, close, made, reply
from services.rollout.engine import Completion, FinishReason, Prompt, PromptCompletions, Sampling

CLOSE_SECONDS = 5.0
LONGEST_ANSWER_BYTES = 4 * 2**20
"""A longer one fits into no completion, and not into a message with the tokens before it."""


class Conversations:
    """Goes on with the completions of one group, each in a conversation of its own."""

    def __init__(
        self,
        rollout: RolloutClient,
        request: CollectionRequest,
        environment: CollectionEnvironment,
        make: Callable[..., Environment],
        deadline: float,
        calls: Counter[str],
    ) -> None:
        """
        make: what `environment.path` names.
        deadline: of `time.monotonic`.
        calls: the calls that are made, by service, are added to it.
        """
        self._rollout, self._request, self._deadline, self._calls = rollout, request, deadline, calls
        self._environment, self._make = environment, make
        self._sampling = Sampling(**request.sampling.model_dump())

    async def hold(
        self, prompt: CollectionPrompt, sampled: PromptCompletions
    ) -> tuple[PromptCompletions, dict[int, str]]:
        """The completions with all their turns, and for those that their environment failed the reason, by number.

        sampled: the first turns. Raises ServiceError where the policy cannot be sampled.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._one(prompt, sampled.prompt_token_ids, sample, first))
                    for sample, first in enumerate(sampled.completions)
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        results = [task.result() for task in tasks]
        failed = {sample: reason for sample, (_, reason) in enumerate(results) if reason}
        return replace(sampled, completions=tuple(completion for completion, _ in results)), failed

    async def _one(
        self, prompt: CollectionPrompt, context: tuple[int, ...], sample: int, first: Completion
    ) -> tuple[Completion, str]:
        """A whole completion, or as far as it came and why it came no further."""
        completion, texts = first, [first.text]
        try:
            environment = made(self._make, self._environment.kwargs)
        except EnvironmentFailedError as error:
            return completion, str(error)
        try:
            for turn in range(1, self._environment.max_turns):
                if completion.finish_reason is FinishReason.LENGTH:
                    break
                answer = await reply(
                    environment,
                    Turn(prompt.id, prompt.text, prompt.checks, sample, tuple(texts)),
                    min(self._environment.reply_seconds, self._deadline - time.monotonic()),
                )
                if answer is None:
                    break
                before = completion.text
                completion = await self._turn(f"{prompt.id}/{sample}/{turn}", prompt, context, completion, answer)
                texts += [answer, completion.text[len(before) + len(answer) :]]
        except EnvironmentFailedError as error:
            return completion, str(error)
        finally:
            await close(environment, CLOSE_SECONDS)
        return completion, ""

    async def _turn(
        self, name: str, prompt: CollectionPrompt, context: tuple[int, ...], before: Completion, answer: str
    ) -> Completion:
        """The completion with an answer and the policy's turn after it, or as it was where there is no room for them."""
        room = self._sampling.max_new_tokens - len(before.token_ids)
        size = len(answer.encode())
        if room < 1 or size > LONGEST_ANSWER_BYTES:
            return replace(before, finish_reason=FinishReason.LENGTH)
        # nobody knows yet how many tokens the answer has: no more than bytes, and one for a space before it
        fits = size + 1 < room
        limit = room - size - 1 if fits else 1
        try:
            given, sampled = await self._generate(name, prompt, context + before.token_ids, answer, limit)
        except ServiceError as error:
            if fits or error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return replace(before, finish_reason=FinishReason.LENGTH)  # too long for the model
        room -= len(given)
        if room < 1:
            return replace(before, finish_reason=FinishReason.LENGTH)
        completion = joined(before, answer, given, sampled)
        room -= len(sampled.token_ids)
        if sampled.finish_reason is FinishReason.LENGTH and room:
            name = f"{name}/more"
            _, sampled = await self._generate(name, prompt, context + completion.token_ids, "", room)
            completion = joined(completion, "", (), sampled)
        return completion

    async def _generate(
        self, name: str, prompt: CollectionPrompt, token_ids: tuple[int, ...], text: str, limit: int
    ) -> tuple[tuple[int, ...], Completion]:
        """The tokens of `text`, and what the policy samples after it."""
        self._calls["rollout"] += 1
        (sampled,) = await asyncio.to_thread(
            self._rollout.generate,
            self._request.policy,
            [Prompt(name, text, prompt.key, token_ids)],
            1,
            replace(self._sampling, max_new_tokens=limit),
            min_policy_version=self._request.min_policy_version,
            timeout_seconds=max(0.0, self._deadline - time.monotonic()),
        )
        if sampled.prompt_token_ids[: len(token_ids)] != token_ids:
            raise RuntimeError("the rollout service did not keep the tokens of the turns before")
        return sampled.prompt_token_ids[len(token_ids) :], sampled.completions[0]


def joined(before: Completion, answer: str, given: Sequence[int], after: Completion) -> Completion:
    """A completion with an answer, whose tokens the policy did not sample, and the policy's next turn."""
    version = before.token_versions[-1] if before.token_versions else before.policy_version
    flags = (*(before.given or (False,) * len(before.token_ids)), *(True for _ in given))
    flags += (False,) * len(after.token_ids)
    return Completion(
        token_ids=(*before.token_ids, *given, *after.token_ids),
        logprobs=(*before.logprobs, *(0.0 for _ in given), *after.logprobs),
        text=before.text + answer + after.text,
        finish_reason=after.finish_reason,
        policy_version=min(before.policy_version, after.policy_version),
        token_versions=(*before.token_versions, *(version for _ in given), *after.token_versions),
        given=flags if any(flags) else (),
    )
