"""One sampled group: what its scorers say of it, and its log-probabilities under the reference policy and the teacher."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.addresses import address_of
from services.experience import ScoredCompletion, ScoredGroup
from services.queue.collection import CollectionPrompt, CollectionRequest
from services.queue.shared_calls import Logprobs, Scorers
from services.rollout.engine import PromptCompletions, TokenSequence
from services.scored import Scored
from services.verdicts import Item

ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Shared:
    """What all groups of a worker share."""

    scorers: Scorers
    logprobs: Logprobs


async def score_group(
    shared: Shared,
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
            scored = group.create_task(_score(shared.scorers, request, prompt, sampled, failed, deadline, calls))
            reference, teacher = (
                group.create_task(_logprobs(shared.logprobs, policy, sampled, deadline, calls)) for policy in policies
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
    shared: Scorers,
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
    scored: dict[str, Scored] = {}
    if addresses:
        retries = request.scoring_attempts - 1
        scored = await shared.score(request.reply_to, addresses, retries, items, deadline, calls)
    # a completion that is not whole is missing also where nobody was to score it
    missing = {names[sample]: dict.fromkeys(scorers or (ENVIRONMENT,), reason) for sample, reason in failed.items()}
    return [scored.get(name, Scored({}, missing.get(name, {}), {})) for name in names]


async def _logprobs(
    logprobs: Logprobs, policy: str, sampled: PromptCompletions, deadline: float, calls: Counter[str]
) -> Sequence[tuple[float, ...]]:
    """Log-probabilities of each completion's tokens under another policy, given ones too; empty without a policy."""
    if not policy:
        return [() for _ in sampled.completions]
    sequences = [TokenSequence(sampled.prompt_token_ids, completion.token_ids) for completion in sampled.completions]
    return await logprobs.ask(policy, sequences, deadline, calls)
