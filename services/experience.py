"""Scored completions on their way from a collector to the trainer, as plain types and as the bytes that Redis keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from protos.gen.assay.v1 import experience_pb2
from services.rollout.engine import Completion
from services.rollout.wire import completion_from_wire, completion_to_wire


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
    teacher_logprobs: tuple[float, ...] = ()
    """Under the teacher, likewise."""


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """All completions of one prompt."""

    prompt_id: str
    domain: str
    prompt_token_ids: tuple[int, ...]
    completions: tuple[ScoredCompletion, ...]


@dataclass(frozen=True, slots=True)
class Experience:
    """What a collector delivers under a key. Where `error` is not empty the group was given up and there is none."""

    key: str
    group: ScoredGroup | None = None
    calls: Mapping[str, int] = field(default_factory=dict)
    """Calls made for it, by service. Where several groups shared a call, it is counted with one of them."""
    error: str = ""
    may_pass: bool = False
    """Whether the error may pass: a service was away, or had forgotten the policy."""


def experience_to_bytes(experience: Experience) -> bytes:
    """The wire form. Log-probabilities are kept in single precision, components in double precision."""
    message = experience_pb2.Experience(
        key=experience.key,
        calls=experience.calls,
        error=experience.error,
        may_pass=experience.may_pass,
    )
    if experience.group is not None:
        message.group.CopyFrom(_group_to_wire(experience.group))
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
        group=_group_from_wire(message.group) if message.HasField("group") else None,
        calls=dict(message.calls),
        error=message.error,
        may_pass=message.may_pass,
    )


def groups_to_bytes(groups: Sequence[ScoredGroup]) -> bytes:
    """The wire form of the groups of an optimizer step."""
    return experience_pb2.Groups(groups=[_group_to_wire(group) for group in groups]).SerializeToString()


def groups_from_bytes(data: bytes) -> list[ScoredGroup]:
    """Back from the wire form."""
    return [_group_from_wire(group) for group in experience_pb2.Groups.FromString(data).groups]


def _group_to_wire(group: ScoredGroup) -> experience_pb2.ScoredGroup:
    return experience_pb2.ScoredGroup(
        prompt_id=group.prompt_id,
        domain=group.domain,
        prompt_token_ids=group.prompt_token_ids,
        completions=[_scored_to_wire(scored) for scored in group.completions],
    )


def _group_from_wire(group: experience_pb2.ScoredGroup) -> ScoredGroup:
    return ScoredGroup(
        prompt_id=group.prompt_id,
        domain=group.domain,
        prompt_token_ids=tuple(group.prompt_token_ids),
        completions=tuple(_scored_from_wire(scored) for scored in group.completions),
    )


def _scored_to_wire(scored: ScoredCompletion) -> experience_pb2.ScoredCompletion:
    return experience_pb2.ScoredCompletion(
        completion=completion_to_wire(scored.completion),
        components=scored.components,
        missing=scored.missing,
        labels=scored.labels,
        ref_logprobs=scored.ref_logprobs,
        teacher_logprobs=scored.teacher_logprobs,
    )


def _scored_from_wire(scored: experience_pb2.ScoredCompletion) -> ScoredCompletion:
    return ScoredCompletion(
        completion=completion_from_wire(scored.completion),
        components=dict(scored.components),
        missing=dict(scored.missing),
        labels=dict(scored.labels),
        ref_logprobs=tuple(scored.ref_logprobs),
        teacher_logprobs=tuple(scored.teacher_logprobs),
    )
