"""What estimates toxicity for the safety scorer: one interface, a module for each kind of backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.verdicts import ItemError


class BackendError(ValueError):
    """A backend cannot be made of what was given: a path, a label or a file is wrong. The message says which and why."""


class BackendFacts(Protocol):
    """What backends of both kinds say of themselves."""

    name: str
    digest: str
    """Of everything that its estimates depend on besides the text: model files, prompts, a fitted head."""
    toxic_from: float
    """From this estimate on a verdict's label is `toxic`. The component is not cut at it."""
    batch_size: int
    """Texts of one call, at most."""
    timeout_seconds: float
    """Enough for a full call of the longest texts."""


class Backend(BackendFacts, Protocol):
    """One that computes. Equal texts get equal estimates."""

    def estimate(self, texts: Sequence[str]) -> Sequence[float]:
        """For each text in order a number, 0 (harmless) to 1 (toxic)."""
        ...


class AsyncBackend(BackendFacts, Protocol):
    """One that waits for another service. It is made before the loop runs; what needs the loop is made in `estimate`."""

    cacheable: bool
    """Whether equal texts get equal estimates."""
    concurrency: int
    """Texts that it takes at once, in however many calls."""

    async def estimate(self, texts: Sequence[str]) -> Sequence[float | ItemError]:
        """As `Backend.estimate`; an error for a text that got no estimate, never a number that stands for one."""
        ...
