"""An exchange of weights that says it has loaded them and has not, or not all of them: what a canary is there to catch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from services.rollout.weights import exchange_weights


def stale(parts: Sequence[str]) -> Callable[[torch.nn.Module, dict[str, torch.Tensor]], bool]:
    """Leaves the weights with one of these in their name as they are."""

    def exchange(module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
        own = module.state_dict(keep_vars=True)
        for name in tensors:
            if any(part in name for part in parts):
                tensors[name] = own[name].detach().clone()
        return exchange_weights(module, tensors)

    return exchange
