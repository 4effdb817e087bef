"""Wrong answers to `solve(n) = n * n` that try to pass, through the real judge: none may, and honest ones beside them must."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures import Figure
from benchmarks.sandbox_programs import Case
from benchmarks.sandbox_services import JudgingServices, passes
from services.client.scoring import ScoringClient
from services.verdicts import Item, ItemError, Outcome, Verdict

_NUMBERS = (3, -7, 12)
_LIMITS = {"cpu_seconds": 0.3, "memory_bytes": 300 << 20}
_CASES = [{"stdin": f"{n}\n", "stdout": f"{n * n}\n"} for n in _NUMBERS]
_ASSERTS = "".join(f"    assert candidate({n}) == {n * n}\n" for n in _NUMBERS)
_LOOP = f"    for n in {_NUMBERS}:\n        assert candidate(n) == n * n\n"
CHECKS: Mapping[str, Mapping[str, Any]] = {
    "program": {"cases": _CASES, **_LIMITS},
    "function": {"entry_point": "solve", "calls": [{"args": [n], "expected": n * n} for n in _NUMBERS], **_LIMITS},
    "test that is read": {"entry_point": "solve", "test": f"def check(candidate):\n{_ASSERTS}", **_LIMITS},
    "test that is run": {"entry_point": "solve", "test": f"def check(candidate):\n{_LOOP}", **_LIMITS},
}
_MAIN = "\nprint(solve(int(input())))\n"
HONEST = "def solve(n):\n    return n * n\n"
_HONEST_EVERY = 8
_ITEM_SECONDS = 60.0
_SECONDS = 900.0


def cheats(functions: Sequence[Case], programs: Sequence[Case]) -> list[Figure]:
    """functions: sources that define `solve`, for all four ways of judging; programs: whole ones, for the first."""
    with JudgingServices() as services, services.client() as client:
        return [_figure(client, kind, answers) for kind, answers in _all_answers(functions, programs).items()]


def _all_answers(functions: Sequence[Case], programs: Sequence[Case]) -> dict[str, dict[str, str]]:
    """By kind of judging: the cheats' sources by name."""
    main = {kind: _MAIN if kind == "program" else "" for kind in CHECKS}
    answers = {kind: {case.name: case.source + main[kind] for case in functions} for kind in CHECKS}
    answers["program"] |= {case.name: case.source for case in programs}
    return answers


def _figure(client: ScoringClient, kind: str, answers: Mapping[str, str]) -> Figure:
    items = judged_items(kind, answers)
    outcomes = client.score(items, _SECONDS)
    return verdict_on(kind, answers, outcomes)


def judged_items(kind: str, answers: Mapping[str, str]) -> list[Item]:
    """The cheats, and an honest answer after some of each."""
    honest = HONEST + (_MAIN if kind == "program" else "")
    items = []
    for number, (name, source) in enumerate(answers.items()):
        items.append(_item(name, source, kind))
        if number % _HONEST_EVERY == 0:
            items.append(_item(f"honest/{number}", honest, kind))
    return items


def _item(name: str, source: str, kind: str) -> Item:
    return Item(name, "", f"```python\n{source}\n```", CHECKS[kind], timeout_seconds=_ITEM_SECONDS)


def verdict_on(kind: str, answers: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> Figure:
    """What became of the answers; every other outcome is an honest one's."""
    passed = [name for name in answers if passes(outcomes[name])]
    silent = [name for name in answers if isinstance(outcomes[name], ItemError)]
    honest = {name: outcome for name, outcome in outcomes.items() if name not in answers}
    failed = [name for name, outcome in honest.items() if not passes(outcome)]
    for what, names in (("PASSES", passed), ("HAS NO VERDICT", silent), ("FAILS", failed)):
        for name in names:
            print(f"CHEAT {name} as {kind} {what}: {_said(outcomes[name])}", file=sys.stderr)
    return Figure(
        f"cheats as {kind}",
        f"{len(passed)} of {len(answers)} pass, {len(silent)} without a verdict;"
        f" {len(honest) - len(failed)} of {len(honest)} honest beside them pass",
        "0 pass, all verdicts, all honest pass",
        not passed and not silent and not failed,
    )


def _said(outcome: Outcome) -> str:
    return f"{outcome.label} {dict(outcome.evidence)}"[:300] if isinstance(outcome, Verdict) else outcome.message
