"""The terms' gradients add up to the whole gradient, and what it costs to have each of them alone."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.figures import Figure
from benchmarks.loss_steps import STEP, TOTAL_STEPS, RandomStep, random_composite
from examples.quickstart.make import write_model
from trainer.attribution import inner_products
from trainer.batching import MicroBatch, make_micro_batches
from trainer.composite import Composite
from trainer.losses.aggregation import Counts
from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.policy import Policy, load_policy
from trainer.sample import Sample
from trainer.step_plan import StepPlan
from trainer.step_totals import StepTotals
from trainer.term import make_term

IDENTITY_BAR = 1e-12
COST_BAR, COST_AIM = 0.05, 0.01
TERMS = (
    "grpo",
    "kl",
    "entropy",
    "sft_smoothed",
    "reinforce",
    "cispo",
    "gspo",
    "gmpo",
    "vespo",
    "length",
    "dpo",
    "group_preference",
)
SEQUENCES, PROMPT, COMPLETION, GROUP = 500, 24, 16, 4
"""8,000 completion tokens, of lengths as the quickstart has them."""


def identity(cases: int = 300) -> Figure:
    """The weighted sum of the terms' gradients against plain back-propagation of the loss, over all tokens of a step."""
    worst = max(_identity(seed) for seed in range(cases))
    return Figure(
        f"attribution identity, float64, {cases} random composites",
        f"worst relative difference {worst:.1e} between the sum of the terms' gradients and the whole gradient",
        f"at most {IDENTITY_BAR:.0e}",
        worst <= IDENTITY_BAR,
    )


def _identity(seed: int) -> float:
    step, composite = RandomStep.make(seed), random_composite(random.Random(seed))
    batches, counts = step.batches(composite.whole_groups, 3, 1)
    plan = _plan(composite, counts, batches)
    weights = torch.tensor(list(plan.weights.values()), dtype=torch.float64)
    together: list[Tensor] = []
    direct: list[Tensor] = []
    for batch in batches:
        part = plan.gradients(batch)
        together.append(torch.einsum("k,kfn->fn", weights, part.gradients).flatten())
        loss = composite.loss(batch, plan.normalisers, STEP, TOTAL_STEPS, plan.statistics).loss
        live = [getattr(batch, name) for name in part.fields]
        whole = torch.autograd.grad(loss, live, allow_unused=True, materialize_grads=True)
        direct.append(torch.cat(whole))
    size = float(torch.cat(direct).norm())
    difference = float((torch.cat(together) - torch.cat(direct)).norm())
    return difference / size if size else difference


def cost(micro_batch_sizes: tuple[int, ...] = (SEQUENCES, 32), repeats: int = 7) -> list[Figure]:
    """Attribution's share of a training step of the quickstart model; the bar is for the whole step in one micro-batch."""
    composite = Composite([make_term(name, type=name) for name in TERMS])
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), seed=0)
        policy = load_policy(Path(folder))
    return [_cost(policy, composite, size, repeats) for size in micro_batch_sizes]


def _cost(policy: Policy, composite: Composite, size: int, repeats: int) -> Figure:
    micro_batches = make_micro_batches(_samples(), size, whole_groups=composite.whole_groups)
    counts = Counts.total(batch.counts for batch in micro_batches)
    with torch.no_grad():
        scores = [policy(batch, composite.needs) for batch in micro_batches]
    batches = [
        _leaves(batch.pack(given, STEP, TOTAL_STEPS)) for batch, given in zip(micro_batches, scores, strict=True)
    ]
    plan = _plan(composite, counts, batches)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-5)

    def attributed() -> None:
        totals = StepTotals()
        for batch in batches:
            part = plan.gradients(batch)
            totals.add(part.terms, inner_products(part, batch))
            part.surrogate(batch, list(plan.weights.values())).backward()
        plan.metrics(totals, micro_batches[0].domains)

    def plain() -> None:
        for batch in batches:
            composite.loss(batch, plan.normalisers, STEP, TOTAL_STEPS, plan.statistics).loss.backward()

    extra = [_seconds(attributed) - _seconds(plain) for _ in range(repeats)]
    steps = [_seconds(lambda: _train(policy, composite, plan, micro_batches, optimizer)) for _ in range(3)]
    extra_seconds, step_seconds = statistics.median(extra), statistics.median(steps)
    tokens = counts.tokens
    return Figure(
        f"attribution's cost, {len(TERMS)} terms, {tokens:,} tokens in micro-batches of {size}",
        f"{extra_seconds / step_seconds:.2%} of a training step ({extra_seconds * 1000:.1f} of"
        f" {step_seconds * 1000:.0f} ms)",
        f"at most {COST_BAR:.0%}, aim {COST_AIM:.0%}",
        extra_seconds / step_seconds <= COST_BAR,
    )


def _plan(composite: Composite, counts: Counts, batches: list[PackedBatch]) -> StepPlan:
    plan = StepPlan(composite, composite.normalisers(counts), STEP, TOTAL_STEPS)
    return plan.with_statistics(StepTotals.combine([plan.measure(batches).to_json()]))


def _train(
    policy: Policy,
    composite: Composite,
    plan: StepPlan,
    micro_batches: list[MicroBatch],
    optimizer: torch.optim.Optimizer,
) -> None:
    for micro_batch in micro_batches:
        batch = plan.pack(micro_batch, policy(micro_batch, composite.needs))
        composite.loss(batch, plan.normalisers, STEP, TOTAL_STEPS, plan.statistics).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def _leaves(batch: PackedBatch) -> PackedBatch:
    for name in LIVE_FIELDS:
        if getattr(batch, name) is not None:
            getattr(batch, name).requires_grad_()
    return batch


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _samples() -> list[Sample]:
    chance = random.Random(0)
    return [
        Sample(
            prompt_ids=[chance.randrange(4, 99) for _ in range(PROMPT)],
            completion_ids=[chance.randrange(4, 99) for _ in range(COMPLETION)],
            logprobs=[chance.uniform(-6, -3) for _ in range(COMPLETION)],
            ref_logprobs=[chance.uniform(-6, -3) for _ in range(COMPLETION)],
            advantage=chance.gauss(0, 1),
            group=place // GROUP,
            reward=chance.random(),
            domain=("code", "math")[place // GROUP % 2],
        )
        for place in range(SEQUENCES)
    ]
