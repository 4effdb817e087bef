"""Runs attacks in one world and judges them from outside; started by `benchmarks/sandbox_world.py`.

Reads a task from standard input, one JSON object: `without`, `landlock_abi`, `kinds`, `cases` (name, source, runs).
Writes JSON lines: for each kind `layers`, or `refused` where the world does not permit it, and for each case an `Examined`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.sandbox_processes import Watch, adopt, children, memory_bytes
from benchmarks.sandbox_surroundings import Surroundings
from sandbox.imports import kind_of
from sandbox.inside.namespaces import NAMESPACES, USER_NAMESPACE
from sandbox.jobs import Kind, Program
from sandbox.pool import Sandbox
from sandbox.results import Ending, Limits, RunResult
from sandbox.server import Server, ServerError, Setup

LIMITS = Limits(cpu_seconds=1.0, wall_seconds=2.0, memory_bytes=256 << 20, output_bytes=1 << 20)
SEALED = "sealed"
"""Stands for the least sealed kind that has what a program imports."""
_GRACE_SECONDS = 2.0
_UNTIL_GONE_SECONDS = 1.0
_LOOKS = 20
_MOST_BYTES = LIMITS.memory_bytes + (128 << 20)
"""Memory, a scratch directory that lies in memory, and what grows between two looks."""
_HONEST = """
note = "SECRET_OF_PREV_RUN_" + "abcdefghij"
kept = "SECRET_OF_PREV_RUN_abcdefghij"
print(sum(map(int, input().split())))
"""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of a case in one kind of process."""

    case: str
    kind: str
    ending: str
    said: list[str]
    """Its own lines about what it reached."""
    seen: list[str]
    """What was seen from outside that must not be."""
    seconds: float
    peak_bytes: int


class Examiner:
    """Examines cases one after another, so that whatever is seen is of the one that runs."""

    def __init__(self, sandbox: Sandbox, surroundings: Surroundings) -> None:
        self._sandbox = sandbox
        self._surroundings = surroundings
        surroundings.new_bystander()
        self._clean = surroundings.state()
        """As it is while nothing runs."""
        surroundings.end_bystander()

    async def examine(self, name: str, source: str, runs: int, kind: Kind) -> Examined:
        """Raises ServerError where the kind is not permitted here."""
        began = time.monotonic()
        seen = await self._honest_run("before", kind)
        said: list[str] = []
        peak = 0
        ending = ""
        for _ in range(runs):
            result, found, bytes_seen = await self._attack(source, kind)
            lines = result.stdout.decode("utf-8", "replace").splitlines()
            said += [line[:200] for line in lines if line.startswith("ESCAPE")]
            seen += found
            peak = max(peak, bytes_seen)
            ending = result.ending.value
        seen += await self._honest_run("after", kind)
        return Examined(name, kind.value, ending, said, seen, round(time.monotonic() - began, 3), peak)

    async def _attack(self, source: str, kind: Kind) -> tuple[RunResult, list[str], int]:
        """One run of a case; how it ended, what is wrong with that, and its memory at the most."""
        around = self._surroundings
        server = await self._sandbox.server(kind)
        around.new_bystander()
        inner = inner_process(server)
        given = json.dumps(around.parameters(inner)).encode()
        watch = Watch(memory_bytes(inner))
        start = time.monotonic()
        result = await self._sandbox.run(Program(source, given), LIMITS, kind)
        seconds = time.monotonic() - start
        seen = [f"left {text}" for text in await watch.end()]
        seen += await self._changes() + around.received()
        seen += wrong_with(result, seconds, watch.peak_bytes, around.secrets)
        if not server.is_alive:
            seen.append("the fork server died")
        around.end_bystander()
        return result, seen, watch.peak_bytes

    async def _changes(self) -> list[str]:
        """What is not as it was before, each told once; what a run leaves behind may go within a second."""
        for _ in range(_LOOKS):
            now = self._surroundings.state()
            if now == self._clean:
                return []
            await asyncio.sleep(_UNTIL_GONE_SECONDS / _LOOKS)
        before, self._clean = self._clean, now
        return differences(before, now)

    async def _honest_run(self, when: str, kind: Kind) -> list[str]:
        """An honest run, whose source no later one may find."""
        await self._sandbox.server(kind)
        honest = await self._sandbox.run(Program(_HONEST, b"40 2"), LIMITS, kind)
        right = (honest.ending, honest.stdout) == (Ending.EXITED, b"42\n")
        return [] if right else [f"an honest run {when} it: {honest.ending} {honest.detail[:80]}"]


def inner_process(server: Server) -> int:
    """The process that forks: where there are namespaces, the child of the one that was started."""
    if not {NAMESPACES, USER_NAMESPACE} & set(server.layers):
        return server.pid
    return children()[server.pid][0]


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """What a run changed."""
    names = sorted({*before, *after})
    changed = [name for name in names if before.get(name) != after.get(name)]
    return [f"{name}: {before.get(name)} became {after.get(name)}"[:300] for name in changed]


def wrong_with(result: RunResult, seconds: float, peak_bytes: int, secrets: list[str]) -> list[str]:
    """What must not be true of any run, whatever its program does."""
    output = result.stdout + result.stderr
    checks = {
        f"took {seconds:.1f} s": seconds > LIMITS.wall_seconds + _GRACE_SECONDS,
        f"{len(output)} bytes of output were kept": max(len(result.stdout), len(result.stderr)) > LIMITS.output_bytes,
        f"took {peak_bytes >> 20} MB": peak_bytes > _MOST_BYTES,
        f"the sandbox failed: {result.detail[:100]}": result.ending is Ending.INFRASTRUCTURE,
        "printed what is hidden from it": any(secret.encode() in output for secret in secrets),
    }
    return [text for text, is_wrong in checks.items() if is_wrong]


def sealed_kind(source: str) -> Kind:
    """The least sealed kind for a program."""
    chosen = kind_of(source)
    return chosen if chosen in (Kind.PLAIN, Kind.LIBRARY) else Kind.LIBRARY


async def main() -> None:
    task = json.load(sys.stdin)
    setup = Setup(without=tuple(task["without"]), landlock_abi=task["landlock_abi"])
    surroundings = Surroundings(Path(tempfile.mkdtemp(prefix="assay-world-")))
    async with Sandbox(setup=setup) as sandbox:
        examiner = Examiner(sandbox, surroundings)
        for kind in task["kinds"]:
            try:
                server = await sandbox.server(Kind.LIBRARY if kind == SEALED else Kind(kind))
            except ServerError as error:
                tell({"kind": kind, "refused": str(error), "forbidden": error.forbidden})
                continue
            tell({"kind": kind, "layers": server.layers, "missing": server.missing})
            for case in task["cases"]:
                chosen = sealed_kind(case["source"]) if kind == SEALED else Kind(kind)
                tell(asdict(await examiner.examine(case["name"], case["source"], case["runs"], chosen)))


def tell(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    adopt()
    asyncio.run(main())
