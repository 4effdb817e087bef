"""What every engine checks of the policies that it holds: which one answers, which version follows, what adapters lie on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from services.rollout.engine import EngineError, EngineFault, Generation, WeightSource


class Held(Protocol):
    """A policy as an engine holds it."""

    @property
    def source(self) -> WeightSource:
        """Where its weights are from."""
        ...


P = TypeVar("P", bound=Held)


def find(policies: Mapping[str, P], name: str) -> P:
    """The policy of this name. Raises EngineError (NOT_FOUND)."""
    if name not in policies:
        names = ", ".join(sorted(policies)) or "none; load one with UpdateWeights"
        raise EngineError(EngineFault.NOT_FOUND, f"policy {name!r} is not held; held: {names}")
    return policies[name]


def find_base(policies: Mapping[str, P], name: str) -> P:
    """The policy that an adapter is laid on.

    Raises EngineError (FAILED_PRECONDITION) where it is not held, or is an adapter itself.
    """
    if name not in policies:
        names = ", ".join(sorted(policies)) or "none"
        raise EngineError(EngineFault.FAILED_PRECONDITION, f"base {name!r} is not held; held: {names}")
    if on := policies[name].source.base:
        raise EngineError(
            EngineFault.FAILED_PRECONDITION,
            f"base {name!r} is itself an adapter, on {on!r}; it must be a policy with whole weights",
        )
    return policies[name]


def check_new_enough(request: Generation, version: int) -> None:
    """Raises EngineError (FAILED_PRECONDITION) where the version is older than the request takes."""
    if version < request.min_policy_version:
        raise EngineError(
            EngineFault.FAILED_PRECONDITION,
            f"policy {request.policy!r} is at version {version}, older than min_policy_version "
            f"{request.min_policy_version}",
        )


def is_sent_again(held: WeightSource, source: WeightSource) -> bool:
    """Whether a source is what is held; if not, it is the next version.

    Raises EngineError (FAILED_PRECONDITION) for a version before it, and for the same one with other weights.
    """
    if source.version > held.version:
        return False
    if source.version == held.version and _same_weights(held, source):
        return True
    raise EngineError(
        EngineFault.FAILED_PRECONDITION,
        f"version {source.version} of policy {source.policy!r} with this path, sha256 and base cannot replace version "
        f"{held.version}, which is served; versions must grow",
    )


def _same_weights(held: WeightSource, source: WeightSource) -> bool:
    if held.base != source.base:
        return False
    if held.sha256 and source.sha256:
        return held.sha256 == source.sha256
    return Path(held.path) == Path(source.path)
