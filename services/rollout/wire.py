"""Completions and prompts between plain types and protobuf, for the servicer, the client, and what Redis keeps."""

from __future__ import annotations

from protos.gen.assay.v1 import rollout_pb2
from services.rollout.engine import (
    Completion,
    Finished,
    FinishReason,
    Generation,
    Probe,
    Prompt,
    PromptCompletions,
    Sampling,
    TensorInfo,
    TokenSequence,
    Transfer,
    WeightSource,
)


def completion_to_wire(completion: Completion) -> rollout_pb2.Completion:
    """Log-probabilities are kept in single precision."""
    return rollout_pb2.Completion(
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
        text=completion.text,
        finish_reason=completion.finish_reason.value,
        policy_version=completion.policy_version,
        token_versions=completion.token_versions,
        given=completion.given,
    )


def completion_from_wire(message: rollout_pb2.Completion) -> Completion:
    """Back from the wire form."""
    return Completion(
        token_ids=tuple(message.token_ids),
        logprobs=tuple(message.logprobs),
        text=message.text,
        finish_reason=FinishReason(rollout_pb2.Completion.FinishReason.Name(message.finish_reason)),
        policy_version=message.policy_version,
        token_versions=tuple(message.token_versions),
        given=tuple(message.given),
    )


def prompt_to_wire(prompt: Prompt) -> rollout_pb2.Prompt:
    return rollout_pb2.Prompt(id=prompt.id, text=prompt.text, trace_id=prompt.trace_id, token_ids=prompt.token_ids)


def prompt_from_wire(message: rollout_pb2.Prompt) -> Prompt:
    return Prompt(message.id, message.text, message.trace_id, tuple(message.token_ids))


def sampling_to_wire(sampling: Sampling) -> rollout_pb2.Sampling:
    return rollout_pb2.Sampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        seed=sampling.seed,
        min_p=sampling.min_p,
        stop=sampling.stop,
        choices=sampling.choices,
    )


def sampling_from_wire(message: rollout_pb2.Sampling) -> Sampling:
    return Sampling(
        temperature=message.temperature,
        top_p=message.top_p,
        max_new_tokens=message.max_new_tokens,
        seed=message.seed,
        min_p=message.min_p,
        stop=tuple(message.stop),
        choices=tuple(message.choices),
    )


def generation_to_wire(generation: Generation) -> rollout_pb2.GenerateRequest:
    return rollout_pb2.GenerateRequest(
        policy=generation.policy,
        prompts=[prompt_to_wire(prompt) for prompt in generation.prompts],
        samples=generation.samples,
        sampling=sampling_to_wire(generation.sampling),
        min_policy_version=generation.min_policy_version,
    )


def generation_from_wire(message: rollout_pb2.GenerateRequest) -> Generation:
    return Generation(
        policy=message.policy,
        prompts=tuple(prompt_from_wire(prompt) for prompt in message.prompts),
        samples=message.samples,
        sampling=sampling_from_wire(message.sampling),
        min_policy_version=message.min_policy_version,
    )


def finished_to_wire(prompt_id: str, finished: Finished) -> rollout_pb2.FinishedCompletion:
    return rollout_pb2.FinishedCompletion(
        id=prompt_id,
        sample=finished.sample,
        prompt_token_ids=finished.prompt_token_ids,
        completion=completion_to_wire(finished.completion),
    )


def finished_from_wire(message: rollout_pb2.FinishedCompletion, place: int) -> Finished:
    """place: of the prompt `message.id` in the request."""
    return Finished(place, message.sample, tuple(message.prompt_token_ids), completion_from_wire(message.completion))


def prompt_completions_to_wire(results: PromptCompletions) -> rollout_pb2.PromptCompletions:
    return rollout_pb2.PromptCompletions(
        id=results.id,
        prompt_token_ids=results.prompt_token_ids,
        completions=[completion_to_wire(completion) for completion in results.completions],
    )


def prompt_completions_from_wire(message: rollout_pb2.PromptCompletions) -> PromptCompletions:
    return PromptCompletions(
        id=message.id,
        prompt_token_ids=tuple(message.prompt_token_ids),
        completions=tuple(completion_from_wire(completion) for completion in message.completions),
    )


def sequence_to_wire(sequence: TokenSequence) -> rollout_pb2.TokenSequence:
    return rollout_pb2.TokenSequence(
        prompt_token_ids=sequence.prompt_token_ids, completion_token_ids=sequence.completion_token_ids
    )


def sequence_from_wire(message: rollout_pb2.TokenSequence) -> TokenSequence:
    return TokenSequence(tuple(message.prompt_token_ids), tuple(message.completion_token_ids))


def probe_to_wire(probe: Probe) -> rollout_pb2.Probe:
    return rollout_pb2.Probe(sequence=sequence_to_wire(probe.sequence), logprobs=probe.logprobs)


def probe_from_wire(message: rollout_pb2.Probe) -> Probe:
    return Probe(sequence_from_wire(message.sequence), tuple(message.logprobs))


def source_to_wire(source: WeightSource) -> rollout_pb2.UpdateWeightsRequest:
    return rollout_pb2.UpdateWeightsRequest(
        policy=source.policy,
        version=source.version,
        path=source.path,
        sha256=source.sha256,
        base=source.base,
        canary=[probe_to_wire(probe) for probe in source.canary],
        tolerance=source.tolerance,
        transfer=transfer_to_wire(source.transfer) if source.transfer else None,
    )


def transfer_to_wire(transfer: Transfer) -> rollout_pb2.Transfer:
    return rollout_pb2.Transfer(
        backend=transfer.backend,
        group=transfer.group,
        new_group=transfer.new_group,
        world_size=transfer.world_size,
        tensors=[rollout_pb2.TensorInfo(name=t.name, dtype=t.dtype, shape=t.shape) for t in transfer.tensors],
    )


def transfer_from_wire(message: rollout_pb2.Transfer) -> Transfer:
    return Transfer(
        backend=message.backend,
        group=message.group,
        new_group=message.new_group,
        world_size=message.world_size,
        tensors=tuple(TensorInfo(t.name, t.dtype, tuple(t.shape)) for t in message.tensors),
    )
