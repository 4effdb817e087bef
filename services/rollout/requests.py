"""Checks requests and puts them into the engine's plain types. The errors quote names and numbers, never texts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from protos.gen.assay.v1 import rollout_pb2
from services.rollout.engine import Generation, Probe, Sampling, TokenSequence, Transfer, WeightSource
from services.rollout.limits import (
    MAX_ANSWER_TOKENS,
    MAX_CHOICE_CHARACTERS,
    MAX_CHOICES,
    MAX_PROMPT_CHARACTERS,
    MAX_SAMPLES,
    MAX_SEQUENCES,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
)
from services.rollout.wire import generation_from_wire, probe_from_wire, sequence_from_wire, transfer_from_wire

MAX_NAME_CHARACTERS = 256
MAX_PATH_BYTES = 4096
"""As much as Linux takes."""
SHA256 = re.compile("[0-9a-f]{64}")
GROUP_BYTES = 128
"""Of NCCL's unique id."""
MAX_RANKS = 4096
MAX_DIMENSIONS, MAX_ELEMENTS = 8, 2**40
"""Of one tensor."""
TRANSFER_DTYPES = ("float32", "bfloat16", "float16")


class BadRequestError(ValueError):
    """A request that can never be served. The message names the field, its value and what would be right."""


def checked_generation(request: rollout_pb2.GenerateRequest) -> Generation:
    """The engine's request. Raises BadRequestError."""
    _check_count("prompts", len(request.prompts))
    generation = generation_from_wire(request)
    _check_name("policy", generation.policy)
    seen: set[str] = set()
    for place, prompt in enumerate(generation.prompts):
        _check_name(f"prompts[{place}].id", prompt.id)
        if prompt.id in seen:
            raise BadRequestError(f"prompts[{place}].id is {prompt.id!r} again; ids must be unique within a request")
        seen.add(prompt.id)
        if (length := len(prompt.trace_id)) > MAX_NAME_CHARACTERS:
            raise BadRequestError(
                f"prompts[{place}].trace_id has {length} characters; it must have at most {MAX_NAME_CHARACTERS}"
            )
        if (length := len(prompt.text)) > MAX_PROMPT_CHARACTERS:
            raise BadRequestError(
                f"prompts[{place}].text has {length} characters; it must have at most {MAX_PROMPT_CHARACTERS}"
            )
        if not (prompt.text or prompt.token_ids):
            raise BadRequestError(f"prompts[{place}] has neither text nor token_ids; one of them must not be empty")
    if not 1 <= generation.samples <= MAX_SAMPLES:
        raise BadRequestError(f"samples is {generation.samples}; it must be 1 to {MAX_SAMPLES}")
    _check_sampling(generation.sampling)
    _check_answer(len(seen) * generation.samples * generation.sampling.max_new_tokens, "prompts")
    return generation


def checked_sequences(request: rollout_pb2.LogprobsRequest) -> list[TokenSequence]:
    """What is to be scored. Raises BadRequestError."""
    _check_name("policy", request.policy)
    _check_count("sequences", len(request.sequences))
    _check_answer(sum(len(sequence.completion_token_ids) for sequence in request.sequences), "sequences")
    return [sequence_from_wire(sequence) for sequence in request.sequences]


def checked_source(request: rollout_pb2.UpdateWeightsRequest) -> WeightSource:
    """The weights to serve. Raises BadRequestError."""
    _check_name("policy", request.policy)
    if (size := len(request.path.encode())) > MAX_PATH_BYTES:
        raise BadRequestError(f"path has {size} bytes; it must have at most {MAX_PATH_BYTES}")
    if not Path(request.path).is_absolute():
        raise BadRequestError(f"path is {request.path!r}; it must be an absolute path on the service's machine")
    sha256 = request.sha256.lower()
    if sha256 and not SHA256.fullmatch(sha256):
        raise BadRequestError(f"sha256 has {len(sha256)} characters; it must be empty or 64 hexadecimal digits")
    if request.base:
        _check_name("base", request.base)
    if request.base == request.policy:
        raise BadRequestError(
            f"base is {request.base!r}, the policy itself; an adapter is laid on another policy, published before"
        )
    if request.canary:
        _check_count("canary", len(request.canary))
    canary = tuple(probe_from_wire(probe) for probe in request.canary)
    for place, probe in enumerate(canary):
        _check_probe(f"canary[{place}]", probe)
    if not math.isfinite(request.tolerance) or (request.tolerance <= 0 if canary else request.tolerance < 0):
        right = "finite and above 0" if canary else "finite and not negative"
        raise BadRequestError(f"tolerance is {request.tolerance}; it must be {right}")
    transfer = transfer_from_wire(request.transfer) if request.HasField("transfer") else None
    if transfer:
        _check_transfer(transfer, request.base)
    return WeightSource(
        policy=request.policy,
        version=request.version,
        path=request.path,
        sha256=sha256,
        base=request.base,
        canary=canary,
        tolerance=request.tolerance,
        transfer=transfer,
    )


def _check_sampling(sampling: Sampling) -> None:
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise BadRequestError(f"sampling.temperature is {sampling.temperature}; it must be finite and at least 0")
    if not 0 <= sampling.top_p <= 1:
        raise BadRequestError(f"sampling.top_p is {sampling.top_p}; it must be 0 to 1")
    if not 0 <= sampling.min_p <= 1:
        raise BadRequestError(f"sampling.min_p is {sampling.min_p}; it must be 0 to 1")
    if sampling.max_new_tokens < 1:
        raise BadRequestError("sampling.max_new_tokens is 0; it must be at least 1")
    _check_texts("sampling.stop", sampling.stop, MAX_STOP_STRINGS, MAX_STOP_CHARACTERS)
    _check_texts("sampling.choices", sampling.choices, MAX_CHOICES, MAX_CHOICE_CHARACTERS)
    if sampling.stop and sampling.choices:
        raise BadRequestError(
            "sampling.stop and sampling.choices are both given; a choice ends by itself, leave one out"
        )


def _check_texts(field: str, texts: Sequence[str], most: int, longest: int) -> None:
    if len(texts) > most:
        raise BadRequestError(f"{field} has {len(texts)} texts; it must have at most {most}")
    for place, text in enumerate(texts):
        if not 1 <= len(text) <= longest:
            raise BadRequestError(f"{field}[{place}] has {len(text)} characters; it must have 1 to {longest}")


def _check_probe(field: str, probe: Probe) -> None:
    tokens = len(probe.sequence.completion_token_ids)
    if not probe.sequence.prompt_token_ids:
        raise BadRequestError(f"{field}.sequence has no prompt_token_ids; at least one is needed")
    if not tokens:
        raise BadRequestError(f"{field}.sequence has no completion_token_ids; at least one is needed")
    if len(probe.logprobs) != tokens:
        raise BadRequestError(f"{field} has {len(probe.logprobs)} logprobs; it must have {tokens}, one for each token")
    for token, value in enumerate(probe.logprobs):
        if not math.isfinite(value):
            raise BadRequestError(f"{field}.logprobs[{token}] is {value}; it must be finite")


def _check_count(field: str, count: int) -> None:
    if not count:
        raise BadRequestError(f"{field} is empty; at least one is needed")
    if count > MAX_SEQUENCES:
        raise BadRequestError(f"{field} has {count} entries; it must have at most {MAX_SEQUENCES}")


def _check_transfer(transfer: Transfer, base: str) -> None:
    if base:
        raise BadRequestError("transfer and base are both given; adapters are read from their folder, leave one out")
    if transfer.backend != "nccl":
        raise BadRequestError(f"transfer.backend is {transfer.backend[:MAX_NAME_CHARACTERS]!r}; it must be 'nccl'")
    if len(transfer.group) != GROUP_BYTES:
        raise BadRequestError(f"transfer.group has {len(transfer.group)} bytes; NCCL's unique id has {GROUP_BYTES}")
    if not 2 <= transfer.world_size <= MAX_RANKS:
        raise BadRequestError(f"transfer.world_size is {transfer.world_size}; it must be 2 to {MAX_RANKS}")
    if not transfer.tensors:
        raise BadRequestError("transfer.tensors is empty; at least one is needed")
    names: set[str] = set()
    for place, tensor in enumerate(transfer.tensors):
        field = f"transfer.tensors[{place}]"
        _check_name(f"{field}.name", tensor.name)
        if tensor.name in names:
            raise BadRequestError(f"{field}.name is {tensor.name!r} again; names must be unique within a transfer")
        names.add(tensor.name)
        if tensor.dtype not in TRANSFER_DTYPES:
            right = ", ".join(TRANSFER_DTYPES)
            raise BadRequestError(f"{field}.dtype is {tensor.dtype[:MAX_NAME_CHARACTERS]!r}; it must be one of {right}")
        if len(tensor.shape) > MAX_DIMENSIONS or not 1 <= math.prod(tensor.shape) <= MAX_ELEMENTS:
            shape = list(tensor.shape[: MAX_DIMENSIONS + 1])
            raise BadRequestError(
                f"{field}.shape is {shape}; it must have at most {MAX_DIMENSIONS} dimensions and 1 to {MAX_ELEMENTS} numbers"
            )


def _check_name(field: str, value: str) -> None:
    if not 1 <= len(value) <= MAX_NAME_CHARACTERS:
        raise BadRequestError(f"{field} has {len(value)} characters; it must have 1 to {MAX_NAME_CHARACTERS}")


def _check_answer(tokens: int, field: str) -> None:
    if tokens > MAX_ANSWER_TOKENS:
        raise BadRequestError(
            f"{field}: the answer may have {tokens} tokens, at most {MAX_ANSWER_TOKENS} fit; send fewer in a request"
        )
