"""What it costs to compare completions in other groups, and to measure how far the sampler is from the trainer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.figures import Figure
from trainer.group import RankGroup
from trainer.grouping import Candidate, Formation, GroupBy, form_groups
from trainer.losses.packed import PackedBatch
from trainer.mismatch import Bounds, Mismatch

STRATEGIES: tuple[GroupBy, ...] = tuple(by for by in get_args(GroupBy) if by != "prompt")
COMPLETIONS, TOKENS = 1024, 1_000_000


def groups() -> Iterator[Figure]:
    """The figures; none needs a service."""
    faults = [_faults(by, seed) for by in STRATEGIES for seed in range(20)]
    yield Figure(
        f"groups: {len(faults)} formations, {len(STRATEGIES)} strategies",
        f"{sum(faults)} completions outside exactly one group of the asked size, or elsewhere when they come in another order",
        "0",
        sum(faults) == 0,
    )
    many = _completions(COMPLETIONS, seed=1)
    seconds = {by: _cpu_seconds(lambda by=by: form_groups(many, _formation(by), 0, 0, _embed)) for by in STRATEGIES}
    slowest = max(seconds, key=seconds.__getitem__)
    yield Figure(
        f"groups: CPU seconds to form those of {COMPLETIONS} completions, embeddings apart",
        f"{seconds[slowest]:.2f} ({slowest})",
        "at most 2",
        seconds[slowest] <= 2,
    )
    spent = _cpu_seconds(_mismatch)
    yield Figure(f"mismatch: CPU seconds for {TOKENS:,} tokens of a step", f"{spent:.2f}", "at most 1", spent <= 1)


def _completions(count: int, seed: int) -> list[Candidate]:
    """Eight of a prompt, with rewards of a few sizes, in two domains."""
    chance = random.Random(seed)
    prompts = [tuple(chance.randrange(1000) for _ in range(chance.randint(20, 200))) for _ in range(count // 8 + 1)]
    return [
        Candidate(
            prompt_id=str(number // 8),
            kind=(("math", "code")[number // 8 % 2],),
            prompt_ids=prompts[number // 8],
            completion_ids=tuple(chance.randrange(1000) for _ in range(chance.randint(1, 100))),
            reward=chance.choice([0.0, 0.25, 0.5, 1.0]),
        )
        for number in range(count)
    ]


def _formation(by: GroupBy) -> Formation:
    return Formation(by, 4, 16, criteria={"performance": 1.0, "semantic": 1.0} if by == "multi_criteria" else {})


def _embed(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """A random direction for each prompt, near those of its neighbours."""
    angle = np.array([np.random.default_rng(sum(each.prompt_ids)).normal(size=384) for each in candidates]) + 0.5
    return (angle / np.linalg.norm(angle, axis=1, keepdims=True)).astype(np.float32)


def _faults(by: GroupBy, seed: int) -> int:
    many = _completions(64 + seed, seed)
    formed = form_groups(many, _formation(by), seed, seed, _embed)
    order = random.Random(seed).sample(range(len(many)), len(many))
    again = form_groups([many[place] for place in order], _formation(by), seed, seed, _embed)
    companions = [_companions(formed, place) for place in range(len(many))]
    moved = [{order[other] for other in _companions(again, place)} for place in range(len(order))]
    wrong = sum(not 4 <= len(found) <= 16 for found in companions)
    return wrong + sum(moved[place] != companions[original] for place, original in enumerate(order))


def _companions(formed: Sequence[int], place: int) -> set[int]:
    return {other for other, number in enumerate(formed) if number == formed[place]}


def _mismatch() -> None:
    lengths = torch.full((TOKENS // 1000,), 1000)
    logprobs = -torch.rand(TOKENS)
    batch = PackedBatch(
        trainer_logprobs=logprobs,
        sequence_index=torch.arange(len(lengths)).repeat_interleave(lengths),
        sequence_count=len(lengths),
        loss_mask=torch.ones(TOKENS, dtype=torch.bool),
        inference_logprobs=logprobs + 0.01 * torch.randn(TOKENS),
    )
    mismatch = Mismatch(Bounds())
    mismatch.add(batch, torch.arange(TOKENS) % 3)
    mismatch.metrics(RankGroup(0, 1, torch.device("cpu")))


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
