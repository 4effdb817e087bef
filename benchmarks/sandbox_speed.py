"""How fast the sandbox is: medians of several repeats, with a plain process and bubblewrap beside it."""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.sandbox_peers import verdict_milliseconds
from benchmarks.sandbox_processes import descendants
from sandbox.jobs import Call, Calls, Job, Program, Trial
from sandbox.pool import Sandbox
from sandbox.results import Ending, Limits, TrialResult
from sandbox.values import encode

REPEATS = 5
TRIVIAL = Program("print(42)")
_NUMBERS = random.Random(0).choices(range(10**6), k=2000)
TYPICAL = Program(
    "import sys\nfrom collections import Counter\nvalues = list(map(int, sys.stdin.read().split()))\nvalues.sort()\n"
    "print(sum(values), values[len(values) // 2], Counter(value % 10 for value in values).most_common(1)[0][1])",
    " ".join(map(str, _NUMBERS)).encode(),
)
WITH_NUMPY = Program("import numpy as np\na = np.arange(10_000).reshape(100, 100)\nprint(int((a @ a.T).trace()))")
_SQUARE = "def solve(n):\n    return n * n"
_SLEEPS = Program("import time\nprint(1, flush=True)\ntime.sleep(0.5)")
_SLOTS = 4


class WrongResultError(Exception):
    """A run whose time means nothing, because it did not do what it should."""


async def speed(runs: int = 400) -> list[Figure]:
    """runs: of each kind, in each repeat."""
    async with Sandbox(slots=_SLOTS) as sandbox:
        one_at_a_time = [await _one_at_a_time(sandbox, TRIVIAL, runs) for _ in range(REPEATS)]
        rates = {
            name: [await _rate(lambda job=job: _run(sandbox, job), runs) for _ in range(REPEATS)]
            for name, job in (("trivial", TRIVIAL), ("typical", TYPICAL), ("numpy", WITH_NUMPY))
        }
        calls = [await _calls(sandbox, runs // 4) for _ in range(REPEATS)]
        trials = [await _trials(sandbox, runs // 4) for _ in range(REPEATS)]
        private = [await _private_bytes(sandbox) for _ in range(REPEATS)]
    verdicts = {name: [value] for name, value in verdict_milliseconds().items()}
    beside = {name: await _peer(command, runs // 8) for name, command in _peers().items()}
    return [
        _most("trivial program, one at a time, p50, ms", one_at_a_time, 2.5, beside, 0),
        _least("trivial programs a second, 4 at once", rates["trivial"], 800, beside, 1),
        _least("typical programs a second, 4 at once", rates["typical"], 600, beside, 2),
        _least("numpy programs a second, 4 at once", rates["numpy"], 400, beside, 3),
        _most("verdict on a function, 10 calls, p50, ms", [first for first, _ in calls], 4.0),
        _most("each further call, ms", [each for _, each in calls], 0.08),
        _most("verdict by test code, one assertion, p50, ms", [first for first, _ in trials], 4.0, verdicts),
        _most("each further assertion, ms", [each for _, each in trials], 0.08),
        _most("private memory of a run, MB", private, 1.5),
    ]


async def _run(sandbox: Sandbox, job: Job) -> None:
    result = await sandbox.run(job)
    if result.ending is not Ending.EXITED:
        raise WrongResultError(f"{result.ending}: {result.detail}")


async def _one_at_a_time(sandbox: Sandbox, job: Job, runs: int) -> float:
    """The median of a run's milliseconds."""
    return await _median_ms(lambda: _run(sandbox, job), runs)


async def _median_ms(work: Callable[[], Awaitable[None]], times: int) -> float:
    seconds = []
    await work()
    for _ in range(times):
        start = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


async def _rate(work: Callable[[], Awaitable[None]], runs: int) -> float:
    """Runs a second, `_SLOTS` at once."""
    await work()
    left = iter(range(runs))

    async def caller() -> None:
        for _ in left:
            await work()

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(_SLOTS)))
    return runs / (time.perf_counter() - start)


async def _calls(sandbox: Sandbox, times: int) -> tuple[float, float]:
    """Milliseconds of a run with 10 calls, and of each further call."""

    def job(count: int) -> Calls:
        return Calls(_SQUARE, tuple(Call("solve", encode([n])) for n in range(count)))

    few = await _median_ms(lambda: _run(sandbox, job(10)), times)
    many = await _median_ms(lambda: _run(sandbox, job(1010)), times // 5)
    return few, (many - few) / 1000


async def _trials(sandbox: Sandbox, times: int) -> tuple[float, float]:
    """The same where test code calls the function from a process of its own."""

    async def work(count: int) -> None:
        asserts = "".join(f"    assert candidate({n}) == {n * n}\n" for n in range(count))
        trial = Trial(_SQUARE, f"def check(candidate):\n{asserts}", ("solve",))
        result = await sandbox.trial(trial, Limits())
        if not _passed(result, count):
            raise WrongResultError(f"{result.candidate.detail} {result.checker.detail} {result.raised}")

    one = await _median_ms(lambda: work(1), times)
    many = await _median_ms(lambda: work(1001), times // 5)
    return one, (many - one) / 1000


def _passed(result: TrialResult, count: int) -> bool:
    return result.finished and result.executed == result.calls == count


async def _private_bytes(sandbox: Sandbox) -> float:
    """Megabytes that one process has for itself while it runs."""
    before = descendants()
    running = asyncio.create_task(_run(sandbox, _SLEEPS))
    await asyncio.sleep(0.2)
    (pid,) = descendants() - before
    size = _private_kilobytes(pid)
    await running
    return size / 1024


def _private_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _peers() -> dict[str, tuple[str, ...]]:
    """How others run a program, without the program."""
    plain = (sys.executable, "-I", "-c")
    found: dict[str, tuple[str, ...]] = {"a plain process": plain}
    if bwrap := shutil.which("bwrap"):
        found["bwrap"] = (bwrap, "--unshare-all", "--ro-bind", "/", "/", *plain)
    else:
        print("bwrap is not installed: left out", file=sys.stderr)
    return found


async def _peer(command: tuple[str, ...], runs: int) -> list[float]:
    """The same four figures of a peer: milliseconds of a trivial program, and rates."""

    async def work(program: Program) -> None:
        process = await asyncio.create_subprocess_exec(
            *command, program.source, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        await process.communicate(program.stdin)
        if process.returncode != 0:
            raise WrongResultError(f"{command[0]} ended with {process.returncode}")

    rates = [await _rate(lambda program=program: work(program), runs) for program in (TRIVIAL, TYPICAL, WITH_NUMPY)]
    return [await _median_ms(lambda: work(TRIVIAL), runs), *rates]


def _most(
    name: str, values: list[float], bar: float, beside: dict[str, list[float]] | None = None, index: int = 0
) -> Figure:
    value = statistics.median(values)
    return Figure(name, _text(value, values, beside, index), f"{bar:g} at most", value <= bar)


def _least(name: str, values: list[float], bar: float, beside: dict[str, list[float]], index: int) -> Figure:
    value = statistics.median(values)
    return Figure(name, _text(value, values, beside, index), f"{bar:g} at least", value >= bar)


def _text(value: float, values: list[float], beside: dict[str, list[float]] | None, index: int) -> str:
    peers = "".join(f"; {name} {numbers[index]:.3g}" for name, numbers in (beside or {}).items())
    return f"{value:.3g} ({min(values):.3g} to {max(values):.3g}){peers}"
