"""Gradients of the built-in terms against numerical derivatives, in float64.

Some terms stop gradients on purpose: a numerical derivative of their value is another thing. So every `detach` of a call
is recorded once and given back in the calls that are differentiated numerically: what is compared is the derivative of
the function whose stopped parts are frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.overrides import TorchFunctionMode

from benchmarks.figures import Figure
from benchmarks.loss_modes import modes
from benchmarks.loss_tensors import random_batch, with_statistics
from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.term import Term

LENGTHS = (3, 1, 4, 2)
SEEDS = 5


class Frozen(TorchFunctionMode):
    """Gives what is detached the values that it had in the first call, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[Tensor] = []
        self._place: int | None = None

    def replay(self) -> Frozen:
        """From the start, with the values recorded so far."""
        self._place = 0
        return self

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func is not torch.Tensor.detach:
            return found
        if self._place is None:
            self._seen.append(found.clone())
            return found
        self._place += 1
        return self._seen[self._place - 1]


def gradients() -> Figure:
    """Every built-in term in every mode, on small random batches."""
    failed: dict[str, str] = {}
    plain = 0
    for term in modes():
        unfrozen = True
        for seed in range(SEEDS):
            function, inputs = _function(term, random_batch(LENGTHS, seed, group=2))
            unfrozen = unfrozen and not _fault(function, inputs)
            fault = _fault(_frozen(function, inputs), inputs)
            if fault:
                failed[term.name] = fault
        plain += unfrozen
    count = len(modes())
    told = f"{len(failed)} of {count} fail"
    return Figure(
        f"gradcheck of built-in terms and modes, float64, {SEEDS} random batches each",
        f"{told} ({plain} as they are, {count - plain} with the parts that stop gradients frozen)"
        + "".join(f"; {name}: {fault}" for name, fault in failed.items()),
        "0 fail",
        not failed,
    )


def _function(term: Term, batch: PackedBatch) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The term's sum as a function of the live fields that it reads, and these."""
    names = [name for name in LIVE_FIELDS if name == "trainer_logprobs" or name in term.needs]
    measured = with_statistics(term, batch)

    def function(*live: Tensor) -> Tensor:
        given = replace(measured, **dict(zip(names, live, strict=True)))
        return term.aggregation.sum(term.function(given, **term.kwargs_at(0, 1)), given)

    return function, [getattr(batch, name).clone().requires_grad_() for name in names]


def _frozen(function: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[..., Tensor]:
    mode = Frozen()
    with mode:
        function(*inputs)

    def replayed(*live: Tensor) -> Tensor:
        with mode.replay():
            return function(*live)

    return replayed


def _fault(function: Callable[..., Tensor], inputs: list[Tensor]) -> str:
    try:
        gradcheck(function, tuple(inputs))
    except GradcheckError as error:
        return str(error).partition("\n")[0]
    return ""
