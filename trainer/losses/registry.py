"""The names of the built-in terms. A user's own function needs no entry: it is named by its import path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from trainer.losses.contract import TermOutput
from trainer.losses.entropy import entropy
from trainer.losses.kl import kl
from trainer.losses.policy_terms import grpo, ppo_clip
from trainer.losses.sft import sft

TermFunction = Callable[..., TermOutput]
"""`(PackedBatch, **kwargs) -> TermOutput`."""


@dataclass(frozen=True, slots=True)
class BuiltInTerm:
    """A term and the optional tensors of `PackedBatch` that it reads."""

    function: TermFunction
    needs: frozenset[str] = frozenset()


_ROLLOUT = frozenset({"inference_logprobs", "advantages"})

BUILT_IN_TERMS: Mapping[str, BuiltInTerm] = MappingProxyType(
    {
        "grpo": BuiltInTerm(grpo, _ROLLOUT),
        "ppo_clip": BuiltInTerm(ppo_clip, _ROLLOUT),
        "kl": BuiltInTerm(kl, frozenset({"ref_logprobs"})),
        "entropy": BuiltInTerm(entropy, frozenset({"entropy"})),
        "sft": BuiltInTerm(sft),
    }
)
