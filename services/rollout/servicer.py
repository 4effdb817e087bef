"""Rollouts over gRPC: checks requests, hands them to the engine's process, counts and logs what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio
from prometheus_client import Counter, Gauge

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc
from services.rollout.engine import EngineError
from services.rollout.engine_process import EngineProcess
from services.rollout.requests import BadRequestError, generate_payload, logprobs_payload, update_payload
from services.server.admission import admission
from services.server.logs import get_logger
from services.server.pool import CallFailedError, CallTimeoutError, PoolDownError, WorkerDiedError, WorkerPool

TOKENS = Counter("assay_rollout_tokens_total", "Tokens sampled.", ["policy"])
COMPLETIONS = Counter("assay_rollout_completions_total", "Completions, by how they ended.", ["policy", "finish_reason"])
SCORED_TOKENS = Counter("assay_rollout_scored_tokens_total", "Given tokens that got a log-probability.", ["policy"])
UPDATES = Counter("assay_rollout_updates_total", "Weight updates, `served` or `refused`.", ["outcome"])
POLICY_VERSION = Gauge("assay_rollout_policy_version", "Version of the weights that are served.", ["policy"])


class RolloutServicer(rollout_pb2_grpc.RolloutServicer):
    """Generate, UpdateWeights and Logprobs. Requests wait for the one engine in the order in which they came."""

    def __init__(self, pool: WorkerPool, engine: EngineProcess) -> None:
        self._pool = pool
        self._engine = engine

    async def Generate(  # noqa: N802 - gRPC's name
        self, request: rollout_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> rollout_pb2.GenerateResponse:
        try:
            payload = generate_payload(request)
            async with admission(self._pool, len(request.prompts) * request.samples, context):
                results = await self._engine.compute("generate", payload, context.time_remaining())
        except REFUSALS as error:
            await _refuse(error, context)
        _count_and_log(request, results)
        return rollout_pb2.GenerateResponse(prompts=[_prompt_to_wire(result) for result in results])

    async def Logprobs(  # noqa: N802
        self, request: rollout_pb2.LogprobsRequest, context: grpc.aio.ServicerContext
    ) -> rollout_pb2.LogprobsResponse:
        try:
            payload = logprobs_payload(request)
            async with admission(self._pool, len(request.sequences), context):
                result = await self._engine.compute("logprobs", payload, context.time_remaining())
        except REFUSALS as error:
            await _refuse(error, context)
        tokens = sum(len(values) for values in result["sequences"])
        SCORED_TOKENS.labels(request.policy).inc(tokens)
        get_logger().info("tokens scored", policy=request.policy, sequences=len(request.sequences), tokens=tokens)
        return rollout_pb2.LogprobsResponse(
            sequences=[rollout_pb2.TokenLogprobs(logprobs=values) for values in result["sequences"]],
            policy_version=result["policy_version"],
        )

    async def UpdateWeights(  # noqa: N802
        self, request: rollout_pb2.UpdateWeightsRequest, context: grpc.aio.ServicerContext
    ) -> rollout_pb2.UpdateWeightsResponse:
        try:
            source = update_payload(request)
            async with admission(self._pool, 1, context):
                await self._engine.update_weights(**source)
        except REFUSALS as error:
            UPDATES.labels("refused").inc()
            await _refuse(error, context)
        UPDATES.labels("served").inc()
        POLICY_VERSION.clear()  # a policy that made room for this one is served no more
        for policy, version in self._engine.versions.items():
            POLICY_VERSION.labels(policy).set(version)
        get_logger().info("weights updated", policy=request.policy, version=request.version, path=request.path)
        return rollout_pb2.UpdateWeightsResponse(version=request.version)


REFUSALS = (BadRequestError, EngineError, WorkerDiedError, PoolDownError, CallTimeoutError, CallFailedError)


async def _refuse(error: Exception, context: grpc.aio.ServicerContext) -> NoReturn:
    """Ends the call with the status that fits the error."""
    status = grpc.StatusCode
    match error:
        case BadRequestError():
            code, message = status.INVALID_ARGUMENT, str(error)
        case EngineError():
            code, message = status[error.fault], error.message
        case WorkerDiedError():
            code, message = status.UNAVAILABLE, "the engine's process ended during the call; it is being started again"
        case PoolDownError():
            code, message = status.UNAVAILABLE, "the engine's process cannot be started; the service goes on trying"
        case CallTimeoutError():
            code, message = status.DEADLINE_EXCEEDED, "the engine did not end the call in time and was killed"
        case _:
            name = error.type_name if isinstance(error, CallFailedError) else type(error).__name__
            code, message = status.INTERNAL, f"the engine raised {name}; see the service's log"
    get_logger().warning("request refused", code=code.name, reason=message)
    await context.abort(code, message)
    raise AssertionError("abort raises")


def _count_and_log(request: rollout_pb2.GenerateRequest, results: Sequence[Mapping[str, Any]]) -> None:
    for prompt, result in zip(request.prompts, results, strict=True):
        tokens = sum(len(completion["token_ids"]) for completion in result["completions"])
        TOKENS.labels(request.policy).inc(tokens)
        for completion in result["completions"]:
            COMPLETIONS.labels(request.policy, completion["finish_reason"]).inc()
        get_logger().info(
            "prompt sampled",
            trace_id=prompt.trace_id or prompt.id,
            policy=request.policy,
            policy_version=result["completions"][0]["policy_version"],
            completions=len(result["completions"]),
            tokens=tokens,
        )


def _prompt_to_wire(result: Mapping[str, Any]) -> rollout_pb2.PromptCompletions:
    completions = [
        rollout_pb2.Completion(
            token_ids=completion["token_ids"],
            logprobs=completion["logprobs"],
            text=completion["text"],
            finish_reason=completion["finish_reason"],
            policy_version=completion["policy_version"],
        )
        for completion in result["completions"]
    ]
    return rollout_pb2.PromptCompletions(
        id=result["id"], prompt_token_ids=result["prompt_token_ids"], completions=completions
    )
