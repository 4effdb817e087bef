"""One sampled group: what its scorers say of it, and its log-probabilities under the reference policy and the teacher."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from services.addresses import address_of
from services.async_scoring import AsyncScoring
from services.client.rollout import RolloutClient
from services.experience import ScoredCompletion, ScoredGroup
from services.queue.collection import CollectionPrompt, CollectionRequest
from services.rollout.engine import PromptCompletions, TokenSequence
from services.scored import Scored
from services.verdicts import Item

ENVIRONMENT = "environment"


async def score_group(
    rollout: RolloutClient,
    request: CollectionRequest,
    prompt: CollectionPrompt,
    sampled: PromptCompletions,
    failed: Mapping[int, str],
    deadline: float,
    calls: Counter[str],
) -> ScoredGroup:
    """The group with its scores.

    failed: number of a completion that is not whole to the reason, which all its scorers get; it is not scored.
    deadline: of `time.monotonic`. What could not be scored by then is missing.
    calls: the calls that are made, by service, are added to it.
    Raises ServiceError where log-probabilities cannot be had or an address serves no scorer, UnknownAddressError for a
    scorer that nobody has given an address.
    """
    policies = (request.reference_policy, request.teacher_policy)
    try:
        async with asyncio.TaskGroup() as group:
            scored = group.create_task(_score(request, prompt, sampled, failed, deadline, calls))
            reference, teacher = (
                group.create_task(_logprobs(rollout, policy, sampled, deadline, calls)) for policy in policies
            )
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    completions = tuple(
        ScoredCompletion(completion, said.components, said.missing, said.labels, ref_logprobs, teacher_logprobs)
        for completion, said, ref_logprobs, teacher_logprobs in zip(
            sampled.completions, scored.result(), reference.result(), teacher.result(), strict=True
        )
    )
    return ScoredGroup(prompt.id, prompt.domain, sampled.prompt_token_ids, completions)


async def _score(
    request: CollectionRequest,
    prompt: CollectionPrompt,
    sampled: PromptCompletions,
    failed: Mapping[int, str],
    deadline: float,
    calls: Counter[str],
) -> list[Scored]:
    """What the scorers of its domain say of each completion."""
    scorers = request.scorers[prompt.domain]
    names = [f"{prompt.key}/{sample}" for sample in range(len(sampled.completions))]
    items = [
        Item(id=name, prompt=prompt.text, response=completion.text, checks=prompt.checks, trace_id=name)
        for sample, (name, completion) in enumerate(zip(names, sampled.completions, strict=True))
        if sample not in failed
    ]
    addresses = {scorer: address_of(scorer) for scorer in scorers} if items else {}
    async with AsyncScoring(addresses, retries=request.scoring_attempts - 1) as scoring:
        try:
            scored = await scoring.score(dict.fromkeys(addresses, items), deadline - time.monotonic())
        finally:
            calls.update(scoring.calls)
    # a completion that is not whole is missing also where nobody was to score it
    missing = {names[sample]: dict.fromkeys(scorers or (ENVIRONMENT,), reason) for sample, reason in failed.items()}
    return [scored.get(name, Scored({}, missing.get(name, {}), {})) for name in names]


async def _logprobs(
    rollout: RolloutClient, policy: str, sampled: PromptCompletions, deadline: float, calls: Counter[str]
) -> Sequence[tuple[float, ...]]:
    """Log-probabilities of each completion's tokens under another policy, given ones too; empty without a policy."""
    if not policy:
        return [() for _ in sampled.completions]
    sequences = [TokenSequence(sampled.prompt_token_ids, completion.token_ids) for completion in sampled.completions]
    calls["rollout"] += 1
    answer = await asyncio.to_thread(
        rollout.logprobs, policy, sequences, timeout_seconds=max(0.0, deadline - time.monotonic())
    )
    return answer.sequences
