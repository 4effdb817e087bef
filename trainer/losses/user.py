"""A user's own loss: found by import path, called once for each sequence, pair or group.

Files written for prime-rl run unchanged: where prime-rl is not installed, `prime_rl.trainer.rl.loss` is a stand-in that
holds the two types of its contract.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trainer.imports import load_function
from trainer.losses.contract import LossInputs, LossOutputs, MetricSum, Scope, TermOutput
from trainer.losses.packed import PackedBatch
from trainer.losses.term import TermFunction

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[..., Any]
"""`(LossInputs, **kwargs) -> LossOutputs`, for one sequence; the loss is a sum over the tokens that count.

Of pair scope it takes two `LossInputs`, chosen and rejected; of group scope a list of them.
"""


class LossContractError(ValueError):
    """A user's loss returned something else than `LossOutputs`."""


def load_loss(path: str) -> LossFunction:
    """The callable at `package.module.function`. Imports its module. Raises ImportPathError."""
    provide_prime_rl_types()
    return load_function(path)


def provide_prime_rl_types() -> None:
    """Registers stand-ins for `prime_rl.trainer.rl.loss` and its packages, unless prime-rl is installed."""
    if "prime_rl" in sys.modules or importlib.util.find_spec("prime_rl") is not None:
        return
    parts = ["prime_rl", "trainer", "rl", "loss"]
    parent: ModuleType | None = None
    for depth, part in enumerate(parts, 1):
        name = ".".join(parts[:depth])
        module = ModuleType(name, "Stand-in: the loss contract's types, for files written for prime-rl.")
        module.__spec__ = ModuleSpec(name, None, is_package=depth < len(parts))
        module.__path__ = []
        sys.modules[name] = module
        if parent is not None:
            setattr(parent, part, module)
        parent = module
    vars(sys.modules["prime_rl.trainer.rl.loss"]).update(LossInputs=LossInputs, LossOutputs=LossOutputs)


def per_scope(function: LossFunction, scope: Scope) -> TermFunction:
    """A term that calls a user's function for each sequence, pair or group that has a token to count, and sums nothing.

    A pair has one where both of its sequences have; one that lost a sequence compares nothing, as for built-in terms.

    The function gets the `LossInputs` of a sequence, those of the chosen and of the rejected one, or a list of those of a
    group. Its metrics become means over its calls; a 1-D metric counts as its mean, and not at all where it is empty. The
    term raises LossContractError.
    """

    def term(batch: PackedBatch, **kwargs: Any) -> TermOutput:
        import torch

        zero = batch.trainer_logprobs.new_zeros(())
        sums: list[Tensor] = []
        metrics: dict[str, MetricSum] = {}
        for arguments in _arguments(batch, scope):
            if arguments is None:
                sums.append(zero)
                continue
            outputs = function(*arguments, **kwargs)
            sums.append(checked_loss(outputs).to(zero))
            for name, value in (outputs.metrics or {}).items():
                numbers = _numbers(name, value)
                if numbers.numel():
                    seen = metrics.get(name, MetricSum(torch.zeros_like(numbers.mean()), 0.0))
                    metrics[name] = MetricSum(seen.total + numbers.mean(), seen.count + 1.0)
        return TermOutput(torch.stack(sums) if sums else zero.expand(0), per=scope, metrics=metrics)

    return term


def _numbers(name: str, value: Any) -> Tensor:
    import torch

    try:
        return torch.as_tensor(value).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise LossContractError(f"metric {name!r} is {type(value).__name__}; return numbers or tensors of them") from None


def _arguments(batch: PackedBatch, scope: Scope) -> list[tuple[Any, ...] | None]:
    """The positional arguments of each call, None for one that would have no token to count."""
    sequences = batch.sequences()
    counted = [count > 0 for count in batch.token_counts().tolist()]
    if scope == "sequence":
        return [(inputs,) if counts else None for inputs, counts in zip(sequences, counted, strict=True)]
    if scope == "pair":
        pairs = zip(batch.require("chosen").tolist(), batch.require("rejected").tolist(), strict=True)
        return [
            (sequences[best], sequences[worst]) if counted[best] and counted[worst] else None for best, worst in pairs
        ]
    groups: list[list[LossInputs]] = [[] for _ in batch.require("group_tokens")]
    for inputs, counts, group in zip(sequences, counted, batch.require("group_index").tolist(), strict=True):
        if counts:
            groups[group].append(inputs)
    return [(group,) if group else None for group in groups]


def checked_loss(outputs: Any) -> Tensor:
    """The loss of what a user's function returned. Raises LossContractError."""
    import torch

    if not hasattr(outputs, "loss") or not hasattr(outputs, "metrics"):
        raise LossContractError(
            f"it returned {type(outputs).__name__}; return LossOutputs(loss=<scalar tensor>, metrics=<dict of tensors>)"
        )
    if not isinstance(outputs.loss, torch.Tensor) or outputs.loss.dim() != 0:
        what = tuple(outputs.loss.shape) if isinstance(outputs.loss, torch.Tensor) else type(outputs.loss).__name__
        raise LossContractError(f"loss is {what}; it must be a scalar tensor: the sum over the tokens of loss_mask")
    return outputs.loss
