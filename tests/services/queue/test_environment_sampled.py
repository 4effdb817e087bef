"""A conversation with the calculator, sampled by the real rollout service from a model that has learned to call it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.environments.calculator import Calculator
from examples.quickstart.make import write_model
from services.client.rollout import RolloutClient
from services.queue.collection import CollectionEnvironment, CollectionRequest
from services.queue.conversation import Conversations
from services.rollout.engine import Completion, FinishReason, Prompt, Sampling, TokenSequence

PROMPT, CALL, ANSWER, END = "1+2? ", "<calc>1+2</calc>", " = 3\n", "It is 3."


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows one conversation by heart."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, 0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([tokenizer(PROMPT + CALL + ANSWER + END)["input_ids"] + [model.config.eos_token_id]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


def test_the_service_goes_on_from_the_answer(start_service: Callable[..., Any], model_dir: Path) -> None:
    service = start_service("services.rollout")
    sampling: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 60, "stop": ("</calc>",)}
    prompts = [{"key": "k", "id": "p", "domain": "d", "text": PROMPT}]
    environment = CollectionEnvironment(path="examples.environments.calculator:Calculator")
    request = CollectionRequest.model_validate(
        {"key": "t", "reply_to": "r", "policy": "policy", "min_policy_version": 5, "samples": 2, "scorers": {"d": []}}
        | {"prompts": prompts, "sampling": sampling, "environment": environment}
    )
    with RolloutClient(service.address) as client:
        client.update_weights("policy", 5, model_dir)
        (first,) = client.generate("policy", [Prompt("p", PROMPT)], 2, Sampling(**sampling))
        calls: Counter[str] = Counter()
        talks = Conversations(client, request, environment, Calculator, time.monotonic() + 60, calls)
        results, failed = asyncio.run(talks.hold(request.prompts[0], first))
        (theirs,) = client.logprobs(
            "policy", [TokenSequence(results.prompt_token_ids, results.completions[0].token_ids)]
        ).sequences
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (CALL, ANSWER, END)]
    parts[-1].append(tokenizer.eos_token_id)
    assert failed == {} and calls == {"rollout": 2}
    for completion in results.completions:
        assert completion.token_ids == tuple(token for part in parts for token in part)
        assert completion.given == tuple(place == 1 for place, part in enumerate(parts) for _ in part)
        assert completion.text == "<calc>1+2" + ANSWER + END, "a stop string is no part of the text"
        assert completion.finish_reason is FinishReason.STOP and set(completion.token_versions) == {5}
        right = [
            0.0 if given else value for given, value in zip(completion.given, plain(model_dir, completion), strict=True)
        ]
        assert completion.logprobs == pytest.approx(right, abs=1e-5)
    assert len(theirs) == len(results.completions[0].token_ids), (
        "given tokens have log-probabilities under other policies"
    )


def plain(model_dir: Path, completion: Completion) -> list[float]:
    """Log-probabilities of all its tokens by one forward pass."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    context = AutoTokenizer.from_pretrained(model_dir)(PROMPT)["input_ids"]
    ids = torch.tensor([[*context, *completion.token_ids]])
    with torch.inference_mode():
        table = model(ids).logits[0, len(context) - 1 : -1].log_softmax(-1)
    return table.gather(1, ids[0, len(context) :, None])[:, 0].tolist()
