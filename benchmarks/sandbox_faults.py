"""`kill -9` of fork servers, of the sandbox service and of the judge's workers, while items are judged."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil

from benchmarks.figures import Figure
from benchmarks.sandbox_services import JudgingServices, passes
from protos.gen.assay.v1 import scoring_pb2, scoring_pb2_grpc
from services.client.channel import open_channel
from services.verdicts import Item, ItemError
from services.wire import item_to_wire, outcome_from_wire

KILLS = {"fork server": 24, "sandbox service": 8, "judge's worker": 18}
_PAUSE_SECONDS = (0.1, 0.6)
_CALLERS = 3
_BATCH = 16
_CALL_SECONDS = 120.0
_TRIES = 20
_TRY_PAUSE_SECONDS = 0.5
_UNTIL_FOUND_SECONDS = 60.0
_SERVED = ('"plain"', '"checker"')
"""Kinds that the items here need."""
_TEST = "def check(candidate):\n    for n in range(20):\n        assert candidate(n) == n * n\n"


class Load:
    """Callers that send items for as long as the block runs; an item without a verdict that may be had is sent again."""

    def __init__(self, address: str) -> None:
        self.seen: Counter[str] = Counter()
        """Items by what became of them: right, wrong, lost, doubled; and how often one was sent again."""
        self._address = address
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(_CALLERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, caller: int) -> None:
        with open_channel(self._address) as channel:
            stub = scoring_pb2_grpc.ScorerStub(channel)
            number = 0
            while not self._stop.is_set():
                self._settle(stub, batch(f"{caller}/{number}", random.Random(number)))
                number += 1

    def _settle(self, stub: Any, asked: dict[str, tuple[Item, bool]]) -> None:
        """Sends a batch, and what is left of it, until all of it has verdicts."""
        left = dict(asked)
        for _ in range(_TRIES):
            for name, outcome in self._ask(stub, [item for item, _ in left.values()]):
                if isinstance(outcome, ItemError):
                    if not outcome.reason.may_retry:
                        self._note("lost", f"{name}: {outcome.reason}: {outcome.message}")
                        left.pop(name, None)
                elif name not in left:
                    self._note("doubled", name)
                else:
                    _, right = left.pop(name)
                    self._note("right" if passes(outcome) == right else "wrong", f"{name}: {outcome}")
            if not left:
                return
            with self._lock:
                self.seen["sent again"] += len(left)
            time.sleep(_TRY_PAUSE_SECONDS)
        for name in left:
            self._note("lost", name)

    def _ask(self, stub: Any, items: list[Item]) -> list[tuple[str, Any]]:
        request = scoring_pb2.ScoreBatchRequest(items=[item_to_wire(item) for item in items])
        try:
            response = stub.ScoreBatch(request, timeout=_CALL_SECONDS)
        except grpc.RpcError:
            return []
        return [(result.id, outcome_from_wire(result)) for result in response.results]

    def _note(self, what: str, told: str) -> None:
        with self._lock:
            self.seen[what] += 1
        if what != "right":
            print(f"FAULTS {what}: {told}"[:400], file=sys.stderr)


def batch(name: str, chance: random.Random) -> dict[str, tuple[Item, bool]]:
    """Items of all three kinds, by id, and whether each is right."""
    found = {}
    for place in range(_BATCH):
        right = chance.random() < 0.5
        number = chance.randrange(2, 1000)
        code = f"def solve(n):\n    return n * n + {0 if right else 1}  # {number}\n"
        kinds: list[tuple[str, dict[str, Any]]] = [
            (f"{code}print(solve(int(input())))", {"cases": [{"stdin": str(number), "stdout": f"{number**2}\n"}]}),
            (code, {"entry_point": "solve", "calls": [{"args": [number], "expected": number**2}]}),
            (code, {"entry_point": "solve", "test": _TEST}),
        ]
        source, checks = kinds[place % len(kinds)]
        found[f"{name}/{place}"] = (Item(f"{name}/{place}", "", source, checks), right)
    return found


def faults(kills: dict[str, int] | None = None) -> list[Figure]:
    """kills: how often each is killed."""
    chance = random.Random(0)
    plan = [what for what, times in (kills or KILLS).items() for _ in range(times)]
    chance.shuffle(plan)
    with JudgingServices() as services, Load(services.address("code")) as load:
        killers: dict[str, Callable[[], None]] = {
            "fork server": lambda: _kill(lambda: _fork_servers(services.pid("sandbox")), chance),
            "sandbox service": lambda: services.restart("sandbox"),
            "judge's worker": lambda: _kill(lambda: _children(services.pid("code")), chance),
        }
        for what in plan:
            time.sleep(chance.uniform(*_PAUSE_SECONDS))
            killers[what]()
        time.sleep(max(_PAUSE_SECONDS))
    seen = load.seen
    counts = ", ".join(f"{plan.count(what)} of a {what}" for what in KILLS)
    bad = seen["wrong"] + seen["lost"] + seen["doubled"]
    return [
        Figure(
            f"{len(plan)} times kill -9 under load",
            f"{seen['wrong']} wrong, {seen['lost']} lost, {seen['doubled']} doubled of {seen['right'] + bad} items"
            f" ({counts}; {seen['sent again']} sent again, because the answer was an error that says so)",
            "0 wrong, lost or doubled",
            not bad and seen["right"] > 0,
        )
    ]


def _kill(find: Callable[[], list[int]], chance: random.Random) -> None:
    """Kills one of the processes, once there is one."""
    deadline = time.monotonic() + _UNTIL_FOUND_SECONDS
    while not (found := find()):
        if time.monotonic() > deadline:
            raise RuntimeError("there is nothing to kill: it was not started again")
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.kill(chance.choice(sorted(found)), signal.SIGKILL)


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]


def _fork_servers(pid: int) -> list[int]:
    """The server of each kind that is used (where there are process namespaces, the first process of one), and the zygote
    that it forks from."""
    found = []
    for server in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            if any(kind in " ".join(server.cmdline()) for kind in _SERVED):
                first = next((child for child in server.children() if _is_first(child.pid)), server)
                zygotes = sorted(child.pid for child in first.children())[:1]
                found += [first.pid, *zygotes]
    return found


def _is_first(pid: int) -> bool:
    """Whether a process is the first of its namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    numbers = next(line for line in lines if line.startswith("NSpid:")).split()
    return len(numbers) > 2 and numbers[-1] == "1"
