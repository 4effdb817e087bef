"""Programs whose output a checker program judges, and programs in several waves, in the real sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from services.verdicts import ErrorReason, ItemError, Outcome, Verdict

Judge = Callable[..., Outcome]

FACTORS = """
def check(stdin, expected, got):
    left, right = map(int, got.split())
    assert left > 1 and right > 1
    return left * right == int(stdin)
"""
CASES = [{"stdin": "15\n", "stdout": "3 5\n"}, {"stdin": "49\n", "stdout": "7 7\n"}, {"stdin": "22", "stdout": "2 11"}]
RIGHT = "n = int(input())\nk = next(k for k in range(2, n) if n % k == 0)\nprint(n // k, k)"


def labelled(outcome: Outcome, label: str, tests: float) -> Verdict:
    assert isinstance(outcome, Verdict), outcome
    assert (outcome.label, outcome.components["code/tests"]) == (label, tests), outcome
    return outcome


@pytest.mark.parametrize(
    ("response", "label", "share"),
    [
        (RIGHT, "pass", 1.0),
        ("print(7, 7)", "fail", 1 / 3),
        ("print(1, int(input()))", "fail", 0.0),
        ("print('I refuse')", "fail", 0.0),
        ("print('9' * 5000, 1)", "fail", 0.0),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)))", "fail", 0.0),
        ("", "no_code", 0.0),
        ("1 / 0", "crash", 0.0),
        ("while True: pass", "timeout_cpu", 0.0),
        (f"{RIGHT}\nraise SystemExit(1)", "crash", 0.0),
    ],
)
def test_a_checker_says_what_is_right(judge: Judge, response: str, label: str, share: float) -> None:
    checks: dict[str, Any] = {"cases": CASES, "checker": FACTORS, "cpu_seconds": 0.5}
    labelled(judge(response, **checks), label, float(label == "pass"))
    labelled(judge(response, score="share", **checks), label, pytest.approx(share))


def test_its_evidence_says_what_it_returned_or_raised(judge: Judge) -> None:
    outcome = labelled(judge("print(3, 6)", cases=CASES, checker=FACTORS), "fail", 0.0)
    assert outcome.evidence == {
        "case": "1 of 3",
        "stdin": "'15\\n'",
        "expected": "'3 5\\n'",
        "got": "'3 6\\n'",
        "checker": "returned 'false'",
    }
    outcome = labelled(judge("print(3)", cases=CASES, checker=FACTORS), "fail", 0.0)
    assert outcome.evidence["checker"].startswith("raised ValueError: not enough values")


@pytest.mark.parametrize("checker", ["def check(*a): return True", "def check(a, b, c, d=1): return True"])
def test_a_checker_may_take_more_than_three_arguments(judge: Judge, checker: str) -> None:
    labelled(judge("print(1)", cases=[{"stdout": "1"}], checker=checker), "pass", 1.0)


@pytest.mark.parametrize("said", ["1", "'yes'", "[True]", "None", "object()", "float('nan')"])
def test_only_true_is_true(judge: Judge, said: str) -> None:
    checker = f"def check(stdin, expected, got): return {said}"
    labelled(judge("print(1)", cases=[{"stdout": "1"}], checker=checker), "fail", 0.0)


@pytest.mark.parametrize(
    ("checker", "message"),
    [
        ("def check(a, b, c): return (", "could not be loaded (syntax_error)"),
        ("def check(a): return True", "check does not take three arguments"),
        ("def check(a, b, c, *, d): return True", "check does not take three arguments"),
        ("1 / 0\ndef check(a, b, c): return True", "could not be loaded (crash)"),
        ("import os\nos._exit(0)\ndef check(a, b, c): return True", "could not be loaded (crash)"),
        ("def check(a, b, c): return unknown", "raised NameError"),
        ("def check(a, b, c):\n    import numby\n    return True", "raised ModuleNotFoundError"),
        ("def check(a, b, c): return True\ndel check", "raised NotDefinedError"),
    ],
)
def test_a_checker_that_fails_by_itself_is_an_error_of_the_item(judge: Judge, checker: str, message: str) -> None:
    outcome = judge("print(1)", cases=[{"stdout": "1"}], checker=checker, cpu_seconds=0.3)
    assert isinstance(outcome, ItemError), outcome
    assert outcome.reason is ErrorReason.INVALID_ITEM
    assert message in outcome.message


@pytest.mark.parametrize(
    ("checker", "output", "label"),
    [
        ("def check(a, b, c):\n    while c.strip() == 'loop': pass\n    return True", "loop", "timeout_cpu"),
        ("def check(a, b, c):\n    if 'exit' in c: raise SystemExit\n    return True", "exit", "fail"),
        ("import os\ndef check(a, b, c):\n    if 'exit' in c: os._exit(0)\n    return True", "exit", "fail"),
        ("def check(a, b, c): return 'x' * len(c.strip()) ** 30 == a", "abc", "fail"),
    ],
)
def test_an_output_that_is_made_to_break_the_checker_fails(judge: Judge, checker: str, output: str, label: str) -> None:
    checks: dict[str, Any] = {"cases": [{"stdin": "x", "stdout": "1"}], "checker": checker, "cpu_seconds": 0.3}
    labelled(judge(f"print({output!r})", **checks), label, 0.0)
    labelled(judge("print('x')", **checks), "pass", 1.0)


def test_what_is_expected_is_not_where_the_candidate_is(judge: Judge) -> None:
    """The checker's module and the expected output are in no process that the candidate is in, nor its ancestors."""
    hunt = (
        "import gc, sys\nfound = [o for o in gc.get_objects() if isinstance(o, (str, dict, list)) and 's3cr' + 'et' in repr(o)]\n"
        "print('s3cr' + 'et' if len(found) > 1 else 'nothing')"
    )
    checker = "def check(stdin, expected, got): return got.strip() == expected"
    labelled(judge(hunt, cases=[{"stdout": "s3cret"}] * 3, checker=checker), "fail", 0.0)


def test_many_cases_are_judged_in_their_order(judge: Judge) -> None:
    cases = [{"stdin": f"{n}\n", "stdout": f"{n * n}\n"} for n in range(60)]
    labelled(judge("n = int(input())\nprint(n * n)", cases=cases), "pass", 1.0)
    outcome = labelled(judge("n = int(input())\nprint(n * n if n % 20 != 19 else 'x')", cases=cases), "fail", 0.0)
    assert outcome.evidence["case"] == "20 of 60"
    outcome = judge("n = int(input())\nprint(n * n if n % 20 != 19 else 'x')", cases=cases, score="share")
    labelled(outcome, "fail", pytest.approx(57 / 60))


def test_an_endless_loop_is_not_waited_for_once_a_case(judge: Judge) -> None:
    """A second for each of twelve would be twelve; the item has four."""
    cases = [{"stdin": f"{n}\n", "stdout": ""} for n in range(12)]
    for response in ("while True: pass", "if input() != '0':\n    while True: pass"):
        start = time.monotonic()
        labelled(judge(response, cases=cases, cpu_seconds=1.0, timeout_seconds=4.0), "timeout_cpu", 0.0)
        assert time.monotonic() - start < 4.25


def test_slow_programs_have_their_full_time(judge: Judge) -> None:
    busy = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\nprint(input())"
    cases = [{"stdin": f"{n}\n", "stdout": f"{n}"} for n in range(3)]
    labelled(judge(busy, cases=cases, cpu_seconds=2.0), "pass", 1.0)
    labelled(judge("import time; time.sleep(0.6); print(input())", cases=cases), "pass", 1.0)
    labelled(judge("print('x' * 200_000)", cases=[{"stdout": "x" * 200_000}]), "pass", 1.0)
