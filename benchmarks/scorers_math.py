"""The mathematics scorer's figures: agreement with labelled cases, hostile answers, and pairs a second beside Math-Verify.

    python -m benchmarks.scorers_math --math math_cases.jsonl --gsm8k gsm8k_solutions.jsonl

Rows of the math file: `gold, answer, expected, kind, source, opts`. Kinds that start with `policy` or `disputed` are
counted apart. What a row's test asks of the grader is passed on: `precision` as `decimals`, `strict: false` as `names:
any`, and the rule of SkyRL's GSM8K tests, that only `####` states an answer, as `markers`. Each disagreement is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.figures import Figure, report
from services.client.scoring import ScoringClient
from services.math.extract import extract_answer
from services.math.scorer import MathScorer
from services.verdicts import Item, ItemError, Outcome, Verdict

MIN_AGREEMENT, NUMERIC_PAIRS, MIXED_PAIRS = 0.985, 20_000, 2_000
MAX_SECONDS, MAX_HEALTH_SECONDS = 1.0, 0.050
_MATH_VERIFY_PAIRS = 150

EXECUTED = Path(tempfile.gettempdir()) / "assay_executed"
HOSTILE = (
    "9^{9^{9^{9}}}",
    "9^9^9^9",
    "9**9**9**9",
    "10^{10^{10^{10}}}",
    "2^{2^{2^{2^{2^{2}}}}}",
    "((((9^9)^9)^9)^9)^9",
    "9^{10^9+x}",
    "(1+10^{-9})^{10^{9}}",
    "x^{1000000000000}",
    "(x+y+z)^{500}",
    "((x+y+z)^{50})^{50}",
    "(1+x)^{100000}",
    r"\left(\sqrt{2}+\sqrt{3}+\sqrt{5}\right)^{1000}",
    "99999999!",
    "((5!)!)!",
    "5!!!!!!",
    "(10^{10})!",
    r"\Gamma(10^{9})",
    r"\binom{10^{9}}{5 \cdot 10^{8}}",
    r"\binom{99999999}{44444444}",
    r"\sum_{k=1}^{10^9} k^{k}",
    r"\sum_{k=1}^{1000000000} \frac{1}{k}",
    r"\sum_{i=1}^{100}\sum_{j=1}^{100}\sum_{k=1}^{100} ijk",
    r"\prod_{k=1}^{10^9} k",
    r"\prod_{k=1}^{200} (x+k)",
    r"\frac{1}{" * 500 + "1" + "}" * 500,
    r"1+\frac{1}{" * 39 + "1" + "}" * 39,
    r"\sqrt{" * 300 + "2" + "}" * 300,
    r"\sqrt{2+" * 30 + "2" + "}" * 30,
    "(" * 1000 + "1" + ")" * 1000,
    "{" * 50_000,
    r"\left(" * 30_000,
    "7" * 100_000,
    "1+" * 50_000 + "1",
    "x" * 100_000,
    "1," * 50_000,
    "answer: 1 " * 10_000,
    "#### 1 " * 10_000,
    "the answer is $" * 7_000,
    r"\boxed{" * 20_000,
    "1e999999999",
    "1" + "0" * 3990,
    "0." + "3" * 3990,
    r"\int_0^{\infty} e^{-x^{2}} \sin(x^{7}) dx",
    r"\int_0^1 \int_0^1 \int_0^1 \frac{\sin(xyz)}{\sqrt{x+y+z}} dx dy dz",
    r"\lim_{x \to 0} \frac{\sin(\tan x) - \tan(\sin x)}{x^{7}}",
    r"\int \frac{x^{10}}{\sqrt{x^{7}+\sin x + e^{x}}} dx",
    r"\lim_{n \to \infty} \sum_{k=1}^{n} \frac{1}{k^{k}}",
    r"\begin{pmatrix}" + r"1 & 2 & 3 \\ " * 200 + r"1 & 2 & 3\end{pmatrix}",
    r"\sin(\sin(\sin(\sin(\sin(\sin(\sin(\sin(10^{30}))))))))",
    "e^{e^{e^{e^{10}}}}",
    r"\tan(10^{300}) + \sqrt{\pi^{300}}",
    f"__import__('os').system('touch {EXECUTED}')",
    "[exec('import os'), 42][1]",
    "eval(compile('while True: pass', '', 'exec'))",
    "lambda: (yield)",
    r"\input{/etc/passwd}",
    r"\text{exit(0)}",
    "0^{0^{0^{0}}}",
    r"\frac{1}{1-1}",
    r"\pm" * 500 + "1",
    "|" * 2000,
    "^" * 2000,
    "a_" * 1000 + "a",
    "1:" * 1000 + "1",
    r"\{" * 1000 + r"\}" * 1000,
)


def figures(math: Path | None, gsm8k: Path | None) -> Iterator[Figure]:
    """The table's rows, one by one as they are measured."""
    scorer = MathScorer()
    rows = _rows(math) if math else []
    yield from asyncio.run(_agreement(scorer, rows))
    yield asyncio.run(_solutions(scorer, _rows(gsm8k) if gsm8k else []))
    hostile = [*HOSTILE, *(row["answer"] for row in rows if row["kind"] == "pathological")]
    yield from asyncio.run(_hostile_alone(scorer, hostile))
    executed = EXECUTED.exists()
    yield Figure("hostile answers: executed", "yes" if executed else "nothing", "nothing", not executed)
    yield _health(hostile)
    yield from asyncio.run(_speed(scorer, "numeric", _numeric_items(30_000), NUMERIC_PAIRS))
    mixed = _mixed_items([row for row in rows if _is_undisputed(row)], 6_000)
    if mixed:
        yield from asyncio.run(_speed(scorer, "mixed", mixed, MIXED_PAIRS))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _is_undisputed(row: dict[str, Any]) -> bool:
    return not row["kind"].startswith(("policy", "disputed"))


def checks_of(row: dict[str, Any]) -> dict[str, Any]:
    """The checks that a row of the math file asks for."""
    options = row.get("opts") or {}
    checks: dict[str, Any] = {"gold": row["gold"]}
    if "precision" in options:
        checks["decimals"] = options["precision"]
    if options.get("strict") is False:
        checks["names"] = "any"
    if "skyrl" in row.get("source", "").lower() and "gsm8k" in row["source"]:
        checks["markers"] = ["hashes"]
    return checks


def _is_correct(outcome: Outcome) -> bool:
    return isinstance(outcome, Verdict) and outcome.components["math/correctness"] == 1.0


async def _agreement(scorer: MathScorer, rows: Sequence[dict[str, Any]]) -> list[Figure]:
    undisputed = [row for row in rows if _is_undisputed(row)]
    if not undisputed:
        return [Figure("math cases", "not measured: no --math FILE", "98.5 %, 0 wrong accepted", None)]
    right, accepted, choices = 0, 0, 0
    for number, row in enumerate(rows):
        (outcome,) = await scorer.score([Item(str(number), "", row["answer"], checks_of(row))])
        agrees = isinstance(outcome, Verdict) and _is_correct(outcome) == bool(row["expected"])
        if not agrees:
            print(f"  {row['kind']}: {_described(row, outcome)}", file=sys.stderr)
        if not _is_undisputed(row):
            choices += agrees
            continue
        right += agrees
        accepted += _is_correct(outcome) and not row["expected"]
    share = right / len(undisputed)
    others = len(rows) - len(undisputed)
    return [
        Figure(
            "math cases, undisputed kinds: agreement",
            f"{right} of {len(undisputed)} ({share:.1%})",
            "98.5 %",
            share >= MIN_AGREEMENT,
        ),
        Figure("math cases, undisputed kinds: wrong answers accepted", str(accepted), "0", accepted == 0),
        Figure("math cases, kinds that are choices: agreement", f"{choices} of {others}", "none", None),
    ]


def _described(row: dict[str, Any], outcome: Outcome) -> str:
    found = outcome.message if isinstance(outcome, ItemError) else f"{outcome.label} {dict(outcome.evidence)}"
    return f"gold {row['gold'][:80]!r}, answer {row['answer'][-80:]!r}, expected {row['expected']}: {found}"


async def _solutions(scorer: MathScorer, rows: Sequence[dict[str, Any]]) -> Figure:
    if not rows:
        return Figure("GSM8K solutions", "not measured: no --gsm8k FILE", "all", None)
    items = [Item(str(number), "", row["response"], {"gold": row["gold"]}) for number, row in enumerate(rows)]
    start = time.process_time()
    outcomes = await scorer.score(items)
    rate = len(rows) / (time.process_time() - start)
    wrong = 0
    for row, outcome in zip(rows, outcomes, strict=True):
        if not isinstance(outcome, Verdict) or _is_correct(outcome) != bool(row["expected"]):
            wrong += 1
            print(f"  GSM8K: {_described({**row, 'answer': row['response']}, outcome)}", file=sys.stderr)
    measured = f"{len(rows) - wrong} of {len(rows)}, {rate:,.0f} a second and core"
    return Figure("GSM8K solutions", measured, "all", wrong == 0)


async def _hostile_alone(scorer: MathScorer, texts: Sequence[str]) -> list[Figure]:
    """Each alone, as an answer and as a hostile half of a pair that is fine."""
    slowest, slowest_text, accepted, errors = 0.0, "", 0, 0
    for text in texts:
        response = text if "boxed" in text[:8] and text.endswith("}") else rf"\boxed{{{text}}}"
        for gold in ("42", r"\int_0^1 x dx"):
            start = time.perf_counter()
            (outcome,) = await scorer.score([Item("hostile", "", response, {"gold": gold})])
            seconds = time.perf_counter() - start
            if seconds > slowest:
                slowest, slowest_text = seconds, text[:40]
            accepted += _is_correct(outcome)
            errors += isinstance(outcome, ItemError)
    name = f"hostile answers, {2 * len(texts)} pairs"
    return [
        Figure(f"{name}: slowest", f"{slowest:.2f} s ({slowest_text})", "1 s", slowest <= MAX_SECONDS),
        Figure(f"{name}: accepted, without a verdict", f"{accepted}, {errors}", "0, 0", accepted + errors == 0),
    ]


def _health(texts: Sequence[str]) -> Figure:
    """Health checks of a service that judges hostile and honest answers all the time."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        flags = ["--port", "0", "--metrics-port", "0", "--ready-file", str(ready)]
        log = (Path(folder) / "log").open("w")
        with subprocess.Popen([sys.executable, "-m", "services.math", *flags], env=environment, stderr=log) as process:
            try:
                while not ready.exists() and process.poll() is None:
                    time.sleep(0.05)
                address = json.loads(ready.read_text())["address"]
                feeder = threading.Thread(target=_feed, args=(address, texts))
                feeder.start()
                seconds = []
                with grpc.insecure_channel(address) as channel:
                    check: Any = health_pb2_grpc.HealthStub(channel)
                    while feeder.is_alive():
                        start = time.perf_counter()
                        check.Check(health_pb2.HealthCheckRequest(), timeout=10)
                        seconds.append(time.perf_counter() - start)
                        time.sleep(0.01)
                feeder.join()
            finally:
                process.terminate()
    p99 = sorted(seconds)[int(len(seconds) * 0.99)]
    measured = f"{p99 * 1000:.0f} ms ({len(seconds)} checks)"
    return Figure("health p99 while hostile answers are judged", measured, "50 ms", p99 <= MAX_HEALTH_SECONDS)


def _feed(address: str, texts: Sequence[str]) -> None:
    items = [Item(f"hostile {n}", "", rf"\boxed{{{text}}}", {"gold": "x^2"}) for n, text in enumerate(texts)]
    items += [Item(f"honest {n}", "", f"The answer is {n}.", {"gold": str(n)}) for n in range(500)]
    random.Random(5).shuffle(items)
    client = ScoringClient("math", address, patience_seconds=5.0)
    client.score(items, 120.0)
    client.close()


def _numeric_items(count: int) -> list[Item]:
    """Distinct numbers, right and wrong, in the ways that they are stated in."""
    draw = random.Random(7)
    items = []
    for number in range(count):
        value = draw.randrange(10**9)
        said = value if number % 2 else value + 1
        gold, answer = (
            (str(value), rf"so it is \boxed{{{said}}}"),
            (f"{value:,}", f"The answer is {said:,}."),
            (str(value), f"3 + 4 = 7\n#### {said}"),
            (f"{value}.00", rf"$\boxed{{{said}}}$"),
            (str(value / 4), f"A: {said / 4}"),
            (rf"\frac{{{value}}}{{7}}", rf"\boxed{{\frac{{{said}}}{{7}}}}"),
            (str(-value), f"Thus the sum is {-said}"),
        )[number % 7]
        items.append(Item(str(number), "", answer, {"gold": gold}))
    return items


_DIGIT = frozenset("23456789")


def _mixed_items(rows: Sequence[dict[str, Any]], count: int) -> list[Item]:
    """The rows' pairs, made distinct: in each copy one digit is another throughout gold and answer."""
    rows = [row for row in rows if row["kind"] != "pathological" and len(row["answer"]) < 5_000]
    draw = random.Random(11)
    items: dict[tuple[str, str], Item] = {}
    for turn in range(20 * count):
        if not rows or len(items) >= count:
            break
        row = rows[turn % len(rows)]
        gold, answer = row["gold"], row["answer"]
        if turn >= len(rows):
            old, new = draw.sample(sorted(_DIGIT), 2)
            gold, answer = gold.replace(old, new), answer.replace(old, new)
            answer += " " * draw.randrange(3) if draw.random() < 0.5 else ""
        items.setdefault((gold, answer), Item(str(turn), "", answer, {**checks_of(row), "gold": gold}))
    return list(items.values())


async def _speed(scorer: MathScorer, name: str, items: Sequence[Item], bar: int) -> list[Figure]:
    """Pairs a second and core; Math-Verify on some of the same pairs, in the same process and minute."""
    await scorer.score([Item("first", "", r"\boxed{x+1}", {"gold": "1+x"})])
    nursery = psutil.Process(scorer.nursery_pid)
    start, start_children = time.process_time(), _cpu_seconds(nursery)
    outcomes: list[Outcome] = []
    for at in range(0, len(items), MathScorer.batch_size):
        outcomes += await scorer.score(items[at : at + MathScorer.batch_size])
    rate = len(items) / (time.process_time() - start + _cpu_seconds(nursery) - start_children)
    asked = sum(isinstance(each, Verdict) and each.evidence["method"] == "math-verify" for each in outcomes)
    peer = _math_verify_rate(random.Random(3).sample(list(items), min(_MATH_VERIFY_PAIRS, len(items))))
    measured = (
        f"{rate:,.0f} of CPU time, children's included ({asked} of {len(items)} asked Math-Verify);"
        f" Math-Verify alone {peer:,.0f}"
    )
    return [Figure(f"{name} pairs a second and core", measured, f"{bar:,}", rate >= bar)]


def _cpu_seconds(nursery: psutil.Process) -> float:
    """Of the nursery, the children it has and those it had."""
    times = nursery.cpu_times()
    living = [child.cpu_times() for child in nursery.children()]
    return sum(times[:4]) + sum(each.user + each.system for each in living)


def _math_verify_rate(items: Sequence[Item]) -> float:
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    math_verify.verify(math_verify.parse("$1$"), math_verify.parse("$x$"))
    start = time.process_time()
    for item in items:
        answer = extract_answer(item.response)
        gold = math_verify.parse(f"${item.checks['gold']}$", parsing_timeout=5)
        given = math_verify.parse(f"${answer.text if answer else ''}$", parsing_timeout=5)
        math_verify.verify(gold, given, timeout_seconds=5)
    return len(items) / (time.process_time() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--math", type=Path, help="labelled pairs of gold and answer")
    parser.add_argument("--gsm8k", type=Path, help="labelled solutions")
    given = parser.parse_args(arguments)
    found = []
    for figure in figures(given.math, given.gsm8k):
        print(f"{figure.name}: {figure.measured}", file=sys.stderr, flush=True)
        found.append(figure)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
