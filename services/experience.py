"""Scored completions on their way from a collector to the trainer, as plain types and as the bytes that Redis keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from protos.gen.assay.v1 import experience_pb2, rollout_pb2
from services.rollout.engine import Completion, FinishReason


@dataclass(frozen=True, slots=True)
class ScoredCompletion:
    """One sample with what the scorers said of it."""

    completion: Completion
    components: Mapping[str, float] = field(default_factory=dict)
    """Component name (`math/correctness`) to value, for what was scored."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Scorer name to reason, for what could not be scored. Nothing of such a scorer is among the components."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Scorer name to a word for how it went (`correct`, `timeout`)."""
    ref_logprobs: tuple[float, ...] = ()
    """Under the reference policy in nats, one for each token; empty where none was asked for."""


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """All completions of one prompt."""

    prompt_id: str
    domain: str
    prompt_token_ids: tuple[int, ...]
    completions: tuple[ScoredCompletion, ...]


@dataclass(frozen=True, slots=True)
class Experience:
    """What one collection task brought. Where `error` is not empty the task was given up and there are no groups."""

    key: str
    groups: tuple[ScoredGroup, ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)
    """Calls made for it, by service."""
    generate_seconds: float = 0.0
    score_seconds: float = 0.0
    error: str = ""


def experience_to_bytes(experience: Experience) -> bytes:
    """The wire form. Log-probabilities are kept in single precision, components in double precision."""
    message = experience_pb2.Experience(
        key=experience.key,
        calls=experience.calls,
        generate_seconds=experience.generate_seconds,
        score_seconds=experience.score_seconds,
        error=experience.error,
    )
    for group in experience.groups:
        sent = message.groups.add(
            prompt_id=group.prompt_id, domain=group.domain, prompt_token_ids=group.prompt_token_ids
        )
        sent.completions.extend(_scored_to_wire(scored) for scored in group.completions)
    return message.SerializeToString()


def experience_from_bytes(data: bytes) -> Experience:
    """Back from the wire form. Raises ValueError where the bytes are none."""
    message = experience_pb2.Experience()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise ValueError("the bytes are no assay.v1.Experience") from None
    return Experience(
        key=message.key,
        groups=tuple(
            ScoredGroup(
                prompt_id=group.prompt_id,
                domain=group.domain,
                prompt_token_ids=tuple(group.prompt_token_ids),
                completions=tuple(_scored_from_wire(scored) for scored in group.completions),
            )
            for group in message.groups
        ),
        calls=dict(message.calls),
        generate_seconds=message.generate_seconds,
        score_seconds=message.score_seconds,
        error=message.error,
    )


def _scored_to_wire(scored: ScoredCompletion) -> experience_pb2.ScoredCompletion:
    completion = scored.completion
    return experience_pb2.ScoredCompletion(
        completion=rollout_pb2.Completion(
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            text=completion.text,
            finish_reason=completion.finish_reason.value,
            policy_version=completion.policy_version,
        ),
        components=scored.components,
        missing=scored.missing,
        labels=scored.labels,
        ref_logprobs=scored.ref_logprobs,
    )


def _scored_from_wire(scored: experience_pb2.ScoredCompletion) -> ScoredCompletion:
    completion = scored.completion
    return ScoredCompletion(
        completion=Completion(
            token_ids=tuple(completion.token_ids),
            logprobs=tuple(completion.logprobs),
            text=completion.text,
            finish_reason=FinishReason(rollout_pb2.Completion.FinishReason.Name(completion.finish_reason)),
            policy_version=completion.policy_version,
        ),
        components=dict(scored.components),
        missing=dict(scored.missing),
        labels=dict(scored.labels),
        ref_logprobs=tuple(scored.ref_logprobs),
    )
