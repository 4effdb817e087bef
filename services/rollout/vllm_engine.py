"""Samples with vLLM: continuous batching over all requests, prefix caching, tensor parallelism, LoRA adapters.

What it does not guarantee: that a request gives the same tokens when other requests run beside it. Each sample has a random
stream of its own, but batches of another make-up round differently in the last bits, which now and then turns a draw.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from services.rollout.canary import check_finite
from services.rollout.engine import (
    EngineError,
    EngineFault,
    Finished,
    Generation,
    OnHealth,
    RolloutEngine,
    SequenceLogprobs,
    TokenSequence,
    WeightSource,
)
from services.rollout.held import check_new_enough
from services.rollout.vllm_options import Merged, check_options, engine_options, prepare_environment, resolved_dtype
from services.rollout.vllm_policies import Policies
from services.rollout.vllm_sampling import Ask, all_at_once, choose, given_logprobs, sample, stream_seed
from services.rollout.vllm_transfer import check_transfer, transfer_workers
from services.server.errors import StartError
from services.server.options import ServiceParser, positive

HIGHEST_TEMPERATURE = 2.0


def add_options(parser: ServiceParser) -> None:
    """The flags of the vLLM engine."""
    parser.add_option(
        "--max-policies",
        type=positive,
        default=2,
        help="policies held, each in a vLLM of its own; see --vllm for memory",
    )
    parser.add_option(
        "--vllm",
        type=engine_options,
        action=Merged,
        default="{}",
        metavar="KEY=VALUE",
        help="an argument of vLLM's engine (tensor_parallel_size=2, gpu_memory_utilization=0.4), repeated; "
        "the variable has them as a JSON object",
    )


async def open_engine(options: argparse.Namespace, on_health: OnHealth) -> RolloutEngine:
    """An engine without policies; vLLM starts with the first. Raises StartError."""
    prepare_environment()
    try:
        await asyncio.to_thread(check_options, options.vllm)
    except ImportError as error:
        raise StartError(
            f"vLLM cannot be imported by {sys.executable}: {error}. It has an environment of its own, which `make test-vllm` "
            "sets up; start this service with that environment's Python"
        ) from error
    return VllmEngine(options.max_policies, options.dtype, options.vllm)


class VllmEngine:
    """A `RolloutEngine`; holds up to `max_policies` vLLM engines and gives up the one that was not used for longest.

    dtype: `float32`, `bfloat16`, `float16`, or `auto`: float32 on a CPU, bfloat16 elsewhere.
    options: arguments of vLLM's engine (`services.rollout.vllm_options`).
    """

    name = "vllm"

    def __init__(self, max_policies: int, dtype: str, options: Mapping[str, Any]) -> None:
        self.dtype = resolved_dtype(dtype)
        self.transfer_workers = transfer_workers(options)
        self._policies = Policies(max_policies, self.dtype, options)
        self._running: set[asyncio.Task[Any]] = set()
        self._watcher: asyncio.Task[Any] | None = None
        self._closed = False

    @property
    def versions(self) -> Mapping[str, int]:
        return self._policies.versions

    async def update_weights(self, source: WeightSource) -> float:
        if source.transfer:
            check_transfer(source.transfer, self.transfer_workers)
        self._watcher = self._watcher or self._keep(self._policies.watch())
        gone = asyncio.Event()
        try:
            return await self._result(asyncio.shield(self._keep(self._policies.update(source, gone))))
        except asyncio.CancelledError:
            gone.set()
            raise

    async def generate(self, request: Generation, seconds: float | None) -> AsyncGenerator[Finished, None]:
        finished: asyncio.Queue[Finished | None] = asyncio.Queue()
        work = self._keep(self._generate(request, seconds, finished))
        work.add_done_callback(lambda _work: finished.put_nowait(None))
        try:
            while (each := await finished.get()) is not None:
                yield each
            await self._result(work)
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError, EngineError):
                await work

    async def logprobs(
        self, policy: str, sequences: Sequence[TokenSequence], seconds: float | None
    ) -> SequenceLogprobs:
        return await self._result(self._keep(self._logprobs(policy, sequences, seconds)))

    async def close(self) -> None:
        self._closed = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await self._policies.close()
        await asyncio.gather(*running, return_exceptions=True)

    async def _result(self, work: asyncio.Future[Any]) -> Any:
        try:
            return await work
        except asyncio.CancelledError:
            if self._closed:
                raise EngineError(EngineFault.UNAVAILABLE, "the engine is being closed") from None
            raise

    async def _logprobs(
        self, policy: str, sequences: Sequence[TokenSequence], seconds: float | None
    ) -> SequenceLogprobs:
        async with _within(seconds), self._policies.use(policy) as held:
            held.text.check_sequences("sequences", sequences)
            values = await all_at_once(given_logprobs(held.core, sequence, held.adapter) for sequence in sequences)
            check_finite(value for each in values for value in each)
            return SequenceLogprobs(tuple(values), held.source.version)

    async def _generate(
        self, request: Generation, seconds: float | None, finished: asyncio.Queue[Finished | None]
    ) -> None:
        async with _within(seconds), self._policies.use(request.policy) as held:
            version = held.source.version
            check_new_enough(request, version)
            if request.sampling.temperature > HIGHEST_TEMPERATURE:
                raise EngineError(
                    EngineFault.INVALID_ARGUMENT,
                    f"sampling.temperature is {request.sampling.temperature}; vLLM takes at most {HIGHEST_TEMPERATURE}",
                )
            choices = held.text.choices(request.sampling)
            prompts = []
            for prompt in request.prompts:
                prompts.append(held.text.encode(prompt, request.sampling.max_new_tokens))
                await asyncio.sleep(0)  # other calls go on, and this one's time may end

            async def one(place: int, number: int) -> None:
                seed = stream_seed(request.sampling.seed, request.prompts[place].id, number)
                ask = Ask(held.core, held.text, prompts[place], request.sampling, seed, version, held.adapter)
                completion = await (choose(ask, choices) if choices else sample(ask))
                finished.put_nowait(Finished(place, number, tuple(prompts[place]), completion))

            await all_at_once(one(place, number) for place in range(len(prompts)) for number in range(request.samples))

    def _keep(self, work: Any) -> asyncio.Task[Any]:
        """A task that its caller need not wait for; its error is the caller's, or nobody's."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


@asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise EngineError(EngineFault.DEADLINE_EXCEEDED, "the call's time ended before its work") from None
