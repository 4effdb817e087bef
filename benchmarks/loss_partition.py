"""Random optimizer steps cut up in every way: the loss and its gradient must not change.

Ranks are the micro-batches that the trainer would deal them, added up in this process; two real ranks over gloo are
run by `tests/trainer/test_engine.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from benchmarks.figures import Figure
from benchmarks.loss_steps import Outcome, RandomStep, loss_size, outcome, random_composite, random_term
from trainer.composite import Composite
from trainer.losses.registry import BUILT_IN_TERMS

SEQUENCES = 8
OF_EACH_TERM = 10
BARS = {torch.float64: 1e-12, torch.float32: 1e-6}
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Worst:
    """The largest relative differences over some cases, and what was compared."""

    loss: float = 0.0
    gradient: float = 0.0
    cuts: int = 0
    seed: int = 0
    """The case of the largest difference of a gradient."""

    def or_worse(self, other: Worst) -> Worst:
        """Both together."""
        seed = self.seed if self.gradient >= other.gradient else other.seed
        return Worst(max(self.loss, other.loss), max(self.gradient, other.gradient), self.cuts + other.cuts, seed)


def partition(cases: int = 1000, cases_in_float32: int = 1000) -> list[Figure]:
    """One figure for each precision."""
    figures: list[Figure] = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for dtype, count in ((torch.float64, cases), (torch.float32, cases_in_float32)):
            parts = [(range(start, count, PROCESSES), str(dtype)) for start in range(PROCESSES)]
            worst = Worst()
            for found in pool.map(_run, *zip(*parts, strict=True)):
                worst = worst.or_worse(found)
            figures.append(_figure(dtype, count, worst))
    return figures


def _figure(dtype: torch.dtype, cases: int, worst: Worst) -> Figure:
    name = str(dtype).removeprefix("torch.")
    return Figure(
        f"partition invariance, {name}, {cases} random steps in {worst.cuts} cuts: micro-batches of 1 to {SEQUENCES},"
        " 1 and 2 ranks, padding, order of terms",
        f"worst relative difference {worst.loss:.1e} (loss), {worst.gradient:.1e} (gradient, case {worst.seed})",
        f"at most {BARS[dtype]:.0e}",
        max(worst.loss, worst.gradient) <= BARS[dtype],
    )


def _run(seeds: Iterable[int], dtype: str) -> Worst:
    torch.set_num_threads(1)
    worst = Worst()
    for seed in seeds:
        worst = worst.or_worse(case(seed, getattr(torch, dtype.removeprefix("torch."))))
    return worst


def case(seed: int, dtype: torch.dtype) -> Worst:
    """One random step and composite: the first cases go through the built-in terms, alone, the others are random mixtures."""
    chance = random.Random(seed)
    names = tuple(BUILT_IN_TERMS)
    if seed < OF_EACH_TERM * len(names):
        name = names[seed % len(names)]
        composite = Composite([random_term(chance, name, name)])
    else:
        terms = random_composite(chance).terms
        composite = Composite(terms, "pcgrad" if len(terms) > 1 and chance.random() < 0.3 else "sum", seed)
    step = RandomStep.make(seed, dtype, SEQUENCES)
    whole, scale = outcome(step, composite, SEQUENCES, 1), loss_size(step, composite)
    worst = Worst(seed=seed)
    for size in range(1, SEQUENCES + 1):
        for ranks in (1, 2):
            order = Composite(chance.sample(composite.terms, len(composite.terms)), composite.combination, seed)
            cut = outcome(step, order, size, ranks, padding=chance.randint(0, 3))
            worst = worst.or_worse(_difference(whole, cut, scale, seed))
    return worst


def _difference(whole: Outcome, cut: Outcome, scale: float, seed: int) -> Worst:
    """Losses against the sum of all sizes, gradients against the whole gradient's."""
    loss = abs(cut.loss - whole.loss)
    size = float(whole.gradient.norm())
    gradient = float((cut.gradient - whole.gradient).norm())
    return Worst(loss / scale if scale else loss, gradient / size if size else gradient, 1, seed)
