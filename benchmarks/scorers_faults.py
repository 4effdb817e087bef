"""10,000 items while workers, replicas and Redis are killed and stopped, callers leave, and messages are malformed.

Two replicas of a scorer share a Redis for their verdicts. Items are honest, or late, or kill their worker, or fill its
memory, or are malformed; some come twice at the same time; some callers give little time, some leave. What each item
must get is known beforehand.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

from benchmarks.faulty_scorer import right_value
from benchmarks.figures import Figure
from benchmarks.services import Services, service
from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.async_scoring import AsyncScoring
from services.client.async_scoring import AsyncScoringClient
from services.client.channel import open_async_channel
from services.queue.embedded_redis import EmbeddedRedis
from services.verdicts import ErrorReason, Item, ItemError, Outcome, Verdict

ITEMS = 10_000
LATE_SECONDS = 0.5
"""How much later than its deadline an answer may be."""
_BATCH = 50
_CALLERS = 6
_CALL_SECONDS = 120.0
_HURRIED_SECONDS = (0.05, 1.0)
_LATE_ITEM_SECONDS = 0.6
_RETRIES = 4
_SHARES = {"late": 0.002, "kill": 0.002, "memory": 0.01, "malformed": 0.02}
_WANTED = {
    "late": ErrorReason.DEADLINE,
    "kill": ErrorReason.WORKER_DIED,
    "memory": ErrorReason.SCORER_FAILED,
    "malformed": ErrorReason.INVALID_ITEM,
}


@dataclass
class Account:
    """What became of the items."""

    seen: Counter[str] = field(default_factory=Counter)
    """right, wrong, lost, doubled: items. late answers, hurried, left: calls."""
    faults: Counter[str] = field(default_factory=Counter)
    worst_late_seconds: float = -60.0

    def judge(self, item: Item, outcomes: Sequence[Outcome]) -> None:
        """Counts an item that was asked for to the end."""
        if not outcomes:
            self.seen["lost"] += 1
            return
        self.seen["doubled"] += len(outcomes) > 1
        wanted = _WANTED.get(item.response.partition(" ")[0])
        for outcome in outcomes:
            right = _is_right(item, outcome, wanted)
            self.seen["right" if right else "wrong"] += 1
            if not right:
                print(f"{item.response}: {outcome}", file=sys.stderr)


def faults(items: int = ITEMS) -> list[Figure]:
    """Runs it all; takes about a minute."""
    with tempfile.TemporaryDirectory(prefix="assay-faults-") as folder, EmbeddedRedis(Path(folder) / "redis") as redis:
        flags = ("--scorer", "benchmarks.faulty_scorer:Faulty", "--workers", "2", "--log-level", "error")
        specs = [service(name, "services.scorer", *flags, "--cache-url", redis.url) for name in ("one", "two")]
        with Services(specs) as services:
            account = Account()
            start = time.monotonic()
            asyncio.run(_run(services, redis, account, items))
            seconds = time.monotonic() - start
    seen = account.seen
    told = ", ".join(f"{count} {name}" for name, count in sorted(account.faults.items()))
    bad = {name: seen[name] for name in ("lost", "doubled", "wrong")}
    return [
        Figure(
            f"{items:,} items under faults ({told}; {seen['hurried']} hurried calls, {seen['left']} left)",
            f"{', '.join(f'{count} {name}' for name, count in bad.items())}, {seen['right']:,} right, in {seconds:.0f} s",
            "0 lost, 0 doubled, 0 wrong",
            not any(bad.values()) and seen["right"] == items,
        ),
        Figure(
            "latest answer of all calls, against its call's deadline",
            f"{account.worst_late_seconds:+.2f} s",
            f"+{LATE_SECONDS} s",
            account.worst_late_seconds <= LATE_SECONDS,
        ),
    ]


async def _run(services: Services, redis: EmbeddedRedis, account: Account, count: int) -> None:
    chance = random.Random(0)
    batches = _batches(chance, count)
    one, two = services.address("one"), services.address("two")
    address = f"{one},{two}"
    injectors = [
        asyncio.create_task(_for_ever(chance, pause, inject, account.faults))
        for pause, inject in (
            (1.5, lambda: _kill_worker(services, chance)),
            (4.0, lambda: _trouble_redis(redis, chance)),
            (12.0, lambda: _kill_replica(services, chance)),
            (0.3, lambda: _send_nonsense(one, chance)),
        )
    ]
    async with (
        AsyncScoring({"faulty": address}, retries=_RETRIES, patience_seconds=30.0, hedge_seconds=5.0) as scoring,
        AsyncScoringClient("faulty", address, patience_seconds=1.0) as hasty,
    ):
        waiting = iter(batches)
        callers = [asyncio.create_task(_call(scoring, hasty, waiting, account, chance)) for _ in range(_CALLERS)]
        await asyncio.gather(*callers)
    for injector in injectors:
        injector.cancel()
    await asyncio.gather(*injectors, return_exceptions=True)


def _batches(chance: random.Random, count: int) -> list[list[Item]]:
    kinds = chance.choices([*_SHARES, "honest"], [*_SHARES.values(), 1.0 - sum(_SHARES.values())], k=count)
    items = [
        Item(
            f"item {number}",
            "",
            f"{kind} {number}",
            {"least": -1} if kind == "malformed" else {},
            timeout_seconds=_LATE_ITEM_SECONDS if kind == "late" else 0.0,
        )
        for number, kind in enumerate(kinds)
    ]
    return [items[start : start + _BATCH] for start in range(0, count, _BATCH)]


async def _call(
    scoring: AsyncScoring, hasty: AsyncScoringClient, batches: Iterator[list[Item]], account: Account, chance: random.Random
) -> None:
    """Sends batches; beside some of them, the same items at the same time, in a hurry or by a caller who leaves."""
    for batch in batches:
        beside = chance.random()
        tasks: list[Awaitable] = [_settle(scoring, batch, account)]
        if beside < 0.25:
            tasks.append(_hurry(hasty, batch, account, chance.uniform(*_HURRIED_SECONDS)))
        elif beside < 0.4:
            tasks.append(_leave(hasty, batch, account, chance.uniform(*_HURRIED_SECONDS)))
        await asyncio.gather(*tasks)


async def _settle(scoring: AsyncScoring, batch: list[Item], account: Account) -> None:
    """Asks until every item has what it must have, as a trainer's collector does."""
    start = time.monotonic()
    scored = await scoring.score({"faulty": batch}, _CALL_SECONDS)
    _note_late(account, start, _CALL_SECONDS)
    for item in batch:
        one = scored.get(item.id)
        found: list[Outcome] = []
        if one is not None:
            found += [ItemError(ErrorReason(reason), "") for reason in one.missing.values()]
            found += [Verdict(one.components, label) for label in one.labels.values()]
        account.judge(item, found)


async def _hurry(client: AsyncScoringClient, batch: list[Item], account: Account, seconds: float) -> None:
    """Little time: a right answer or DEADLINE (or a replica that is gone), and in time."""
    start = time.monotonic()
    outcomes = await client.score(batch, seconds)
    _note_late(account, start, seconds)
    account.seen["hurried"] += 1
    passing = (ErrorReason.DEADLINE, ErrorReason.UNAVAILABLE, ErrorReason.WORKER_DIED)
    for item in batch:
        outcome = outcomes.get(item.id)
        wanted = _WANTED.get(item.response.partition(" ")[0])
        excused = isinstance(outcome, ItemError) and outcome.reason in passing
        if outcome is None:
            account.seen["lost"] += 1
        elif not excused and not _is_right(item, outcome, wanted):
            account.seen["wrong"] += 1


async def _leave(client: AsyncScoringClient, batch: list[Item], account: Account, seconds: float) -> None:
    task = asyncio.create_task(client.score(batch, _CALL_SECONDS))
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    account.seen["left"] += 1


def _note_late(account: Account, start: float, seconds: float) -> None:
    late = time.monotonic() - start - seconds
    account.worst_late_seconds = max(account.worst_late_seconds, late)
    account.seen["late answers"] += late > LATE_SECONDS


def _is_right(item: Item, outcome: Outcome, wanted: ErrorReason | None) -> bool:
    """Whether it is what the item must get. What kills workers for good may find none alive at its last try."""
    if isinstance(outcome, ItemError):
        return wanted is not None and (outcome.reason is wanted or (wanted.may_retry and outcome.reason.may_retry))
    return wanted is None and outcome.components == {"faulty/value": right_value(item.response)}


async def _for_ever(
    chance: random.Random, pause: float, inject: Callable[[], Awaitable[str]], counts: Counter[str]
) -> None:
    while True:
        await asyncio.sleep(pause * chance.uniform(0.5, 1.5))
        counts[await inject()] += 1


async def _kill_worker(services: Services, chance: random.Random) -> str:
    with suppress(psutil.Error, IndexError, AssertionError):
        workers = psutil.Process(services.pid(chance.choice(["one", "two"]))).children()
        os.kill(chance.choice(workers).pid, signal.SIGKILL)
    return "workers killed"


async def _kill_replica(services: Services, chance: random.Random) -> str:
    await asyncio.to_thread(services.restart, chance.choice(["one", "two"]))
    return "replicas killed"


async def _trouble_redis(redis: EmbeddedRedis, chance: random.Random) -> str:
    """Stops it for a while, or kills it and starts another."""
    if chance.random() < 0.5:
        os.kill(redis.pid, signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.1, 1.5))
        os.kill(redis.pid, signal.SIGCONT)
        return "Redis stopped"
    os.kill(redis.pid, signal.SIGKILL)
    await asyncio.sleep(chance.uniform(0.1, 1.5))
    await asyncio.to_thread(redis.stop)
    await asyncio.to_thread(redis.start)
    return "Redis killed"


async def _send_nonsense(address: str, chance: random.Random) -> str:
    """A request that is none, by gRPC's bytes or by its fields."""
    async with open_async_channel(address) as channel:
        with suppress(grpc.RpcError):
            if chance.random() < 0.5:
                await channel.unary_unary("/assay.v1.Scorer/ScoreBatch")(chance.randbytes(200), timeout=5.0)
            else:
                twice = scoring_pb2.ScoreItem(id="twice", response="honest")
                request = scoring_pb2.ScoreBatchRequest(items=[twice, twice])
                await scoring_pb2_grpc.ScorerStub(channel).ScoreBatch(request, timeout=5.0)  # pyright: ignore
    return "messages malformed"
