"""Tries every term on synthetic tensors before a job is queued, so that no run starts with a term that trains nothing.

A score is not a loss: what does not depend on the policy's log-probabilities has no gradient, and a job with such a term
would run to its end without learning from it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from trainer.losses.aggregation import Aggregation
from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.losses.user import LossFunction
from trainer.names import unknown_name
from trainer.probe_batch import LENGTHS, rearranged, synthetic_batch, with_live_leaves
from trainer.term import Term, TermError

# User code may compute in float32 whatever it is given.
TOLERANCE = 1e-4

_EACH = [(place,) for place in range(len(LENGTHS))]
_REWARD = (
    "if it is a score of the text, it is a reward: name it under [rewards], it then enters through advantages; if it is a"
    " loss, compute it from trainer_logprobs without detach, item, round or comparisons"
)
_SUM = "return the sum over the tokens, not the mean: [...][inputs.loss_mask].sum(); the trainer divides"
_RETURNS = 'ask for needs = ["values", "returns"] and regress to inputs.returns, or take type = "value"'
_MASK = "apply the mask before the sum: [...][inputs.loss_mask].sum()"


def probe_term(term: Term, total_steps: int = 100, components: Collection[str] = ("probe/score",)) -> list[str]:
    """What is wrong with a term, with the remedy, in one line that names it; empty where nothing is. Takes milliseconds.

    Tried with the arguments of the first, the middle and the last step, in float32 and float64. The value and the gradient
    must be finite, the gradient not 0, and a batch of which nothing counts must give 0. A user's function must not be moved
    by masked tokens, be they in the midst or padding; one that sees sequences must be a sum: its value for a sequence
    strung to itself is twice its value; and a value head must not learn advantages. Not a proof: what a term does only for
    tokens unlike these is not seen. components: the rewards that a user's function finds by name.
    """
    try:
        for step in sorted({0, total_steps // 2, max(0, total_steps - 1)}):
            _probe(term, synthetic_batch(term.needs, step, total_steps, components))
    except TermError as error:
        return [str(error)]
    return []


def verdict(term: Term, total_steps: int, components: Collection[str] = ("probe/score",)) -> str:
    """What the probe has found of a term that it has no fault to find with: which of its inputs it trains, what was tried."""
    batch = synthetic_batch(term.needs, 0, total_steps, components)
    live, leaves = with_live_leaves(batch, torch.float64)
    gradients = _gradient(_value(term, live), leaves).split([len(leaf) for leaf in leaves])
    names = [name for name in LIVE_FIELDS if getattr(live, name) is not None]
    trained = [name for name, gradient in zip(names, gradients, strict=True) if bool((gradient != 0).any())]
    tried = ["finite", f"live gradient on {' and '.join(trained)}", "0 where nothing counts"]
    if term.user_function is not None:
        tried += ["a sum over tokens"] if term.scope == "sequence" else []
        tried += ["unmoved by masked tokens and padding"]
    return "; ".join(tried)


def _probe(term: Term, batch: PackedBatch) -> None:
    for dtype in (torch.float32, torch.float64):
        live, leaves = with_live_leaves(batch, dtype)
        value = _value(term, live)
        finite = bool(value.isfinite())
        _require(term, finite, f"its value on ordinary tokens is {value.item()}", "look for a division by 0")
        gradient = _gradient(value, leaves)
        _require(term, bool((gradient != 0).any()), "it has no gradient, so it would train nothing", _REWARD)
        _require(term, bool(gradient.isfinite().all()), "its gradient is NaN or infinite", "look for sqrt or log at 0")
    nothing = _value(term, replace(batch, loss_mask=batch.loss_mask & False)).item()
    _require(term, nothing == 0.0, f"its value where no token counts is {nothing}, not 0", _MASK)
    if term.user_function is not None:
        _probe_user(term, term.user_function, batch)


def _probe_user(term: Term, function: LossFunction, batch: PackedBatch) -> None:
    plain = _value(term, rearranged(batch, _EACH)).item()

    def same(other: PackedBatch, factor: float = 1.0) -> bool:
        return abs(_value(term, other).item() - factor * plain) <= TOLERANCE * max(1.0, abs(factor * plain))

    disturbed = batch.map_tokens(
        lambda tensor: tensor.where(batch.loss_mask, tensor + 0.5) if tensor.is_floating_point() else tensor
    )
    if term.scope == "sequence":
        twice = rearranged(batch, [(place, place) for place in range(len(LENGTHS))])
        _require(term, not same(twice), "it is a mean: a sequence strung to itself has the same value", _SUM)
        _probe_alone(term, function, batch, disturbed)
        _require(term, same(twice, 2.0), "its value for a sequence strung to itself is not twice its value", _SUM)
    if batch.values is not None:
        _probe_values(term, batch)
    _require(term, same(rearranged(batch, _EACH, padding=3)), "padding changes its value", _MASK)


def _probe_alone(term: Term, function: LossFunction, batch: PackedBatch, disturbed: PackedBatch) -> None:
    """Calls a user's function on single sequences: as a run does, with garbage at masked tokens, and with nothing else."""
    kwargs = term.kwargs_at(batch.step, batch.total_steps)
    for clean, raw in zip(batch.sequences(), disturbed.sequences(sanitise=False), strict=True):
        ours, theirs = function(clean, **kwargs).loss.item(), function(raw, **kwargs).loss.item()
        same = abs(ours - theirs) <= TOLERANCE * max(1.0, abs(ours))
        _require(term, same, "tokens that are masked change its value", _MASK)
        empty = f"its value for a sequence without tokens that count is {ours}, not 0"
        _require(term, bool(clean.loss_mask.any()) or ours == 0.0, empty, f"{_MASK}, and add nothing outside it")


def _probe_values(term: Term, batch: PackedBatch) -> None:
    """A value head must not regress to advantages: its own values were taken off them already."""

    def gradient(of: PackedBatch) -> Tensor:
        live, leaves = with_live_leaves(of, torch.float64)
        value = _value(term, live)
        own = [leaf for leaf in leaves if leaf is live.values]
        return _gradient(value, own)

    plain = gradient(batch)

    def moves(name: str) -> bool:
        given = getattr(batch, name)
        return given is not None and not torch.equal(gradient(replace(batch, **{name: given + 0.5})), plain)

    wrong = moves("advantages") and not moves("returns")
    _require(term, not wrong, "its values learn advantages, from which values were taken off already", _RETURNS)


def _value(term: Term, batch: PackedBatch) -> Tensor:
    """The sum of the term's values, in float64. Raises TermError for whatever a user's code raises."""
    kwargs = term.kwargs_at(batch.step, batch.total_steps)
    valid = batch.valid()
    try:
        if term.statistics:
            parts = term.statistics(valid, **kwargs)
            valid = replace(valid, statistics={name: float(p.total) / max(p.count, 1.0) for name, p in parts.items()})
        output = term.function(batch if term.user_function else valid, **kwargs)
        return Aggregation("sum").sum(output, valid)
    except Exception as error:
        hint = _hint(error, batch) if term.user_function else ""
        raise TermError(f"term {term.name!r}: {type(error).__name__}: {error}{hint}") from error


def _hint(error: Exception, batch: PackedBatch) -> str:
    if isinstance(error, KeyError):
        return f"; of the job's components, {unknown_name(error.args[0], sorted(batch.components[0]))}"
    none = "; ref_logprobs, entropy and the like are None unless the term asks for them with needs = [...]"
    return none if "NoneType" in str(error) or isinstance(error, AssertionError) else ""


def _require(term: Term, holds: bool, fault: str, remedy: str) -> None:
    if not holds:
        raise TermError(f"term {term.name!r}: {fault}; {remedy}")


def _gradient(value: Tensor, leaves: list[Tensor]) -> Tensor:
    if not value.requires_grad:
        return torch.zeros(1)
    return torch.cat(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))
