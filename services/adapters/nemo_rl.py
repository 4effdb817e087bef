"""An environment for NeMo RL that asks Assay: one turn, and the reward of it.

import ray
from services.adapters.nemo_rl import AssayEnvironment

environment = ray.remote(AssayEnvironment).remote({"weights": {"math/correctness": 1.0}, "checks": {"gold": "ground_truth"}})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.adapters.checks import pick
from services.adapters.source import Source
from services.conversation import prompt_text, response_text
from services.rewards import WEIGHTS, Asking, Plan
from services.verdicts import Item

try:
    from nemo_rl.environments.interfaces import (  # pyright: ignore[reportMissingImports]
        EnvironmentInterface,
        EnvironmentReturn,
    )
except ImportError:  # the module can then be looked at, and not used
    EnvironmentInterface, EnvironmentReturn = object, None

KEYS = ("weights", "routes", "options", "addresses", "domain", "checks", "missing", "timeout_seconds")


class AssayEnvironment(EnvironmentInterface):  # pyright: ignore[reportGeneralTypeIssues]
    """Ends each episode after one response, with its reward. Wrap it by `ray.remote`, or subclass it and wrap that."""

    def __init__(self, cfg: Mapping[str, Any] | None = None) -> None:
        """
        cfg: `weights`, `routes` and `options` of the plan; `addresses`; `domain` ("math") of samples whose metadata has no
            `domain`; `checks` (["gold"]), keys of the metadata that become checks, or check to key; `missing` ("raise")
            or a number, as NeMo RL takes no None; `timeout_seconds` (120). Raises ValueError for other keys.
        """
        cfg = dict(cfg or {})
        unknown = sorted(cfg.keys() - set(KEYS))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; known: {', '.join(KEYS)}")
        plan = Plan(cfg.get("weights", WEIGHTS), cfg.get("routes", {}), cfg.get("options", {}))
        self._domain = cfg.get("domain", "math")
        self._checks = cfg.get("checks", ("gold",))
        self._source = Source(
            plan,
            cfg.get("addresses"),
            missing=cfg.get("missing", "raise"),
            timeout_seconds=cfg.get("timeout_seconds", 120.0),
        )

    def step(self, message_log_batch: Sequence[Sequence[Mapping[str, Any]]], metadata: Sequence[Any]) -> Any:
        """NeMo RL's `EnvironmentReturn`. `rewards` and `terminateds` are float tensors of shape (batch,)."""
        import torch

        if EnvironmentReturn is None:
            raise RuntimeError("NeMo RL is not installed")
        askings = [
            self._asking(place, log, facts or {})
            for place, (log, facts) in enumerate(zip(message_log_batch, metadata, strict=True))
        ]
        rewards = self._source.score(askings)
        return EnvironmentReturn(
            observations=[
                {"role": "environment", "content": ", ".join(reward.scored.labels.values())} for reward in rewards
            ],
            metadata=list(metadata),
            next_stop_strings=[None] * len(askings),
            rewards=torch.tensor(self._source.numbers(rewards), dtype=torch.float32),
            terminateds=torch.ones(len(askings)),
            answers=[_extracted(reward.scored.evidence) for reward in rewards],
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """The batch as it is, and the mean reward. Nothing is set to 0 for responses that were cut off."""
        return batch, {"assay/reward": float(batch["rewards"].float().mean())}

    def _asking(self, place: int, log: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> Asking:
        """The last run of assistant messages is the response; what stands before it, the prompt."""
        start = len(log)
        while start and log[start - 1].get("role") == "assistant":
            start -= 1
        item = Item(str(place), prompt_text(log[:start]), response_text(log[start:]), pick(self._checks, facts))
        return Asking(facts.get("domain", self._domain), item)


def _extracted(evidence: Mapping[str, Mapping[str, str]]) -> str | None:
    """The answer that a scorer took out of the response, where one says so."""
    return next((found["answer"] for found in evidence.values() if "answer" in found), None)
