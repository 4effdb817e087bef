"""A rubric of verifiers 0.3 scores rollouts by Assay's function and one of its own; then within a whole environment, whose
model is a small HTTP server."""

import asyncio
import json
import math
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import verifiers as vf
from datasets import Dataset

from services.adapters.verifiers import rubric_func
from services.rewards import Plan

PLAN = Plan({"math/correctness": 1.0, "math/format": 0.1})


def polite(completion):
    return float("please" in completion[-1]["content"])


async def score(reply, answer, function):
    rubric = vf.Rubric(funcs=[function, polite], weights=[2.0, 0.25])
    state = vf.State(
        prompt=[{"role": "user", "content": "2 + 2 = ?"}],
        completion=[{"role": "assistant", "content": reply}],
        answer=answer,
        info={},
        error=None,
    )
    await rubric.score_rollout(state)
    metrics = {name: None if math.isnan(value) else value for name, value in state["metrics"].items()}
    reward = None if math.isnan(state["reward"]) else state["reward"]
    return {"reward": reward, "metrics": metrics, "error": repr(state["error"]) if state["error"] else ""}


class Model(BaseHTTPRequestHandler):
    """Answers each chat with the same words."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "It is \\boxed{4}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        about = {"id": "x", "object": "chat.completion", "created": 0, "model": "tiny", "usage": usage}
        body = json.dumps({**about, "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


async def environment():
    """The rewards of two rollouts that an environment makes by an OpenAI client."""
    os.environ["TINY_KEY"] = "none"
    rows = [{"question": "2 + 2 = ?", "answer": "4"}, {"question": "2 + 3 = ?", "answer": "5"}]
    rubric = vf.Rubric(funcs=[rubric_func(PLAN)])
    env = vf.SingleTurnEnv(dataset=Dataset.from_list(rows), rubric=rubric)
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = vf.ClientConfig(api_key_var="TINY_KEY", api_base_url=f"http://127.0.0.1:{server.server_port}/v1")
        found = await env.generate(env.get_dataset(), client, "tiny")
        server.shutdown()
    return sorted(output["reward"] for output in found["outputs"])


async def main():
    right = "please: \\boxed{4}"
    found = await asyncio.gather(
        score(right, "4", rubric_func(PLAN)),
        score("\\boxed{5}", "4", rubric_func(PLAN)),
        score(right, "", rubric_func(PLAN)),
        score(right, "", rubric_func(PLAN, missing=-1)),
        score(right, "4", rubric_func(PLAN, {"gold": "solution"})),
    )
    print(json.dumps([*found, await environment()]))


asyncio.run(main())
