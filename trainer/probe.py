"""Tries every term on synthetic tensors before a job is queued, so that no run starts with a term that trains nothing.

A score is not a loss: what does not depend on the policy's log-probabilities has no gradient, and a job with such a term
would run to its end without learning from it.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.controllers import Controller
from trainer.losses.aggregation import Aggregation
from trainer.losses.contract import LossInputs, TermOutput
from trainer.losses.packed import LIVE_FIELDS, PackedBatch
from trainer.losses.user import LossContractError, LossFunction
from trainer.moving import extreme_steps, moving_range
from trainer.names import unknown_name
from trainer.probe_batch import LENGTHS, rearranged, synthetic_batch, with_live_leaves
from trainer.schedules import Schedule
from trainer.step_totals import RESERVED
from trainer.term import Term, TermError

# User code may compute in float32 whatever it is given.
TOLERANCE = 1e-4

_EACH = [(place,) for place in range(len(LENGTHS))]
_REWARD = (
    "if it is a score of the text, it is a reward: name it under [rewards], it then enters through advantages; if it is a"
    " loss, compute it from trainer_logprobs without detach, item, round or comparisons, and not as the distance to"
    " old_logprobs, which are the same numbers: each batch of rollouts is for one step"
)
_SUM = "return the sum over the tokens, not the mean: [...][inputs.loss_mask].sum(); the trainer divides"
_RETURNS = 'ask for needs = ["values", "returns"] and regress to inputs.returns, or take type = "value"'
_PURE = (
    "it keeps state or draws random numbers, so its gradient would depend on how a step is cut, and a resumed run would"
    " differ; compute it from its inputs alone (a generator seeded with inputs.step will do)"
)
_MASK = "apply the mask before the sum: [...][inputs.loss_mask].sum()"


def probe_term(term: Term, total_steps: int = 100, components: Collection[str] = ("probe/score",)) -> list[str]:
    """What is wrong with a term, with the remedy, in one line that names it; empty where nothing is. Takes milliseconds.

    Tried in float32 and float64, with the arguments of the first, the middle and the last step, and with each argument
    that moves at its least and its greatest. The value and the gradient must be finite, the gradient not 0 in all of these,
    and a batch of which nothing counts must give 0. A user's function must give the same when called again, and not be
    moved by masked tokens, be they in the midst or padding; one that sees sequences must be a sum: its value and its
    gradient for a sequence strung to itself are twice those of the sequence; and a value head must not learn advantages.
    Not a proof: what a term does only for tokens unlike these is not seen. components: the rewards that a user's function
    finds by name.
    """
    try:
        cases = _cases(term, total_steps)
        live = [_probe(case, synthetic_batch(term.needs, step, total_steps, components)) for case, step in cases]
        _require(term, any(live), "it has no gradient, so it would train nothing", _REWARD)
    except TermError as error:
        return [str(error)]
    return []


def _cases(term: Term, total_steps: int) -> list[tuple[Term, int]]:
    """The term and a step to try it at, more than once."""
    steps = {0, total_steps // 2, max(0, total_steps - 1)}
    cases: list[tuple[Term, int]] = []
    for name, moving in term.kwargs.items():
        if isinstance(moving, Controller):
            cases += [
                (replace(term, kwargs={**term.kwargs, name: bound}), 0) for bound in moving_range(moving, total_steps)
            ]
        elif isinstance(moving, Schedule):
            steps |= set(extreme_steps(moving, total_steps))
    return [*((term, step) for step in sorted(steps)), *cases]


def verdict(term: Term, total_steps: int, components: Collection[str] = ("probe/score",)) -> str:
    """What the probe has found of a term that it has no fault to find with: which of its inputs it trains, what was tried."""
    trained: dict[str, None] = {}
    for case, step in _cases(term, total_steps):
        live, leaves = with_live_leaves(synthetic_batch(term.needs, step, total_steps, components), torch.float64)
        gradients = _gradient(term, _value(case, live), leaves).split([len(leaf) for leaf in leaves])
        names = [name for name in LIVE_FIELDS if getattr(live, name) is not None]
        trained |= {name: None for name, part in zip(names, gradients, strict=True) if bool((part != 0).any())}
    tried = ["finite", f"live gradient on {' and '.join(trained)}", "0 where nothing counts"]
    if term.user_function is not None:
        tried += ["a sum over tokens"] if term.scope == "sequence" else []
        tried += ["unmoved by masked tokens and padding"]
    return "; ".join(tried)


def told_metrics(term: Term, total_steps: int) -> frozenset[str]:
    """What a built-in term that the probe has found no fault with tells under `term/<name>/`, of its own and the trainer's."""
    return RESERVED.union(_output(term, synthetic_batch(term.needs, 0, total_steps, ()))[0].metrics)


def _probe(term: Term, batch: PackedBatch) -> bool:
    """Whether the gradient is live. Raises TermError."""
    for dtype in (torch.float32, torch.float64):
        live, leaves = with_live_leaves(batch, dtype)
        value = _value(term, live)
        finite = bool(value.isfinite())
        _require(term, finite, f"its value on ordinary tokens is {value.item()}", "look for a division by 0")
        gradient = _gradient(term, value, leaves)
        _require(term, bool(gradient.isfinite().all()), "its gradient is NaN or infinite", "look for sqrt or log at 0")
    nothing = _value(term, replace(batch, loss_mask=batch.loss_mask & False)).item()
    _require(term, nothing == 0.0, f"its value where no token counts is {nothing}, not 0", _MASK)
    if not bool((gradient != 0).any()):
        return False
    if term.user_function is not None:
        _probe_user(term, term.user_function, batch)
    return True


def _probe_user(term: Term, function: LossFunction, batch: PackedBatch) -> None:
    plain = _response(term, batch, _EACH)
    again = torch.equal(plain, _response(term, batch, _EACH))
    _require(term, again, "called again with the same tokens it gives something else", _PURE)
    # A value may be 0 where its gradient is not, as of a surrogate such as lp - lp.detach().
    scale = float(plain[1:].abs().max())

    def same(other: Tensor, factor: float = 1.0) -> bool:
        apart = (other - factor * plain).abs()
        return bool((apart <= TOLERANCE * abs(factor) * torch.clamp(plain.abs(), min=scale)).all())

    if term.scope == "sequence":
        twice = _response(term, batch, [(place, place) for place in range(len(LENGTHS))])
        _require(term, not same(twice), "it is a mean: a sequence strung to itself has the same value", _SUM)
        _probe_alone(term, function, batch, max(scale, abs(float(plain[0]))))
        _require(
            term, same(twice, 2.0), "its value or gradient for a sequence strung to itself is not twice its value", _SUM
        )
    if batch.values is not None:
        _probe_values(term, batch)
    _require(term, same(_response(term, batch, _EACH, padding=3)), "padding changes its value", _MASK)


def _probe_alone(term: Term, function: LossFunction, batch: PackedBatch, scale: float) -> None:
    """Calls a user's function on single sequences: as a run does, with garbage at masked tokens, and with nothing else."""
    disturbed = batch.map_tokens(
        lambda tensor: tensor.where(batch.loss_mask, tensor + 0.5) if tensor.is_floating_point() else tensor
    )
    kwargs = term.kwargs_at(batch.step, batch.total_steps)
    for clean, raw in zip(batch.sequences(), disturbed.sequences(sanitise=False), strict=True):
        ours, theirs = function(clean, **kwargs).loss.item(), function(raw, **kwargs).loss.item()
        _require(term, abs(ours - theirs) <= TOLERANCE * scale, "tokens that are masked change its value", _MASK)
        empty = f"its value for a sequence without tokens that count is {ours}, not 0"
        _require(term, bool(clean.loss_mask.any()) or ours == 0.0, empty, f"{_MASK}, and add nothing outside it")


def _response(term: Term, batch: PackedBatch, pieces: list[tuple[int, ...]], padding: int = 0) -> Tensor:
    """The value of the batch with its tokens rearranged, and then its gradient with respect to the tokens as they were."""
    live, leaves = with_live_leaves(batch, torch.float64)
    value = _value(term, rearranged(live, pieces, padding))
    return torch.cat([value.detach().reshape(1), _gradient(term, value, leaves)])


def _probe_values(term: Term, batch: PackedBatch) -> None:
    """A value head must not regress to advantages: its own values were taken off them already."""

    def gradient(of: PackedBatch) -> Tensor:
        live, leaves = with_live_leaves(of, torch.float64)
        value = _value(term, live)
        own = [leaf for leaf in leaves if leaf is live.values]
        return _gradient(term, value, own)

    plain = gradient(batch)

    def moves(name: str) -> bool:
        given = getattr(batch, name)
        return given is not None and not torch.equal(gradient(replace(batch, **{name: given + 0.5})), plain)

    wrong = moves("advantages") and not moves("returns")
    _require(term, not wrong, "its values learn advantages, from which values were taken off already", _RETURNS)


def _value(term: Term, batch: PackedBatch) -> Tensor:
    """The sum of the term's values, in float64. Raises TermError for whatever a user's code raises."""
    output, valid = _output(term, batch)
    return Aggregation("sum").sum(output, valid)


def _output(term: Term, batch: PackedBatch) -> tuple[TermOutput, PackedBatch]:
    """What the term gives, and the tokens of the batch that count. Raises TermError for whatever a user's code raises."""
    kwargs = term.kwargs_at(batch.step, batch.total_steps)
    valid = batch.valid()
    try:
        if term.statistics:
            parts = term.statistics(valid, **kwargs)
            valid = replace(valid, statistics={name: float(p.total) / max(p.count, 1.0) for name, p in parts.items()})
        return term.function(batch if term.user_function else valid, **kwargs), valid
    except (Exception, SystemExit) as error:
        hint = _hint(error, term.user_function, batch) if term.user_function else ""
        raise TermError(f"term {term.name!r}: {type(error).__name__}: {error}{hint}") from error


def _hint(error: BaseException, function: LossFunction, batch: PackedBatch) -> str:
    """What would be right, if that is known, and the line of the user's file that raised."""
    if isinstance(error, LossContractError):
        return ""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"; in {Path(str(file)).name}, line {lines[-1]}" if lines else ""
    if isinstance(error, KeyError):
        known = unknown_name(error.args[0], sorted(batch.components[0]))
        return f"; of the components of a domain's samples, {known}; rewards.get(...) is None where there is none{where}"
    if isinstance(error, AttributeError) and isinstance(error.obj, LossInputs):
        return f"; {unknown_name(error.name, [field.name for field in fields(LossInputs)])}{where}"
    none = "; ref_logprobs, entropy and the like are None unless the term asks for them with needs = [...]"
    bare = isinstance(error, AssertionError) and not error.args
    return (none if "NoneType" in str(error) or bare else "") + where


def _require(term: Term, holds: bool, fault: str, remedy: str) -> None:
    if not holds:
        raise TermError(f"term {term.name!r}: {fault}; {remedy}")


def _gradient(term: Term, value: Tensor, leaves: list[Tensor]) -> Tensor:
    """With respect to all leaves, strung together. Raises TermError."""
    if not value.requires_grad:
        return torch.cat([torch.zeros_like(leaf) for leaf in leaves])
    try:
        return torch.cat(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))
    except RuntimeError as error:
        raise TermError(f"term {term.name!r}: its gradient cannot be taken: {error}") from error
