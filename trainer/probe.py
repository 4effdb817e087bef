"""Tries every term on synthetic tensors before a job is queued, so that no run starts with a term that trains nothing.

A score is not a loss: what does not depend on the policy's log-probabilities has no gradient, and a job with such a term
would run to its end without learning from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainer.losses.aggregation import Aggregation
from trainer.losses.contract import LossInputs
from trainer.losses.packed import PackedBatch
from trainer.losses.user import LossFunction, checked_loss
from trainer.term import Term, TermError

# User code may compute in float32 whatever it is given.
TOLERANCE = 1e-4


def probe_term(term: Term, total_steps: int = 100) -> list[str]:
    """What is wrong with a term, with the remedy, in one line that names it; empty where nothing is. Takes milliseconds.

    Tried with the arguments of the first, the middle and the last step. The value and the gradient must be finite, the
    gradient not 0, and no token that is masked may move anything. A user's function must also be a sum: its value for
    the tokens of two sequences is the sum of its values for each. Not a proof: what a term does only for tokens unlike
    these is not seen.
    """
    try:
        for step in sorted({0, total_steps // 2, max(0, total_steps - 1)}):
            _probe(term, step, total_steps)
    except TermError as error:
        return [str(error)]
    return []


def _probe(term: Term, step: int, total_steps: int) -> None:
    batch = _batch(step, total_steps)
    kwargs = term.kwargs_at(step, total_steps)
    try:
        output = term.function(batch if term.user_function else batch.valid(), **kwargs)
        value = Aggregation("sum").sum(output, batch.valid())
    except Exception as error:  # whatever a user's code raises
        none = "; ref_logprobs and entropy are None unless the term asks for them with needs = [...]"
        hint = none if term.user_function and "NoneType" in str(error) else ""
        raise TermError(f"term {term.name!r}: {type(error).__name__}: {error}{hint}") from error
    gradient = _gradient(value, batch)
    _require(
        term, bool(value.isfinite()), f"its value on ordinary tokens is {value.item()}", "look for a division by 0"
    )
    _require(
        term,
        bool((gradient != 0).any()),
        "it has no gradient, so it would train nothing",
        "if it is a score of the text, it is a reward: name it under [rewards], it then enters through advantages;"
        " if it is a loss, compute it from trainer_logprobs without detach, item, round or comparisons",
    )
    _require(term, bool(gradient.isfinite().all()), "its gradient is NaN or infinite", "look for sqrt or log at 0")
    if term.user_function is not None:
        _probe_user(term, term.user_function, kwargs, batch)


def _probe_user(term: Term, function: LossFunction, kwargs: Mapping[str, Any], batch: PackedBatch) -> None:
    def loss(inputs: LossInputs) -> float:
        return checked_loss(function(inputs, **kwargs)).item()

    def same(left: float, right: float) -> bool:
        return abs(left - right) <= TOLERANCE * max(1.0, abs(right))

    first, second, masked = batch.sequences()
    _require(
        term,
        same(loss(_join(first, second)), loss(first) + loss(second)),
        "its value for the tokens of two sequences is not the sum of its values for each",
        "return the sum over the tokens, not the mean: [...][inputs.loss_mask].sum(); the trainer divides",
    )
    _require(
        term,
        same(loss(_disturb_masked(first)), loss(first)),
        "tokens that are masked change its value",
        "apply the mask before the sum: [...][inputs.loss_mask].sum()",
    )
    _require(
        term,
        loss(masked) == 0.0,
        f"its value for a sequence without tokens that count is {loss(masked)}, not 0",
        "apply the mask before the sum and add nothing outside it",
    )


def _require(term: Term, holds: bool, fault: str, remedy: str) -> None:
    if not holds:
        raise TermError(f"term {term.name!r}: {fault}; {remedy}")


def _gradient(value: Tensor, batch: PackedBatch) -> Tensor:
    leaves = [batch.trainer_logprobs, batch.require("entropy")]
    if not value.requires_grad:
        return torch.zeros(1)
    return torch.cat(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))


def _batch(step: int, total_steps: int) -> PackedBatch:
    """Three sequences of 6, 5 and 4 tokens in float64: one token masked in each of the first two, all in the third."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(15, generator=generator, dtype=torch.float64)

    logprobs = uniform(-3.0, -0.5)
    mask = torch.ones(15, dtype=torch.bool)
    mask[[2, 9]] = False
    mask[11:] = False
    return PackedBatch(
        trainer_logprobs=logprobs.clone().requires_grad_(),
        sequence_index=torch.tensor([0] * 6 + [1] * 5 + [2] * 4),
        sequence_count=3,
        loss_mask=mask,
        # Ratios from 0.95 to 1.05: inside every clip range worth the name, so that no gradient is clipped away.
        inference_logprobs=logprobs + uniform(-0.05, 0.05),
        advantages=torch.tensor([1.0] * 6 + [-0.5] * 5 + [0.8] * 4, dtype=torch.float64),
        ref_logprobs=logprobs + uniform(-0.5, 0.5),
        entropy=uniform(0.5, 2.0).requires_grad_(),
        step=step,
        total_steps=total_steps,
    )


def _join(first: LossInputs, second: LossInputs) -> LossInputs:
    joined = {
        name: torch.cat([value, getattr(second, name)])
        for name, value in vars(first).items()
        if isinstance(value, Tensor)
    }
    return replace(first, **joined)


def _disturb_masked(inputs: LossInputs) -> LossInputs:
    floats = {n: v for n, v in vars(inputs).items() if isinstance(v, Tensor) and v.is_floating_point()}
    return replace(inputs, **{name: value.where(inputs.loss_mask, value + 0.5) for name, value in floats.items()})
