"""How many items a second pass a scoring service, client and server on the same processors, and how long a batch takes."""

from __future__ import annotations

import asyncio
import os
import statistics
import time

from benchmarks.figures import Figure
from benchmarks.services import Services, service
from services.client.async_scoring import AsyncScoringClient
from services.verdicts import Item, Outcome, Verdict
from services.wire import verdict_to_wire

BATCH = 64
ITEMS_PER_SECOND, P99_SECONDS = 30_000, 0.020
_CALLERS = 4
_BATCHES = 1500
_DISTINCT = 20
_RUNS = 5
_SCORER = "examples.scorers.brevity:Brevity"


def load() -> list[Figure]:
    """Remembered items, trivial ones that are graded, and whether the same batch twice gives the same bytes."""
    spec = service("brevity", "services.scorer", "--scorer", _SCORER, "--workers", "1", "--log-level", "warning")
    with Services([spec]) as services:
        return asyncio.run(_measure(services.address("brevity")))


async def _measure(address: str) -> list[Figure]:
    async with AsyncScoringClient("brevity", address, message_items=BATCH) as client:
        remembered = [_batch(f"remembered {number}") for number in range(_DISTINCT)]
        for batch in remembered:
            await client.score(batch, 30.0)
        runs = [await _run(client, remembered, _BATCHES) for _ in range(_RUNS)]
        rate = statistics.median(rate for rate, _ in runs)
        p99 = statistics.median(p99 for _, p99 in runs)
        new = [[_batch(f"new {run} {number}") for number in range(_BATCHES // 5)] for run in range(_RUNS)]
        trivial = statistics.median([(await _run(client, batches, len(batches)))[0] for batches in new])
        same = await _same_bytes(client)
    cores = os.cpu_count()
    return [
        Figure(
            f"remembered items a second over gRPC, batches of {BATCH}, typed client and server on {cores} cores",
            f"{rate:,.0f} (median of {_RUNS} runs; {min(r for r, _ in runs):,.0f} to {max(r for r, _ in runs):,.0f});"
            f" graded anew {trivial:,.0f}",
            f"{ITEMS_PER_SECOND:,}",
            rate >= ITEMS_PER_SECOND,
        ),
        Figure(
            f"p99 of those batches, {_CALLERS} under way",
            f"{1000 * p99:.1f} ms",
            f"{1000 * P99_SECONDS:.0f} ms",
            p99 <= P99_SECONDS,
        ),
        Figure("the same batch twice, graded anew and remembered", same or "byte-identical", "byte-identical", not same),
    ]


async def _run(client: AsyncScoringClient, batches: list[list[Item]], count: int) -> tuple[float, float]:
    """Items a second, and the 99th percentile of the batches' seconds."""
    seconds: list[float] = []
    numbers = iter(range(count))

    async def call() -> None:
        for number in numbers:
            start = time.perf_counter()
            outcomes = await client.score(batches[number % len(batches)], 30.0)
            seconds.append(time.perf_counter() - start)
            assert len(outcomes) == BATCH

    start = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(_CALLERS)))
    elapsed = time.perf_counter() - start
    return count * BATCH / elapsed, sorted(seconds)[int(0.99 * len(seconds))]


async def _same_bytes(client: AsyncScoringClient) -> str:
    """What differs between a batch's verdicts the first time, the second time and graded anew; empty where nothing does."""
    batch = _batch("the same")
    answers = [await client.score(batch, 30.0) for _ in range(2)] + [await client.score(batch, 30.0, fresh=True)]
    written = [[_bytes(outcome) for outcome in answer.values()] for answer in answers]
    different = sum(len(set(verdicts)) > 1 for verdicts in zip(*written, strict=True))
    return f"{different} of {BATCH} verdicts differ" if different else ""


def _bytes(outcome: Outcome) -> bytes:
    assert isinstance(outcome, Verdict)
    return verdict_to_wire(outcome).SerializeToString(deterministic=True)


def _batch(name: str) -> list[Item]:
    """Items of about 500 characters."""
    text = "a model's answer of some words, " * 15
    return [
        Item(f"{name} {place}", f"question {place} of {name}", f"{text} {place} {name}", {"keywords": ["answer"]})
        for place in range(BATCH)
    ]
