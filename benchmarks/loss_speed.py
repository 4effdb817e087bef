"""Built-in terms on a whole micro-batch against the same terms called on each sequence alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.figures import Figure
from benchmarks.loss_modes import defaults, modes
from benchmarks.loss_tensors import live_leaves, parted, random_batch, share, with_statistics
from trainer.losses.contract import Scope
from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.term import Term

SEQUENCES, TOKENS = 256, 512
BAR = 10.0
UNITS: Mapping[Scope, int] = {"sequence": 1, "pair": 2, "group": 2}
"""How many sequences a call of the loop gets: one alone means nothing to a term of pairs or groups."""


def speed(repeats: int = 5) -> list[Figure]:
    """The speed-up of every built-in term with its defaults, and whether any term launches more kernels for more."""
    speedups = {term.name: _speedup(term, repeats) for term in defaults()}
    worst = min(speedups, key=lambda name: speedups[name])
    grown = [term.name for term in modes() if _kernels(term, 8) != _kernels(term, SEQUENCES)]
    return [
        Figure(
            f"built-in terms against a loop over sequences, {SEQUENCES} x {TOKENS} tokens, forward and backward",
            f"{statistics.geometric_mean(speedups.values()):.1f} times faster (geometric mean of {len(speedups)} terms);"
            f" least {speedups[worst]:.1f} ({worst})",
            f"{BAR:.0f} times or more, every term",
            speedups[worst] >= BAR,
        ),
        Figure(
            f"kernels launched for {SEQUENCES} sequences and for 8, forward and backward",
            f"equal for {len(modes()) - len(grown)} of {len(modes())} terms and modes{': ' * bool(grown)}{', '.join(grown)}",
            "equal for all",
            not grown,
        ),
    ]


def _speedup(term: Term, repeats: int) -> float:
    group = UNITS[term.scope]
    batch, leaves = live_leaves(random_batch([TOKENS] * SEQUENCES, 0, torch.float32, group=2))
    names = [name for name in LIVE_FIELDS if name == "trainer_logprobs" or name in term.needs]
    live = [leaf for name, leaf in zip(LIVE_FIELDS, leaves, strict=True) if name in names]
    whole = with_statistics(term, batch)
    parts = [with_statistics(term, part) for part in parted(batch, group)]

    def together() -> None:
        torch.autograd.grad(_sum(term, [whole]), live, allow_unused=True)

    def loop() -> None:
        columns = [leaf.split(group * TOKENS) for leaf in live]
        rows = zip(parts, zip(*columns, strict=True), strict=True)
        given = [replace(part, **dict(zip(names, row, strict=True))) for part, row in rows]
        torch.autograd.grad(_sum(term, given), live, allow_unused=True)

    return _median(loop, repeats) / _median(together, 2 * repeats)


def _sum(term: Term, parts: Sequence[PackedBatch]) -> Tensor:
    return torch.stack([term.aggregation.sum(term.function(part), part) for part in parts]).sum()


def _median(run: Callable[[], None], repeats: int) -> float:
    run()
    seconds: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


class Kernels(TorchDispatchMode):
    """Counts what is launched."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def _kernels(term: Term, sequences: int) -> int:
    batch, leaves = live_leaves(random_batch([4] * sequences, 0))
    with Kernels() as kernels:
        torch.autograd.grad(share(term, batch), leaves, allow_unused=True)
    return kernels.count
