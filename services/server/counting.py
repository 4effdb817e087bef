"""Prometheus metrics that code in worker processes counts up; the service's own process, which serves them, holds the sums.

    TOKENS = WorkerCounter("assay_endpoint_tokens_total", "Tokens paid for.", ["kind"])     # imported by both processes
    TOKENS.add(120, kind="prompt")                                                          # in a worker

A worker's counts travel with the answer to its next call; those of a worker that is killed before are lost. Anywhere
else they are counted at once. What the service's own process has not imported it cannot count: it logs that once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from prometheus_client import Counter, Histogram

from services.server.logs import get_logger

Counts = list[list[Any]]
"""As they travel: lists of a metric's name, its labels' values and the amounts."""

_declared: dict[str, WorkerCounter | WorkerHistogram] = {}
_unknown: set[str] = set()
_lock = threading.Lock()
_kept: dict[tuple[str, tuple[str, ...]], list[float]] | None = None


class WorkerCounter:
    """A counter."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self._name, self._labels = name, tuple(labels)
        self._metric = Counter(name, about, labels)
        _declared[name] = self

    def add(self, amount: float = 1.0, **labels: str) -> None:
        """Counts up. Raises ValueError for what is no finite number of at least 0."""
        if not 0 <= amount < float("inf"):
            raise ValueError(f"{self._name} can count up by a finite number of at least 0, not by {amount}")
        _keep(self._name, [labels[name] for name in self._labels], amount, adds=True)

    def absorb(self, labels: Sequence[str], amounts: Sequence[float]) -> None:
        """Counts in this process."""
        _child(self._metric, labels).inc(sum(amounts))


class WorkerHistogram:
    """A histogram; each observation travels."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> None:
        self._name, self._labels = name, tuple(labels)
        self._metric = Histogram(name, about, labels, buckets=buckets)
        _declared[name] = self

    def observe(self, value: float, **labels: str) -> None:
        """Adds an observation."""
        _keep(self._name, [labels[name] for name in self._labels], value, adds=False)

    def absorb(self, labels: Sequence[str], amounts: Sequence[float]) -> None:
        """Observes in this process."""
        for amount in amounts:
            _child(self._metric, labels).observe(amount)


def keep_counts() -> None:
    """For a worker: counts are kept until they are taken."""
    global _kept
    _kept = {}


def take_counts() -> dict[str, Counts]:
    """For a worker: what was counted since the last time, as fields of a frame; none where nothing was."""
    global _kept
    if not _kept:
        return {}
    with _lock:
        taken, _kept = _kept, {}
    return {"counts": [[name, labels, amounts] for (name, labels), amounts in taken.items()]}


def absorb(counts: Counts) -> None:
    """For the service's own process: adds what a worker has counted."""
    for name, labels, amounts in counts:
        metric = _declared.get(name)
        if metric is not None:
            metric.absorb(labels, amounts)
        elif name not in _unknown:
            _unknown.add(name)
            get_logger().warning("a worker counts what this process has not declared", metric=name)


def _keep(name: str, labels: Sequence[str], amount: float, *, adds: bool) -> None:
    if _kept is None:
        _declared[name].absorb(labels, [amount])
        return
    with _lock:
        amounts = _kept.setdefault((name, tuple(labels)), [])
        if adds and amounts:
            amounts[0] += amount
        else:
            amounts.append(amount)


def _child(metric: Any, labels: Sequence[str]) -> Any:
    return metric.labels(*labels) if labels else metric
