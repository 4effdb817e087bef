"""Calls an engine without the service: `python -m benchmarks.rollouts_direct ENGINE DIRECTORY`, under the engine's Python.

Each line on standard input is one round, answered by a line `{"seconds": ..., "tokens": ...}`.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.rollout.engine import Generation, Prompt, Sampling, WeightSource

PROMPTS = tuple(Prompt(str(number), f"{number} + {7 * number} = ") for number in range(32))
SAMPLES = 8
SAMPLING = Sampling(max_new_tokens=64, seed=1)

Round = Callable[[], Awaitable[int]]
"""Samples everything; how many tokens that were."""


def transformers_round(directory: Path) -> Round:
    from services.rollout.transformers_engine import TransformersEngine

    engine = TransformersEngine(max_policies=1, max_batch_sequences=256, dtype="auto", device="auto")
    engine.update_weights(WeightSource("policy", 1, str(directory)))
    request = Generation("policy", PROMPTS, SAMPLES, SAMPLING)

    async def run() -> int:
        return sum(len(each.completion.token_ids) for each in engine.generate(request, lambda: None))

    return run


def vllm_round(directory: Path) -> Round:
    from services.rollout.vllm_options import engine_arguments, prepare_environment

    prepare_environment()
    from transformers import AutoTokenizer
    from vllm import SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    llm = AsyncLLM.from_engine_args(engine_arguments(str(directory), "float32", {}))
    tokenizer = AutoTokenizer.from_pretrained(directory)

    async def one(text: str, number: int) -> int:
        params = SamplingParams(
            temperature=SAMPLING.temperature,
            max_tokens=SAMPLING.max_new_tokens,
            seed=number,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = TokensPrompt(prompt_token_ids=tokenizer(text)["input_ids"])
        found = 0
        async for output in llm.generate(prompt, params, f"{text}/{number}/{time.monotonic_ns()}"):
            found = len(output.outputs[0].token_ids)
        return found

    async def run() -> int:
        return sum(await asyncio.gather(*(one(each.text, n) for each in PROMPTS for n in range(SAMPLES))))

    return run


async def main(engine: str, directory: Path) -> None:
    run = {"transformers": transformers_round, "vllm": vllm_round}[engine](directory)
    await run()  # the first one makes what the others use again
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        began = time.monotonic()
        tokens = await run()
        print(json.dumps({"seconds": time.monotonic() - began, "tokens": tokens}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
