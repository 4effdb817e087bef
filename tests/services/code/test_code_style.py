"""`code/style` and `code/efficiency`: by hand-counted problems, and by programs whose CPU time is known."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.code import style
from services.code.style import Source, StyleError, styles
from services.verdicts import ErrorReason, ItemError, Outcome, Verdict

Judge = Callable[..., Outcome]


def of(code: str, lead: str = "") -> float:
    (value,) = styles([Source(lead, code)])
    return value


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("def f(x):\n    return x\n", 1.0),
        ("def f(x):\n    return x", 1.0),
        ("import os\n\n\ndef f(x):\n    return x\n", 1 / (1 + 10 * 1 / 3)),  # F401 in 3 lines
        ("import os, sys\n\n\ndef f(x):\n    return x\n", 1 / (1 + 10 * 3 / 3)),  # F401 twice, E401
        ("# A comment.\nimport os\n\n\n\ndef f(x):\n    # another\n    return x\n", 1 / (1 + 10 * 1 / 3)),
        ("import os  # noqa\n\n\ndef f(x):\n    return x\n", 1 / (1 + 10 * 1 / 3)),
        ("# ruff: noqa\nimport os\n\n\ndef f(x):\n    return x\n", 1 / (1 + 10 * 1 / 3)),
        ("x = '" + "a" * 90 + "'\n", 1.0),
        ("x = '" + "a" * 120 + "'\n", 1 / (1 + 10 * 1 / 1)),  # E501
        ("def f(x:\n", 0.0),
        ("def f(x):\nreturn x\n", 0.0),
        ("x = 1\0\n", 0.0),
        ("", 0.0),
        ("# nothing\n", 0.0),
    ],
)
def test_style_by_hand(code: str, value: float) -> None:
    assert of(code) == pytest.approx(value)


def test_what_comes_before_the_code_is_not_looked_at_but_known() -> None:
    lead = "import os, sys\nimport math\n\ndef helper(x): return math.floor( x )\n"
    assert of("def f(x):\n    return math.floor(helper(x))\n", lead) == 1.0
    assert of("    return math.ceil(x)\n", "import math\n\n\ndef f(x):\n") == 1.0
    assert of("def f(x):\n    return unknown(x)\n", lead) == pytest.approx(1 / (1 + 10 / 2))  # F821


def test_one_source_that_cannot_be_read_leaves_the_others_their_values() -> None:
    hostile = ["(" * 20_000, "-" * 20_000 + "1", "x = " + "[" * 10_000, "\ud800", "def f(:\n" * 1_000]
    good = "def f(x):\n    return x\n"
    values = styles([Source("", text) for text in (good, *hostile, good)])
    assert (values[0], values[-1]) == (1.0, 1.0)
    assert all(0.0 <= value <= 1.0 for value in values)


def test_a_source_that_is_too_long_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = style._ruff

    def ruff(folder: str) -> list[tuple[int, int, str]] | None:
        sizes.extend(path.stat().st_size for path in Path(folder).iterdir())
        return real(folder)

    monkeypatch.setattr(style, "_ruff", ruff)
    most = style._MOST_CHARACTERS
    sources = [Source("", "a;" * most), Source("#" * most + "\n", "x = 1\n"), Source("", "x = 1\n")]
    assert styles(sources) == [0.0, 0.0, 1.0]
    assert sizes == [6]


def test_a_ruff_that_fails_on_one_source_is_asked_for_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = style._ruff

    def ruff(folder: str) -> list[tuple[int, int, str]] | None:
        texts = [path.read_text() for path in Path(folder).iterdir()]
        return None if any("bomb" in text for text in texts) else real(folder)

    monkeypatch.setattr(style, "_ruff", ruff)
    assert styles([Source("", "x = 1\n"), Source("", "bomb = 1\n"), Source("", "import os\n")]) == [
        1.0,
        0.0,
        pytest.approx(1 / 11),
    ]


def test_a_ruff_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "ruff"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr("ruff.find_ruff_bin", lambda: str(slow))
    monkeypatch.setattr(style, "_SECONDS", 0.2)
    assert of("x = 1\n") == 0.0


def test_without_ruff_there_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> str:
        raise FileNotFoundError("no ruff")

    monkeypatch.setattr("ruff.find_ruff_bin", nothing)
    with pytest.raises(StyleError, match="needs ruff, which is not installed here"):
        of("x = 1\n")


CALLS: dict[str, Any] = {"entry_point": "f", "calls": [{"args": [2], "expected": 4}]}


def components(outcome: Outcome) -> dict[str, float]:
    assert isinstance(outcome, Verdict), outcome
    return dict(outcome.components)


def test_a_verdict_has_style_only_where_it_is_asked_for(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    good = "```python\ndef f(n):\n    return n * n\n```"
    assert components(judge(good, style=True, **CALLS))["code/style"] == 1.0
    assert components(judge("```python\nimport os\ndef f(n): return 3\n```", style=True, **CALLS))["code/style"] < 0.5
    assert components(judge("", style=True, **CALLS))["code/style"] == 0.0
    assert components(judge("    return n * n\n", "import os\ndef f(n):\n", style=True, **CALLS))["code/style"] == 1.0

    def never(*_: object, **__: object) -> None:
        raise AssertionError("ruff was called")

    monkeypatch.setattr(subprocess, "run", never)
    assert set(components(judge(good, **CALLS))) == {"code/tests", "code/compiles", "code/format"}


FAST = "def f(n):\n    return n * n\n"
BUSY = "import time\ndef f(n):\n    end = time.process_time() + {seconds}\n    while time.process_time() < end: pass\n    return n * n\n"


def test_efficiency_is_the_references_time_by_the_answers(judge: Judge) -> None:
    slow = BUSY.format(seconds=0.2)

    def of(response: str, **checks: Any) -> float:
        return components(judge(response, cpu_seconds=3.0, **CALLS, **checks))["code/efficiency"]

    assert of(slow, reference_cpu_seconds=0.1) == pytest.approx(0.5, rel=0.2)
    assert of(slow, reference=slow) == pytest.approx(1.0, rel=0.2)
    assert of(slow, reference=FAST) < 0.1
    assert of(FAST, reference=slow) == 1.0
    assert of(FAST, reference=FAST) == 1.0
    assert of(FAST, reference=f"So:\n```python\n{FAST}\n```") == 1.0
    assert of("def f(n): return 5", reference=FAST) == 0.0
    assert of("", reference_cpu_seconds=1.0) == 0.0


def test_efficiency_of_programs_and_tests(judge: Judge) -> None:
    cases = [{"stdin": f"{n}\n", "stdout": f"{n * n}"} for n in (1, 2)]
    main = "\nprint(f(int(input())))"
    outcome = judge(BUSY.format(seconds=0.15) + main, cases=cases, reference_cpu_seconds=0.15)
    assert components(outcome)["code/efficiency"] == pytest.approx(0.5, rel=0.2)
    test = "def check(candidate):\n    for n in (2, 3): assert candidate(n) == n * n"
    outcome = judge(BUSY.format(seconds=0.1), entry_point="f", test=test, reference_cpu_seconds=0.1)
    assert components(outcome)["code/efficiency"] == pytest.approx(0.5, rel=0.2)


def test_a_reference_that_does_not_pass_is_an_error_of_the_item(judge: Judge) -> None:
    outcome = judge(FAST, reference="def f(n): return 5", **CALLS)
    assert isinstance(outcome, ItemError)
    assert (outcome.reason, outcome.message) == (ErrorReason.INVALID_ITEM, "checks.reference: it does not pass (fail)")
