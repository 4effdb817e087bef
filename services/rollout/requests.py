"""Checks requests before they reach the engine and puts them into the plain types that travel to its process."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from protos.gen.assay.v1 import rollout_pb2
from services.rollout.limits import MAX_ANSWER_TOKENS, MAX_SAMPLES

MAX_NAME_CHARACTERS = 256
MAX_PATH_BYTES = 4096
"""As much as Linux takes; the text of an error, which quotes the path, must fit the 16 KiB of gRPC's trailers."""
SHA256 = re.compile("[0-9a-f]{64}")


class BadRequestError(ValueError):
    """A request that can never be served. The message names the field, its value and what would be right."""


def generate_payload(request: rollout_pb2.GenerateRequest) -> dict[str, Any]:
    """The engine's arguments. Raises BadRequestError."""
    _check_name("policy", request.policy)
    if not request.prompts:
        raise BadRequestError("prompts is empty; at least one is needed")
    seen: set[str] = set()
    for place, prompt in enumerate(request.prompts):
        _check_name(f"prompts[{place}].id", prompt.id)
        if prompt.id in seen:
            raise BadRequestError(f"prompts[{place}].id is {prompt.id!r} again; ids must be unique within a request")
        seen.add(prompt.id)
    if not 1 <= request.samples <= MAX_SAMPLES:
        raise BadRequestError(f"samples is {request.samples}; it must be 1 to {MAX_SAMPLES}")
    sampling = request.sampling
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise BadRequestError(f"sampling.temperature is {sampling.temperature}; it must be finite and at least 0")
    if not 0 <= sampling.top_p <= 1:
        raise BadRequestError(f"sampling.top_p is {sampling.top_p}; it must be 0 to 1")
    if sampling.max_new_tokens < 1:
        raise BadRequestError("sampling.max_new_tokens is 0; it must be at least 1")
    _check_answer(len(request.prompts) * request.samples * sampling.max_new_tokens, "prompts")
    return {
        "policy": request.policy,
        "prompts": [{"id": prompt.id, "text": prompt.text} for prompt in request.prompts],
        "samples": request.samples,
        "sampling": {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_new_tokens": sampling.max_new_tokens,
            "seed": sampling.seed,
        },
        "min_policy_version": request.min_policy_version,
    }


def logprobs_payload(request: rollout_pb2.LogprobsRequest) -> dict[str, Any]:
    """The engine's arguments. Raises BadRequestError."""
    _check_name("policy", request.policy)
    if not request.sequences:
        raise BadRequestError("sequences is empty; at least one is needed")
    _check_answer(sum(len(sequence.completion_token_ids) for sequence in request.sequences), "sequences")
    sequences = [[list(each.prompt_token_ids), list(each.completion_token_ids)] for each in request.sequences]
    return {"policy": request.policy, "sequences": sequences}


def update_payload(request: rollout_pb2.UpdateWeightsRequest) -> dict[str, Any]:
    """The engine's arguments. Raises BadRequestError."""
    _check_name("policy", request.policy)
    if (size := len(request.path.encode())) > MAX_PATH_BYTES:
        raise BadRequestError(f"path has {size} bytes; it must have at most {MAX_PATH_BYTES}")
    if not Path(request.path).is_absolute():
        raise BadRequestError(f"path is {request.path!r}; it must be an absolute path on the service's machine")
    sha256 = request.sha256.lower()
    if sha256 and not SHA256.fullmatch(sha256):
        raise BadRequestError(f"sha256 has {len(sha256)} characters; it must be empty or 64 hexadecimal digits")
    return {"policy": request.policy, "version": request.version, "path": request.path, "sha256": sha256}


def _check_name(field: str, value: str) -> None:
    if not 1 <= len(value) <= MAX_NAME_CHARACTERS:
        raise BadRequestError(f"{field} has {len(value)} characters; it must have 1 to {MAX_NAME_CHARACTERS}")


def _check_answer(tokens: int, field: str) -> None:
    if tokens > MAX_ANSWER_TOKENS:
        raise BadRequestError(
            f"{field}: the answer may have {tokens} tokens, at most {MAX_ANSWER_TOKENS} fit; send fewer in a request"
        )
