"""Big and odd output, loops that meet an item's deadline, and loops among honest items, through the services."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.figures import Figure
from benchmarks.sandbox_services import JudgingServices, passes
from sandbox.jobs import Program
from sandbox.results import Ending, Limits, RunResult
from services.client.sandbox import Run, SandboxClient
from services.client.scoring import ScoringClient
from services.verdicts import Item, Outcome, Verdict

_BIG = 3 << 20
_RAISED = Limits(output_bytes=4 << 20)
_BYTES = "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 4096)"
_FLOOD = f"import sys\nsys.stdout.write('x' * {_BIG})"
_ECHO_LENGTH = "import sys\nprint(len(sys.stdin.read()))"
_SAME_LINE = "import sys\nsys.stdout.write('x' * 900_000)"
_MEGABYTE = "y" * (1 << 20)
_LOOP = "while True:\n    pass"
_CASES = 12
_LOOP_ITEM_SECONDS = 2.0
_SPARE_SECONDS = 0.25
_LOOP_CPU_SECONDS = 1.0
_AT_ONCE = 16
_SECONDS = 600.0


def output(honest: int = 1000, loops: int = 64) -> list[Figure]:
    with JudgingServices() as services, services.client() as client:
        with SandboxClient(services.address("sandbox")) as sandbox:
            wrong = [*_wrong_runs(sandbox), *_wrong_verdicts(client)]
        for text in wrong:
            print(f"OUTPUT {text}", file=sys.stderr)
        odd = Figure(
            "big and odd output judged wrongly", f"{len(wrong)} of {len(RUNS) + len(VERDICTS)}", "0", not wrong
        )
        return [odd, _one_loop(client), _many_loops(client, honest, loops)]


RUNS: dict[str, tuple[Program, Limits, RunResult]] = {
    "3 MB within a raised limit": (Program(_FLOOD), _RAISED, RunResult(Ending.EXITED, b"x" * _BIG)),
    "3 MB beyond the limit": (Program(_FLOOD), Limits(), RunResult(Ending.OUTPUT_LIMIT, b"x" * Limits().output_bytes)),
    "1 MB that is no text": (Program(_BYTES), Limits(), RunResult(Ending.EXITED, bytes(range(256)) * 4096)),
    "1 MB of input": (Program(_ECHO_LENGTH, _MEGABYTE.encode()), Limits(), RunResult(Ending.EXITED, b"1048576\n")),
}
"""Of the sandbox service: ending and output that are right."""

VERDICTS: dict[str, tuple[str, dict[str, object], str]] = {
    "3 MB": (_FLOOD, {"stdout": "x" * 1000}, "output_limit"),
    "900 kB in a line without its end": (_SAME_LINE, {"stdout": "x" * 900_000 + "\n"}, "pass"),
    "900 kB but for a character": (_SAME_LINE, {"stdout": "x" * 899_999 + "y"}, "fail"),
    "no end of line": ("print('a\\nb', end='')", {"stdout": "a\nb\n"}, "pass"),
    "bytes that are no text": (_BYTES, {"stdout": "".join(map(chr, range(256))) * 4096}, "fail"),
    "1 MB of input": (_ECHO_LENGTH, {"stdin": _MEGABYTE, "stdout": "1048576\n"}, "pass"),
    "1 MB of input and back": ("import sys\nprint(sys.stdin.read()[1:])", {"stdin": _MEGABYTE, "stdout": _MEGABYTE[1:]}, "pass"),
    "input that nobody reads": ("print(1)", {"stdin": _MEGABYTE, "stdout": "1\n"}, "pass"),
}  # fmt: skip
"""Of the judge: the label that is right."""


def _wrong_runs(sandbox: SandboxClient) -> Iterator[str]:
    for name, (program, limits, right) in RUNS.items():
        (result,) = sandbox.execute([Run(program, limits)], _SECONDS)
        assert isinstance(result, RunResult)
        if (result.ending, result.stdout) != (right.ending, right.stdout):
            yield f"{name}: {result.ending}, {len(result.stdout)} bytes, {result.detail}"


def _wrong_verdicts(client: ScoringClient) -> Iterator[str]:
    items = [Item(name, "", source, {"cases": [case]}) for name, (source, case, _) in VERDICTS.items()]
    outcomes = client.score(items, _SECONDS)
    for name, (_, _, label) in VERDICTS.items():
        if _label(outcomes[name]) != label:
            yield f"{name}: {_label(outcomes[name])} instead of {label}"


def _label(outcome: Outcome) -> str:
    return outcome.label if isinstance(outcome, Verdict) else f"{outcome.reason}: {outcome.message}"


def _one_loop(client: ScoringClient) -> Figure:
    """An item that never ends by itself, each way of judging, with more CPU time than the item has."""
    generous = {"cpu_seconds": 30.0}
    cases = [{"stdin": str(number), "stdout": "1\n"} for number in range(_CASES)]
    calls = [{"args": [number], "expected": 1} for number in range(_CASES)]
    function = "def solve(n):\n    while True:\n        pass"
    test = f"def check(candidate):\n    for n in range({_CASES}):\n        assert candidate(n) == 1\n"
    kinds = {
        "program": (_LOOP, {"cases": cases}),
        "program, for the share": (_LOOP, {"cases": cases, "score": "share"}),
        "function": (function, {"entry_point": "solve", "calls": calls}),
        "test": (function, {"entry_point": "solve", "test": test}),
    }
    took = {}
    labels = set()
    for name, (source, checks) in kinds.items():
        start = time.perf_counter()
        item = Item(name, "", source, {**checks, **generous}, timeout_seconds=_LOOP_ITEM_SECONDS)
        labels.add(_label(client.score([item], _SECONDS)[name]))
        took[name] = time.perf_counter() - start
    most = _LOOP_ITEM_SECONDS + _SPARE_SECONDS
    late = [name for name, seconds in took.items() if seconds > most]
    met = not late and labels <= {"timeout_cpu", "timeout_wall"}
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())
    return Figure(f"a loop with {_CASES} cases", f"{told}; {', '.join(sorted(labels))}", f"{most:g} s, a timeout", met)


def _many_loops(client: ScoringClient, honest: int, loops: int) -> Figure:
    """What an honest item takes from being sent to its verdict: `_AT_ONCE` under way, each sent by itself."""
    alone, _ = _milliseconds(client, _mixed(honest, 0))
    beside, wrong = _milliseconds(client, _mixed(honest, loops))
    for name in wrong:
        print(f"OUTPUT {name} was judged wrongly among loops", file=sys.stderr)
    before, after = _p95(alone), _p95(beside)
    return Figure(
        f"honest items, p95, {loops} loops among {honest}; each item sent by itself, {_AT_ONCE} at once",
        f"{before:.0f} ms without loops, {after:.0f} ms with them ({after / before:.1f} times);"
        f" p50 {statistics.median(alone):.0f} and {statistics.median(beside):.0f} ms; {len(wrong)} wrong",
        "2 times at most, 0 wrong",
        after <= 2 * before and not wrong,
    )


def _mixed(honest: int, loops: int) -> list[tuple[Item, bool]]:
    """Items, and whether each is honest; loops lie evenly among the honest."""
    found = [
        (Item(f"honest/{number}", "", "print(int(input()) ** 2)", _square(number)), True) for number in range(honest)
    ]
    for number in range(loops):
        item = Item(f"loop/{number}", "", _LOOP, _square(number))
        found.insert((number + 1) * honest // loops + number, (item, False))
    return found


def _square(number: int) -> dict[str, object]:
    return {"cases": [{"stdin": str(number), "stdout": f"{number**2}\n"}], "cpu_seconds": _LOOP_CPU_SECONDS}


def _milliseconds(client: ScoringClient, items: Sequence[tuple[Item, bool]]) -> tuple[list[float], list[str]]:
    """Of the honest ones; and the names of items with a wrong verdict or none.

    An honest item takes a place of its own, whatever the loops do: those are sent when their turn comes, and waited for
    at the end only, as a trainer that goes on with what it has.
    """
    found: list[float] = []
    wrong: list[str] = []
    free = threading.Semaphore(_AT_ONCE)

    def send(item: Item, is_honest: bool) -> None:
        start = time.perf_counter()
        outcome = client.score([item], _SECONDS)[item.id]
        seconds = time.perf_counter() - start
        if is_honest:
            free.release()
            found.append(1000 * seconds)
        if passes(outcome) != is_honest or not isinstance(outcome, Verdict):
            wrong.append(item.id)

    with ThreadPoolExecutor(_AT_ONCE + sum(not is_honest for _, is_honest in items)) as threads:
        for item, is_honest in items:
            if is_honest:
                free.acquire()
            threads.submit(send, item, is_honest)
    return found, wrong


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
