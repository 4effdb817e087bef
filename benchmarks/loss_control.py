"""The negative control: a compile score does nothing as a loss, and raises the compilation rate as a reward.

A tiny policy writes short strings of code tokens. The score of a string is whether Python compiles it. As a cross-entropy
the score is refused before anything runs. As a reward it goes the way of every job: advantages, micro-batches, the
composite with `grpo`, and the DeepSpeed engine. What it learns is modest: the shortest programs compile most surely.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.figures import Figure
from trainer.advantages import ScoredCompletion, compute_advantages
from trainer.batching import make_micro_batches
from trainer.composite import Composite
from trainer.engine import Engine
from trainer.engine_config import EngineConfig
from trainer.group import RankGroup, join_group, leave_group
from trainer.policy import Policy
from trainer.probe import probe_term
from trainer.sample import Sample
from trainer.term import make_term

VOCABULARY = ("", "x", "y", " = ", " + ", "1", "2", "(", ")", "\n", "print", "if ", ":\n", "    ")
"""The first one begins and ends a string."""
END = 0
LONGEST = 8
SEEDS = (0, 1, 2, 3, 4)
STEPS, GROUPS, GROUP_SIZE = 30, 16, 8
MEASURED = 1024
"""Strings that a compilation rate is measured on."""
LEAST_GAIN = 0.1


def control(seeds: Sequence[int] = SEEDS) -> list[Figure]:
    """Whether the score is refused as a loss, and the compilation rates before and after it was a reward."""
    problems = probe_term(
        make_term("compiles", path="benchmarks.bad_losses.compile_cross_entropy"), components=["code/compiles"]
    )
    told = "refused" if problems and "it is a reward" in problems[0] else "not refused"
    group = join_group()
    try:
        rates = [train(seed, group) for seed in seeds]
    finally:
        leave_group()
    rose = sum(after >= before + LEAST_GAIN for before, after in rates)
    return [
        Figure("compile score as a loss", told, "refused, as a reward is named", told == "refused"),
        Figure(
            "compile score as a reward: rate before and after",
            ", ".join(f"{before:.0%} to {after:.0%}" for before, after in rates),
            f"{LEAST_GAIN:.0%} more in all {len(rates)} seeds",
            rose == len(rates),
        ),
    ]


def train(seed: int, group: RankGroup) -> tuple[float, float]:
    """The compilation rate of sampled strings before and after a short run."""
    torch.manual_seed(seed)
    size: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    policy = Policy(LlamaForCausalLM(LlamaConfig(vocab_size=len(VOCABULARY), max_position_embeddings=16, **size)))
    engine = Engine(policy, EngineConfig(), group)
    composite = Composite([make_term("policy", type="grpo")])
    before = _rate(policy)
    for step in range(STEPS):
        batches = make_micro_batches(_rollouts(policy), GROUPS * GROUP_SIZE)
        engine.train_step(batches, composite, step=step, total_steps=STEPS, learning_rate=5e-3)
    return before, _rate(policy)


def compiles(text: str) -> bool:
    """Whether it is code, and any at all: an empty string would be the easiest to write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            compile(text, "<sample>", "exec")
        except SyntaxError:
            return False
    return bool(text.strip())


def _rollouts(policy: Policy) -> list[Sample]:
    rows = sample(policy, GROUPS * GROUP_SIZE)
    scored = [
        ScoredCompletion(group=place // GROUP_SIZE, components={"code/compiles": float(compiles(_text(tokens)))})
        for place, (tokens, _) in enumerate(rows)
    ]
    found = compute_advantages(scored, {"code/compiles": 1.0}, "group_mean")
    return [
        Sample(
            prompt_ids=[END],
            completion_ids=tokens,
            logprobs=logprobs,
            advantage=float(found.advantages[place]),
            group=place // GROUP_SIZE,
            reward=float(found.rewards[place]),
            components=scored[place].components,
            component_advantages=found.named[place],
        )
        for place, (tokens, logprobs) in enumerate(rows)
    ]


@torch.no_grad()
def sample(policy: Policy, count: int) -> list[tuple[list[int], list[float]]]:
    """Strings of tokens up to and with the end, and the log-probability of each token, in nats."""
    ids = torch.full((count, 1), END)
    for _ in range(LONGEST):
        logits = policy.model(input_ids=ids, use_cache=False).logits[:, -1]
        ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], dim=1)
    logprobs = policy.model(input_ids=ids, use_cache=False).logits[:, :-1].log_softmax(-1)
    chosen = logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1)
    lengths = [row.index(END) + 1 if END in row else LONGEST for row in ids[:, 1:].tolist()]
    return [
        (tokens[:length], scores[:length])
        for tokens, scores, length in zip(ids[:, 1:].tolist(), chosen.tolist(), lengths, strict=True)
    ]


def _rate(policy: Policy) -> float:
    rows = sample(policy, MEASURED)
    return sum(compiles(_text(tokens)) for tokens, _ in rows) / len(rows)


def _text(tokens: Sequence[int]) -> str:
    return "".join(VOCABULARY[token] for token in tokens)
