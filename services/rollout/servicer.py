"""Rollouts over gRPC: checks requests, hands them to the engine, counts and logs what comes back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NoReturn

import grpc
import grpc.aio
from prometheus_client import Counter, Gauge

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc
from services.rollout.engine import Completion, EngineError, Finished, Generation, PromptCompletions, RolloutEngine
from services.rollout.requests import BadRequestError, checked_generation, checked_sequences, checked_source
from services.rollout.wire import finished_to_wire, prompt_completions_to_wire
from services.server.admission import admission
from services.server.intake import Intake
from services.server.logs import get_logger

TOKENS = Counter("assay_rollout_tokens_total", "Tokens sampled.", ["policy"])
COMPLETIONS = Counter("assay_rollout_completions_total", "Completions, by how they ended.", ["policy", "finish_reason"])
SCORED_TOKENS = Counter("assay_rollout_scored_tokens_total", "Given tokens that got a log-probability.", ["policy"])
UPDATES = Counter("assay_rollout_updates_total", "Weight updates, `served` or `refused`.", ["outcome"])
POLICY_VERSION = Gauge("assay_rollout_policy_version", "Version of the weights that are served.", ["policy"])

REFUSALS = (BadRequestError, EngineError)
FIRST_BYTES, LAST_BYTES = 1600, 700
"""Kept of an error's text. gRPC takes 8 KiB of trailers, and writes a byte that is not printable ASCII as three."""


class RolloutServicer(rollout_pb2_grpc.RolloutServicer):
    """Takes in `limit` completions, sequences and updates at once and refuses what is more."""

    def __init__(self, engine: RolloutEngine, limit: int) -> None:
        self._engine = engine
        self._intake = Intake(limit)

    async def Generate(  # noqa: N802 - gRPC's name
        self, request: rollout_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> rollout_pb2.GenerateResponse:
        try:
            generation = checked_generation(request)
            async with admission(self._intake, len(generation.prompts) * generation.samples, context):
                finished = [each async for each in self._sampled(generation, context)]
        except REFUSALS as error:
            await _refuse(error, context)
        results = _by_prompt(generation, finished)
        return rollout_pb2.GenerateResponse(prompts=[prompt_completions_to_wire(result) for result in results])

    async def GenerateStream(  # noqa: N802
        self, request: rollout_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> None:
        # it writes instead of yielding, so that its cancellation ends the engine's iterator at once
        try:
            generation = checked_generation(request)
            sampled = aclosing(self._sampled(generation, context))
            async with admission(self._intake, len(generation.prompts) * generation.samples, context), sampled as every:
                async for each in every:
                    await context.write(finished_to_wire(generation.prompts[each.prompt].id, each))
        except REFUSALS as error:
            await _refuse(error, context)

    async def Logprobs(  # noqa: N802
        self, request: rollout_pb2.LogprobsRequest, context: grpc.aio.ServicerContext
    ) -> rollout_pb2.LogprobsResponse:
        try:
            sequences = checked_sequences(request)
            async with admission(self._intake, len(sequences), context):
                result = await self._engine.logprobs(request.policy, sequences, context.time_remaining())
        except REFUSALS as error:
            await _refuse(error, context)
        tokens = sum(len(values) for values in result.sequences)
        SCORED_TOKENS.labels(request.policy).inc(tokens)
        get_logger().info("tokens scored", policy=request.policy, sequences=len(sequences), tokens=tokens)
        return rollout_pb2.LogprobsResponse(
            sequences=[rollout_pb2.TokenLogprobs(logprobs=values) for values in result.sequences],
            policy_version=result.policy_version,
        )

    async def UpdateWeights(  # noqa: N802
        self, request: rollout_pb2.UpdateWeightsRequest, context: grpc.aio.ServicerContext
    ) -> rollout_pb2.UpdateWeightsResponse:
        try:
            source = checked_source(request)
            async with admission(self._intake, 1, context):
                difference = await self._engine.update_weights(source)
        except REFUSALS as error:
            UPDATES.labels("refused").inc()
            self._show_versions()
            await _refuse(error, context)
        UPDATES.labels("served").inc()
        self._show_versions()
        get_logger().info(
            "weights updated",
            policy=source.policy,
            version=source.version,
            path=source.path,
            transfer=source.transfer.backend if source.transfer else "",
            probes=len(source.canary),
            canary_difference=difference,
        )
        return rollout_pb2.UpdateWeightsResponse(version=source.version, canary_difference=difference)

    async def Describe(  # noqa: N802
        self, request: rollout_pb2.DescribeRolloutRequest, context: grpc.aio.ServicerContext
    ) -> rollout_pb2.DescribeRolloutResponse:
        engine = self._engine
        return rollout_pb2.DescribeRolloutResponse(
            engine=engine.name,
            dtype=engine.dtype,
            policies=engine.versions,
            transfer_workers=engine.transfer_workers,
        )

    async def _sampled(
        self, generation: Generation, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[Finished, None]:
        """What the engine finishes, counted, and logged once a prompt has all its samples."""
        completions: list[list[Completion]] = [[] for _ in generation.prompts]
        async with aclosing(self._engine.generate(generation, context.time_remaining())) as sampled:
            async for each in sampled:
                TOKENS.labels(generation.policy).inc(len(each.completion.token_ids))
                COMPLETIONS.labels(generation.policy, each.completion.finish_reason.value).inc()
                completions[each.prompt].append(each.completion)
                if len(completions[each.prompt]) == generation.samples:
                    _log_prompt(generation, each.prompt, completions[each.prompt])
                yield each

    def _show_versions(self) -> None:
        POLICY_VERSION.clear()  # a policy that made room for another one is served no more
        for policy, version in self._engine.versions.items():
            POLICY_VERSION.labels(policy).set(version)


async def _refuse(error: BadRequestError | EngineError, context: grpc.aio.ServicerContext) -> NoReturn:
    """Ends the call with the status that fits the error."""
    code = grpc.StatusCode[error.fault] if isinstance(error, EngineError) else grpc.StatusCode.INVALID_ARGUMENT
    reason = _shortened(str(error))
    get_logger().warning("request refused", code=code.name, reason=reason)
    await context.abort(code, reason)
    raise AssertionError("abort raises")


def _shortened(reason: str) -> str:
    """Without the middle where it is too long: names in files and paths may be of any length."""
    written = reason.encode()
    if len(written) <= FIRST_BYTES + LAST_BYTES:
        return reason
    first, last = (part.decode(errors="ignore") for part in (written[:FIRST_BYTES], written[-LAST_BYTES:]))
    return f"{first} ... {last}"


def _log_prompt(generation: Generation, place: int, completions: Sequence[Completion]) -> None:
    prompt = generation.prompts[place]
    get_logger().info(
        "prompt sampled",
        trace_id=prompt.trace_id or prompt.id,
        policy=generation.policy,
        policy_version=min(completion.policy_version for completion in completions),
        completions=len(completions),
        tokens=sum(len(completion.token_ids) for completion in completions),
    )


def _by_prompt(generation: Generation, finished: Sequence[Finished]) -> list[PromptCompletions]:
    """In the order of the prompts, each with its samples in order."""
    found = {(each.prompt, each.sample): each for each in finished}
    results = []
    for place, prompt in enumerate(generation.prompts):
        samples = [found[place, sample] for sample in range(generation.samples)]
        completions = tuple(each.completion for each in samples)
        results.append(PromptCompletions(prompt.id, samples[0].prompt_token_ids, completions))
    return results
