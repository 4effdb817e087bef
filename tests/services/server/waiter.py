"""An async scorer for tests: it waits, blocks, dies and will not be cancelled, as its items tell it."""

import asyncio
import os
import time
from pathlib import Path

from pydantic import BaseModel

from services.server.call_time import extend
from services.verdicts import Component, Verdict


class NoChecks(BaseModel):
    """Items bring nothing along."""


class Waiter:
    """Obeys `item.response`. Each verdict says how many items were under way at the most while it was made."""

    name = "waiter"
    version = "1"
    components = (
        Component("waiter/beside", "Items under way at the most, itself included.", 0, 512),
        Component("waiter/pid", "The worker.", 0, 1 << 40),
    )
    checks = NoChecks
    batch_size = 4
    concurrency = 8
    timeout_seconds = 20.0

    def __init__(self):
        self.under_way = {}
        self.barrier = asyncio.Barrier(self.concurrency)

    async def score(self, items):
        for item in items:
            self.under_way[item.id] = 0
        for each in self.under_way:
            self.under_way[each] = max(self.under_way[each], len(self.under_way))
        try:
            for item in items:
                await self.obey(*item.response.split())
            if any(item.response == "few" for item in items):
                return []
            return [Verdict({"waiter/beside": self.under_way[item.id], "waiter/pid": os.getpid()}) for item in items]
        finally:
            for item in items:
                del self.under_way[item.id]

    async def obey(self, command="", rest=""):
        match command:
            case "sleep":
                await asyncio.sleep(float(rest))
            case "more":  # asks for so much time and then takes so much
                asked, taken = rest.split(",")
                extend(float(asked))
                await asyncio.sleep(float(taken))
            case "meet":  # until as many as may be under way are
                await self.barrier.wait()
            case "told":  # writes down that it runs, and that it was cancelled
                note(rest, "began")
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    note(rest, "cancelled")
                    raise
            case "stubborn":
                note(rest, "began")
                while True:
                    try:
                        await asyncio.sleep(600)
                    except asyncio.CancelledError:
                        note(rest, "cancelled")
            case "block":
                note(rest, "began")
                time.sleep(600)  # noqa: ASYNC251 - what it must not do
            case "patient":  # the first time it waits for ever
                note(rest, "began")
                await asyncio.sleep(600 if times_begun(rest) == 1 else 0.3)
            case "exit":
                note(rest, "began")
                await asyncio.sleep(0.05)
                os._exit(3)
            case "raise":
                raise SystemExit("XYZZY-4711")


def note(file, word):
    with Path(file).open("a") as notes:
        notes.write(f"{word}\n")


def times_begun(file):
    return Path(file).read_text().count("began")


class Unbounded:
    """Does not say how many items it takes at once."""

    name, version, components, checks, batch_size, timeout_seconds = "u", "1", Waiter.components, NoChecks, 1, 1.0

    async def score(self, items):
        return []
