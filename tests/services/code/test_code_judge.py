"""The code scorer against a sandbox service that runs, one kind of checks after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest

from services.code.scorer import CodeScorer
from services.verdicts import ErrorReason, Item, ItemError, Outcome, Verdict

Judge = Callable[..., Outcome]

SQUARES = {"entry_point": "f", "calls": [{"args": [n], "expected": n * n} for n in (3, -2, 0)]}
STUB = 'def f(n: int) -> int:\n    """The square."""\n'
TEST = "def check(candidate):\n    assert candidate(3) == 9\n    assert candidate(-2) == 4, 'negative'\n"


def verdict(outcome: Outcome, label: str, tests: float, compiles: float = 1.0) -> Verdict:
    assert isinstance(outcome, Verdict), outcome
    assert (outcome.label, outcome.components["code/tests"]) == (label, tests), outcome
    assert outcome.components["code/compiles"] == compiles
    return outcome


def error(outcome: Outcome, reason: ErrorReason, message: str) -> None:
    assert isinstance(outcome, ItemError), outcome
    assert outcome.reason is reason
    assert message in outcome.message


CASES = {"cases": [{"stdin": "3\n", "stdout": "9\n"}, {"stdin": "-2\n", "stdout": "4"}, {"stdin": "0", "stdout": "0"}]}


@pytest.mark.parametrize(
    ("response", "label", "share"),
    [
        ("n = int(input())\nprint(n * n)", "pass", 1.0),
        ("Read it:\n```python\nprint(int(input()) ** 2)\n```", "pass", 1.0),
        ("print(9)", "fail", 1 / 3),
        ("n = int(input())\nprint(n * n if n >= 0 else 1 / 0)", "crash", 2 / 3),
        ("n = int(input())\nassert n < 0\nprint(n * n)", "crash", 1 / 3),
        ("n = int(input())\nprint(n * n)\nif n < 0: raise SystemExit(1)", "crash", 2 / 3),
        ("while True: pass", "timeout_cpu", 0.0),
        ("x = [0] * 10**10", "memory", 0.0),
        ("while True: print('x' * 10**5)", "output_limit", 0.0),
        ("import os; os.kill(os.getpid(), 11)", "crash", 0.0),
        ("import os; os.write(63, b'x' * 50)", "tamper", 0.0),
    ],
)
def test_programs(judge: Judge, response: str, label: str, share: float) -> None:
    limits = {"cpu_seconds": 0.4}
    verdict(judge(response, score="share", **limits, **CASES), label, pytest.approx(share))
    verdict(judge(response, **limits, **CASES), label, float(label == "pass"))


def test_a_program_that_does_not_compile(judge: Judge) -> None:
    verdict(judge("print(", score="share", **CASES), "syntax_error", 0.0, compiles=0.0)
    for nothing in ("", " \n", "```python\n```"):
        verdict(judge(nothing, **CASES), "no_code", 0.0, compiles=0.0)


def test_outputs_are_compared_as_asked(judge: Judge) -> None:
    case = {"stdout": "0.3 1\n"}
    response = "print(0.1 + 0.2)\nprint(1)"
    verdict(judge(response, cases=[case]), "fail", 0.0)
    verdict(judge(response, cases=[case], compare="tokens"), "fail", 0.0)
    verdict(judge(response, cases=[case], compare="tokens", tolerance=1e-9), "pass", 1.0)


def test_cases_that_take_all_the_items_time_are_a_verdict(judge: Judge) -> None:
    start = time.monotonic()
    response = "import time\nn = input()\nif n: time.sleep(60)\nprint(n)"
    outcome = judge(
        response, timeout_seconds=3.0, cases=[{"stdin": "\n", "stdout": ""}, {"stdin": "1\n", "stdout": "1"}]
    )
    verdict(outcome, "timeout_wall", 0.0)
    assert time.monotonic() - start < 3.0


@pytest.mark.parametrize(
    ("response", "label", "share"),
    [
        ("def f(n): return n * n", "pass", 1.0),
        ("    return n * n", "pass", 1.0),
        ("```python\ndef f(n):\n    return n ** 2\n```", "pass", 1.0),
        ("def f(n): return 9", "fail", 1 / 3),
        ("def f(n): return n * n * 1.0", "wrong_type", 0.0),
        ("def f(n): return n == 0 or n * n", "wrong_type", 2 / 3),
        ("def f(n): return object()", "wrong_type", 0.0),
        ("    pass", "wrong_type", 0.0),
        ("def f(n): return [0] * 10**10", "memory", 0.0),
        ("def f(n): return 'x' * 10**7", "output_limit", 0.0),
        ("def f(n): return [9][n - 3]", "crash", 1 / 3),
        ("import os\ndef f(n):\n if n < 0: os._exit(0)\n return n * n", "crash", 1 / 3),
        ("def f(n):\n while n < 0: pass\n return n * n", "timeout_cpu", 1 / 3),
        ("def g(n): return n * n", "wrong_type", 0.0),
        ("def f(n): return n * n\n1 / 0", "load_error", 0.0),
        ("def f(n): return n * n\nraise SystemExit(0)", "load_error", 0.0),
        ("def f(n): return n * n\nimport os; os._exit(0)", "load_error", 0.0),
        ("f = 1\ndel f", "load_error", 0.0),
        ("import os\ndef f(n): os.write(63, b'x' * 50); return n * n", "tamper", 0.0),
    ],
)
def test_functions(judge: Judge, response: str, label: str, share: float) -> None:
    limits = {"cpu_seconds": 0.4}
    verdict(judge(response, STUB, score="share", **limits, **SQUARES), label, pytest.approx(share))
    verdict(judge(response, STUB, **limits, **SQUARES), label, float(label == "pass"))


def test_code_that_ends_while_it_is_loaded_says_so(judge: Judge) -> None:
    outcome = judge("def f(n): return n * n\nimport os; os._exit(0)", **SQUARES)
    assert "ended by itself, with code 0, before the code was loaded" in outcome.evidence["detail"]


def test_a_function_that_does_not_compile(judge: Judge) -> None:
    verdict(judge("def f(n: return 1", "", **SQUARES), "syntax_error", 0.0, compiles=0.0)


def test_calls_with_keywords_typed_values_and_tolerance(judge: Judge) -> None:
    call = {
        "args": [{"$tuple": [1, 2]}],
        "kwargs": {"b": {"$set": [3]}},
        "expected": {"$tuple": [[1, 2], {"$float": "nan"}]},
    }
    response = "def f(a, b):\n    assert type(a) is tuple and type(b) is set\n    return list(a), float('nan')"
    verdict(judge(response, entry_point="f", calls=[call]), "pass", 1.0)
    near = {"entry_point": "f", "calls": [{"args": [], "expected": 0.3}]}
    verdict(judge("def f(): return 0.1 + 0.2", **near), "fail", 0.0)
    verdict(judge("def f(): return 0.1 + 0.2", tolerance=1e-9, **near), "pass", 1.0)


def test_values_that_are_too_large_are_whose_fault_they_are(judge: Judge) -> None:
    long = {"entry_point": "f", "calls": [{"args": ["x" * 5_000_000], "expected": 1}]}
    error(judge("def f(x): return 1", **long), ErrorReason.INVALID_ITEM, "checks.calls: the value is longer than")
    outcome = verdict(judge("def f(n): return 'x' * 10**6", **SQUARES), "fail", 0.0)
    assert outcome.evidence["difference"] == "expected 9, got 1000002 characters"


def test_each_call_gets_arguments_of_its_own(judge: Judge) -> None:
    calls = [{"args": [[1, 2]], "expected": 2}] * 2
    verdict(judge("def f(x): x.pop(); return len(x) + 1", entry_point="f", calls=calls), "pass", 1.0)


@pytest.mark.parametrize(
    ("response", "label"),
    [
        ("    return n * n", "pass"),
        ("def f(n): return n * n", "pass"),
        ("def f(n): return 9", "fail"),
        ("    return None", "fail"),
        ("    raise AssertionError", "fail"),
        ("    raise SystemExit(0)", "fail"),
        ("    return object()", "wrong_type"),
        ("    return 'x' * 10**7", "output_limit"),
        ("    import os; os._exit(0)", "crash"),
        ("    while True: pass", "timeout_cpu"),
        ("    import time; time.sleep(60)", "timeout_wall"),
        ("def f(n): return n * n\ndel f", "load_error"),
        ("def f(n): return n * n\n1 / 0", "load_error"),
        ("    import os; os.write(63, b'x' * 50); return n * n", "tamper"),
        ("    print('x' * 10**7, flush=True); return n * n", "output_limit"),
    ],
)
def test_test_code(judge: Judge, response: str, label: str) -> None:
    verdict(judge(response, STUB, entry_point="f", test=TEST, cpu_seconds=0.4), label, float(label == "pass"))


def test_test_code_may_use_the_prompts_helpers_the_functions_name_and_its_exceptions(judge: Judge) -> None:
    prompt = 'import math\ndef helper(x):\n    return -x\n\ndef f(n):\n    """Root."""\n'
    test = """
METADATA = {}
def check(candidate):
    assert candidate(helper(-16)) == math.sqrt(16) == f(16)
    assert candidate(n=4) == 2
    try:
        candidate(-1)
    except ValueError as error:
        assert "domain" in str(error)
    else:
        raise AssertionError("no error")
"""
    verdict(judge("    return math.sqrt(n)", prompt, entry_point="f", test=test), "pass", 1.0)
    verdict(judge("    return math.sqrt(abs(n))", prompt, entry_point="f", test=test), "fail", 0.0)


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "Mine"])
def test_what_the_candidate_raises_cannot_end_the_checker(judge: Judge, name: str) -> None:
    test = "def check(candidate):\n    try: candidate(1)\n    except Exception: pass\n    assert candidate(2) == 4"
    response = f"class Mine(BaseException): pass\ndef f(n):\n if n == 1: raise {name}\n return 2 * n"
    verdict(judge(response, entry_point="f", test=test), "pass", 1.0)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("def check(candidate): assert (", "syntax_error"),
        ("1 / 0\ndef check(candidate): pass", "crash"),
        ("def check(candidate): pass", "without calling the candidate"),
        ("def check(candidate): assert unknown(1) == candidate(1)", "raised NameError"),
        ("def check(candidate):\n    import numby\n    candidate(1)", "raised ModuleNotFoundError"),
        ("import os\ndef check(candidate): os._exit(0)", "ended by itself"),
        ("def check(candidate):\n    while True: pass", "ended by itself"),
    ],
)
def test_bad_test_code_is_an_error_of_the_item(judge: Judge, test: str, message: str) -> None:
    outcome = judge("    return n * n", STUB, entry_point="f", test=test, cpu_seconds=0.3)
    error(outcome, ErrorReason.INVALID_ITEM, message)


def test_a_candidate_that_raises_what_bad_tests_raise_is_no_error_of_the_item(judge: Judge) -> None:
    for name in ("NameError", "ModuleNotFoundError", "SyntaxError"):
        verdict(judge(f"    raise {name}('x')", STUB, entry_point="f", test=TEST), "fail", 0.0)


def test_a_candidate_that_ends_badly_after_its_last_call_does_not_pass(judge: Judge) -> None:
    test = "import time\ndef check(candidate):\n    assert candidate(3) == 9\n    time.sleep(0.5)"
    response = "import os, threading\ndef f(n):\n    threading.Timer(0.05, os._exit, [5]).start()\n    return n * n"
    verdict(judge(response, entry_point="f", test=test), "crash", 0.0)


def test_a_checker_that_the_candidates_value_keeps_busy_is_the_candidates_fault(judge: Judge) -> None:
    test = "def check(candidate):\n    n = candidate(1)\n    while n: pass\n    assert n == n\n"
    verdict(judge("    return n", STUB, entry_point="f", test=test, cpu_seconds=0.3), "timeout_cpu", 0.0)
    verdict(judge("    return 0", STUB, entry_point="f", test=test, cpu_seconds=0.3), "pass", 1.0)


def test_format_is_one_answer_in_a_closed_block(judge: Judge) -> None:
    def of(response: str) -> float:
        outcome = judge(response, "", **SQUARES)
        assert isinstance(outcome, Verdict)
        return outcome.components["code/format"]

    code = "def f(n): return n * n"
    assert of(f"```python\n{code}\n```") == 1.0
    assert of(f"So:\n```\n{code}\n```\nIt prints\n```text\n9\n```") == 1.0
    assert of(f"```python\n{code}\n```\nor\n```python\n{code}\n```") == 0.0
    assert of(f"```python\n{code}\n") == 0.0
    assert of(code) == 0.0
    assert of("") == 0.0


def test_evidence_says_what_failed_first(judge: Judge) -> None:
    outcome = verdict(judge("def f(n): return abs(n) * n", **SQUARES), "fail", 0.0)
    assert outcome.evidence == {"call": "2 of 3: f(-2)", "difference": "expected 4, got -4"}
    outcome = verdict(judge("print('9')", **CASES), "fail", 0.0)
    assert outcome.evidence == {"case": "2 of 3", "stdin": "'-2\\n'", "expected": "'4'", "got": "'9\\n'"}
    outcome = verdict(judge("    return 9", STUB, entry_point="f", test=TEST), "fail", 0.0)
    assert outcome.evidence == {"assertion": "candidate(-2) == 4", "got": "9"}


def test_a_source_that_is_too_long_is_a_verdict(judge: Judge) -> None:
    verdict(judge("#" * 2_000_000, **CASES), "load_error", 0.0)


def test_limits_that_the_sandbox_refuses_are_an_error_of_the_item(judge: Judge) -> None:
    outcome = judge("pass", cases=[{"stdout": ""}], memory_bytes=1 << 40)
    error(outcome, ErrorReason.INVALID_ITEM, "memory_bytes is 1.09951e+12; it must be")


def test_without_a_sandbox_there_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SANDBOX_ADDRESS", "127.0.0.1:1")
    item = Item("item", "", "print(1)", {"cases": [{"stdout": "1"}]}, timeout_seconds=5.0)
    (outcome,) = asyncio.run(CodeScorer().score([item]))
    error(outcome, ErrorReason.UNAVAILABLE, "sandbox service at 127.0.0.1:1")


def test_values_that_are_too_long_for_a_message_hurt_nobody(
    judge_many: Callable[[Sequence[Item]], dict[str, Outcome]],
) -> None:
    checks = {"entry_point": "f", "calls": [{"args": [1], "expected": 1}]}
    long = [Item(f"long {n}", "", "def f(n): return 'x' * 4_000_000", checks) for n in range(8)]
    outcomes = judge_many([*long, Item("honest", "", "def f(n): return n", checks)])
    verdict(outcomes.pop("honest"), "pass", 1.0)
    for outcome in outcomes.values():
        verdict(outcome, "output_limit", 0.0)


def test_calls_that_were_right_count_for_nothing_where_the_process_ends_badly(judge: Judge) -> None:
    response = "import atexit, os\natexit.register(os._exit, 5)\ndef f(n): return n * n"
    verdict(judge(response, score="share", **SQUARES), "crash", 0.0)
    verdict(judge(response, entry_point="f", test=TEST), "crash", 0.0)


def test_a_right_output_may_be_longer_than_what_programs_may_write_by_default(judge: Judge) -> None:
    cases = [{"stdout": "\n".join(map(str, range(300_000)))}]
    verdict(judge("for i in range(300_000): print(i)", cases=cases), "pass", 1.0)
    verdict(judge("while True: print(1)", cases=cases), "output_limit", 0.0)
