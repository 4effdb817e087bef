"""OpenRLHF's executor of one turn asks for rewards, by a Python file or over HTTP; an engine that says what it is told
stands in for vLLM."""

import asyncio
import json
import sys
from types import SimpleNamespace

from openrlhf.utils.agent import SingleTurnAgentExecutor

from examples.quickstart.make import make_tokenizer

SAMPLING = SimpleNamespace(max_tokens=64, logprobs=None)


class Engine:
    """Generates one text, with its end token."""

    def __init__(self, tokenizer, text):
        self.token_ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]

    async def generate(self, prompt_token_ids, sampling_params, multi_modal_data=None):
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=self.token_ids, finish_reason="stop", logprobs=None)])


async def ask(endpoint, asked):
    tokenizer = make_tokenizer()
    executor = SingleTurnAgentExecutor(endpoint)
    found = []
    for text, label in asked:
        engine = Engine(tokenizer, text)
        output = await executor.execute("2 + 2 = \\boxed{7}? ", label, SAMPLING, 256, tokenizer, engine)
        found.append({key: output[key] for key in ("reward", "scores", "extra_logs")})
    return found


async def main():
    print(json.dumps([await ask(*one) for one in json.loads(sys.argv[1])]))


asyncio.run(main())
