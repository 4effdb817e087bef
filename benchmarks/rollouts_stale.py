"""Rollout services that say they have loaded weights and have not, or not all: `python -m benchmarks.rollouts_stale FLAGS`.

With vLLM its own `reload_weights`, which leaves the output layer as it was where embeddings are tied; with transformers
one whose embeddings stay as they were.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def leave_vllm_stale() -> None:
    """Loads weights by vLLM's plain call."""
    from services.rollout.vllm_core import Core

    async def reload(core: Any, directory: Path) -> None:
        await core._llm.pause_generation(mode="abort", clear_cache=True)
        await core._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(directory)})
        await core._llm.resume_generation()

    Core._reload = reload  # pyright: ignore[reportAttributeAccessIssue]


class StaleHost:
    """The transformers engine's host; runs in the engine's process."""

    def __new__(cls, engine: Any, policies: Any) -> Any:
        from services.rollout import policy
        from services.rollout.engine_host import EngineHost
        from services.rollout.weights import exchange_weights

        def exchange(module: Any, tensors: dict[str, Any]) -> bool:
            own = module.state_dict(keep_vars=True)
            for name in tensors:
                if "embed" in name:
                    tensors[name] = own[name].detach().clone()
            return exchange_weights(module, tensors)

        policy.exchange_weights = exchange
        return EngineHost(engine, policies)


def leave_transformers_stale() -> None:
    """Has the engine's process run `StaleHost`."""
    from services.rollout import engine_process

    pool = engine_process.WorkerPool
    stale: Any = lambda _factory, kwargs, **more: pool("benchmarks.rollouts_stale:StaleHost", kwargs, **more)  # noqa: E731
    engine_process.WorkerPool = stale


if __name__ == "__main__":
    if "vllm" in sys.argv:
        leave_vllm_stale()
    else:
        leave_transformers_stale()
    runpy.run_module("services.rollout", run_name="__main__")
