"""The collection task: samples the policy, has the samples scored, and delivers the experience once.

Every failure becomes an experience with an `error`, so that the trainer never waits for an answer that cannot come.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from services.addresses import address_of
from services.client.channel import ServiceError
from services.client.rollout import RolloutClient
from services.experience import Experience, ScoredCompletion, ScoredGroup
from services.queue.collection import CollectionRequest, Collections
from services.queue.lease import Leases
from services.rollout.engine import Prompt, PromptCompletions, Sampling, TokenSequence
from services.scored import Scored
from services.scoring import Scoring
from services.verdicts import Item

ROLLOUT = "rollout"

log = structlog.get_logger()


@dataclass(frozen=True)
class Collector:
    """What a collecting worker works with."""

    collections: Collections
    leases: Leases
    rollout: RolloutClient


def collect(collector: Collector, request: CollectionRequest, ticket: str) -> None:
    """One delivery of a request, with the message's ticket (`Leases.stand_by`).

    Returns when its message may be acknowledged; raises while Redis is away for long.
    """
    key = f"collect:{request.key}"
    with collector.leases.hold(key) as lease:
        if collector.collections.delivered(request.key):
            return
        if lease is None:
            collector.leases.stand_by(key, ticket, lambda fresh: collector.collections.send_again(request, fresh))
            return
        experience = _gather_or_error(collector.rollout, request)
        collector.collections.deliver(request.reply_to, experience)
    log.info(
        "collected",
        key=request.key,
        prompts=len(request.prompts),
        samples=request.samples,
        generate_seconds=round(experience.generate_seconds, 3),
        score_seconds=round(experience.score_seconds, 3),
        error=experience.error,
    )


def _gather_or_error(rollout: RolloutClient, request: CollectionRequest) -> Experience:
    try:
        return gather(rollout, request)
    except ServiceError as error:
        return Experience(request.key, error=str(error))
    except Exception as error:
        # the message may quote prompts or responses: neither the trainer nor the log gets it
        frame = _innermost(error)
        log.error("collection failed", key=request.key, exception=type(error).__name__, at=frame)
        return Experience(request.key, error=f"the collector failed with {type(error).__name__} at {frame}")


def _innermost(error: BaseException) -> str:
    """File name and line where it was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace else "?"


def gather(rollout: RolloutClient, request: CollectionRequest) -> Experience:
    """Samples and scores. Raises ServiceError where the policy cannot be sampled or an address serves no scorer."""
    start = time.monotonic()
    deadline = start + request.timeout_seconds
    sampled = rollout.generate(
        request.policy,
        [Prompt(prompt.id, prompt.text, _trace_id(request, place)) for place, prompt in enumerate(request.prompts)],
        request.samples,
        Sampling(**request.sampling.model_dump()),
        min_policy_version=request.min_policy_version,
        timeout_seconds=request.timeout_seconds,
    )
    reference = _reference_logprobs(rollout, request, sampled, deadline - time.monotonic())
    generated = time.monotonic()
    items = _items(request, sampled)
    addresses = {scorer: address_of(scorer) for scorer in items}
    with Scoring(addresses, retries=request.scoring_attempts - 1) as scoring:
        scored = scoring.score(items, deadline - generated)
        calls = {ROLLOUT: 2 if request.reference_policy else 1, **scoring.calls}
    return Experience(
        key=request.key,
        groups=tuple(
            ScoredGroup(
                prompt_id=prompt.id,
                domain=prompt.domain,
                prompt_token_ids=completions.prompt_token_ids,
                completions=_scored(place, completions, scored, reference),
            )
            for place, (prompt, completions) in enumerate(zip(request.prompts, sampled, strict=True))
        ),
        calls=calls,
        generate_seconds=generated - start,
        score_seconds=time.monotonic() - generated,
    )


def _reference_logprobs(
    rollout: RolloutClient, request: CollectionRequest, sampled: Sequence[PromptCompletions], timeout_seconds: float
) -> dict[str, tuple[float, ...]]:
    """Log-probabilities under the reference policy by item id; empty where none is asked for."""
    if not request.reference_policy:
        return {}
    sequences = {
        _item_id(place, sample): TokenSequence(prompt.prompt_token_ids, completion.token_ids)
        for place, prompt in enumerate(sampled)
        for sample, completion in enumerate(prompt.completions)
    }
    answer = rollout.logprobs(
        request.reference_policy, list(sequences.values()), timeout_seconds=max(0.0, timeout_seconds)
    )
    return dict(zip(sequences, answer.sequences, strict=True))


def _items(request: CollectionRequest, sampled: Sequence[PromptCompletions]) -> dict[str, list[Item]]:
    """What each scorer is to score."""
    items: dict[str, list[Item]] = {}
    for place, (prompt, completions) in enumerate(zip(request.prompts, sampled, strict=True)):
        for scorer in request.scorers[prompt.domain]:
            items.setdefault(scorer, []).extend(
                Item(
                    id=_item_id(place, sample),
                    prompt=prompt.text,
                    response=completion.text,
                    checks=prompt.checks,
                    trace_id=f"{_trace_id(request, place)}/{sample}",
                )
                for sample, completion in enumerate(completions.completions)
            )
    return items


def _scored(
    place: int,
    completions: PromptCompletions,
    scored: dict[str, Scored],
    reference: dict[str, tuple[float, ...]],
) -> tuple[ScoredCompletion, ...]:
    results = []
    for sample, completion in enumerate(completions.completions):
        item_id = _item_id(place, sample)
        said = scored.get(item_id, Scored({}, {}, {}))
        results.append(
            ScoredCompletion(completion, said.components, said.missing, said.labels, reference.get(item_id, ()))
        )
    return tuple(results)


def _item_id(place: int, sample: int) -> str:
    return f"{place}/{sample}"


def _trace_id(request: CollectionRequest, place: int) -> str:
    return f"{request.key}/{request.prompts[place].id}"
