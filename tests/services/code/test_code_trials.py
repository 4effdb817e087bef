"""Test code in pytest's and unittest's forms, and test code that shares the interpreter, in the real sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.verdicts import ErrorReason, ItemError, Outcome, Verdict

Judge = Callable[..., Outcome]

STACK = """
class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self):
        if not self.items: raise IndexError("empty")
        return self.items.pop()
"""
PYTEST = """
from solution import double

def helper(n):
    return n + n

def test_small():
    for n in range(3):
        assert double(n) == helper(n)

def test_error():
    try:
        double(None)
    except TypeError:
        pass
    else:
        raise AssertionError("no error")
    assert double(0) == 0
"""
UNITTEST = """
import unittest
import solution

class TestDouble(unittest.TestCase):
    def test_small(self):
        self.assertEqual(solution.double(2), 4)
    def test_error(self):
        with self.assertRaises(TypeError):
            solution.double(None)
"""
BY_NAME = "def test_it():\n    for n in range(4): assert double(n) == 2 * n\n    assert double(1) == 2\n"


def labelled(outcome: Outcome, label: str, tests: float) -> Verdict:
    assert isinstance(outcome, Verdict), outcome
    assert (outcome.label, outcome.components["code/tests"]) == (label, tests), outcome
    return outcome


@pytest.mark.parametrize("test", [PYTEST, UNITTEST, BY_NAME], ids=["pytest", "unittest", "by name"])
@pytest.mark.parametrize(
    ("response", "label"),
    [
        ("def double(n): return n + n", "pass"),
        ("def double(n): return 3 * n", "fail"),
        ("def double(n): return None", "fail"),
        ("def double(n): raise AssertionError", "fail"),
        ("def double(n): raise SystemExit(0)", "fail"),
        ("import os\ndef double(n): os._exit(0)", "crash"),
        ("import os\nos._exit(0)\ndef double(n): return n + n", "load_error"),
        ("def double(n): return n + n\n1 / 0", "load_error"),
        ("def double(n) return n", "syntax_error"),
        ("def double(n):\n    while True: pass", "timeout_cpu"),
        ("def other(n): return n + n", "load_error"),
        ("import unittest, sys\nunittest.TestCase.assertEqual = lambda *a: None\ndef double(n): return 0", "fail"),
        ("class E:\n    def __eq__(s, o): return True\n    __hash__ = None\ndef double(n): return E()", "fail"),
        ("from unittest import mock\ndef double(n): return mock.ANY", "fail"),
    ],
)
def test_forms_of_tests(judge: Judge, test: str, response: str, label: str) -> None:
    checks: dict[str, Any] = {"entry_point": "double", "test": test, "cpu_seconds": 0.4}
    outcome = labelled(judge(response, **checks), label, float(label == "pass"))
    assert outcome.components["code/compiles"] == float(label != "syntax_error")


def test_a_class_of_the_candidates_is_used_through_handles(judge: Judge) -> None:
    test = """
def check(Stack):
    stack = Stack()
    for item in (1, [2]): stack.push(item)
    assert stack.pop() == [2]
    assert stack.pop() == 1
    try:
        stack.pop()
    except IndexError as error:
        assert str(error) == "empty"
    else:
        assert False, "no error"
"""
    labelled(judge(STACK, entry_point="Stack", test=test), "pass", 1.0)
    labelled(judge(STACK.replace("pop()", "pop(0)"), entry_point="Stack", test=test), "fail", 0.0)


def test_the_first_test_that_fails_is_in_the_evidence(judge: Judge) -> None:
    response = "def double(n): return 2 * n or 0 if n is not None else 0"
    outcome = labelled(judge(response, entry_point="double", test=PYTEST), "fail", 0.0)
    assert outcome.evidence["test"] == "test_error"
    assert outcome.evidence["raised"] == "AssertionError: no error"


def test_modules_by_other_names(judge: Judge) -> None:
    checks = {"entry_point": "double", "test": PYTEST.replace("solution", "answer"), "modules": ["answer"]}
    labelled(judge("def double(n): return n + n", **checks), "pass", 1.0)
    outcome = judge("def double(n): return n + n", **{**checks, "modules": ["solution"]})
    assert isinstance(outcome, ItemError) and outcome.reason is ErrorReason.INVALID_ITEM


def test_a_test_that_swallows_what_its_assertions_raise_passes_nobody(judge: Judge) -> None:
    test = "def check(candidate):\n    try:\n        assert candidate(1) == 1\n    except BaseException: pass\n"
    labelled(judge("def f(n): raise ValueError", entry_point="f", test=test), "fail", 0.0)
    labelled(judge("def f(n): return 2", entry_point="f", test=test), "fail", 0.0)
    labelled(judge("def f(n): return n", entry_point="f", test=test), "pass", 1.0)


def test_a_test_without_assertions_is_an_error_of_the_item(judge: Judge) -> None:
    outcome = judge("def f(n): return n", entry_point="f", test="def check(candidate): candidate(1)")
    assert isinstance(outcome, ItemError)
    assert "it asserts nothing" in outcome.message


MOCKED = """
from unittest import mock
import solution

def test_it():
    with mock.patch("solution.fetch", return_value=20):
        assert solution.total() == 21
"""
FETCHES = "def fetch(): raise OSError\ndef total(): return fetch() + 1"


def test_tests_that_share_the_interpreter_count_only_where_they_are_trusted(judge: Judge) -> None:
    checks: dict[str, Any] = {"entry_point": "total", "test": MOCKED, "shared": True}
    outcome = labelled(judge(FETCHES, **checks), "pass", 0.0)
    assert "can forge" in outcome.evidence["low_integrity"]
    checks["trust_shared"] = True
    assert "low_integrity" in labelled(judge(FETCHES, **checks), "pass", 1.0).evidence
    outcome = labelled(judge(FETCHES.replace("+ 1", "+ 2"), **checks), "fail", 0.0)
    assert "low_integrity" in outcome.evidence


@pytest.mark.parametrize(
    ("response", "label"),
    [
        ("import sys\nsys.exit(0)", "load_error"),
        ("import os\ndef fetch(): 1\ndef total(): os._exit(0)", "crash"),
        ("def fetch(): 1\ndef total(): raise SystemExit(0)", "fail"),
        ("def fetch(): 1\ndef total(): raise ValueError", "fail"),
        ("def total(: pass", "syntax_error"),
        ("def fetch(): 1\ndef total():\n    while True: pass", "timeout_cpu"),
    ],
)
def test_accidents_in_a_shared_interpreter_do_not_pass(judge: Judge, response: str, label: str) -> None:
    checks: dict[str, Any] = {"entry_point": "total", "test": MOCKED, "shared": True, "trust_shared": True}
    labelled(judge(response, cpu_seconds=0.4, **checks), label, 0.0)


@pytest.mark.parametrize("form", ["check", "unittest"])
def test_other_forms_may_share_the_interpreter(judge: Judge, form: str) -> None:
    test = {
        "check": "def check(candidate): assert candidate(2) == 4",
        "unittest": UNITTEST,
    }[form]
    checks: dict[str, Any] = {"entry_point": "double", "test": test, "shared": True, "trust_shared": True}
    labelled(judge("def double(n): return n + n", **checks), "pass", 1.0)
    labelled(judge("def double(n): return 5", **checks), "fail", 0.0)


@pytest.mark.parametrize(
    "response",
    ["def f(n): return range(n)", "def f(n): return map(int, '012'[:n])", "def f(n):\n    yield from range(n)"],
)
def test_what_is_no_plain_value_passes_where_the_test_makes_one_of_it(judge: Judge, response: str) -> None:
    test = "def check(candidate):\n    assert list(candidate(3)) == [0, 1, 2]"
    labelled(judge(response, entry_point="f", test=test), "pass", 1.0)
    labelled(judge(response, entry_point="f", test=test.replace("2]", "3]")), "wrong_type", 0.0)


@pytest.mark.parametrize(
    "use",
    [
        "list(itertools.islice(f(2), 3))",
        "[value for value, _ in zip(f(2), range(3))]",
        "[*itertools.takewhile(lambda n: n < 6, f(2))]",
    ],
)
def test_a_generator_without_end_is_gone_through_as_far_as_the_test_goes(judge: Judge, use: str) -> None:
    response = "def f(n):\n    value = 0\n    while True:\n        yield value\n        value += n"
    test = f"import itertools\ndef test_it():\n    assert {use} == [0, 2, 4]"
    labelled(judge(response, entry_point="f", test=test), "pass", 1.0)
    labelled(judge(response.replace("+= n", "+= 1"), entry_point="f", test=test), "fail", 0.0)


@pytest.mark.parametrize(
    ("test", "response"),
    [
        ("for n in f(3):\n        last = n\n    assert last == 2", "def f(n): return []"),
        (
            "try:\n        n = f(3)\n    except ValueError:\n        pass\n    assert n == 2",
            "def f(n): raise ValueError",
        ),
        ("import ast\n    assert ast.literal_eval(f(3)) == 2", "def f(n): return '1 +'"),
        ("n = f(3)\n    while n: pass\n    assert n == 0", "def f(n): return 1"),
    ],
)
def test_no_answer_makes_a_test_an_error_of_the_item(judge: Judge, test: str, response: str) -> None:
    outcome = judge(response, entry_point="f", test=f"def test_it():\n    {test}", cpu_seconds=0.3)
    assert isinstance(outcome, Verdict) and outcome.components["code/tests"] == 0.0, outcome


def test_assertions_that_nobody_counts_are_an_error_of_the_item(judge: Judge) -> None:
    test = "import numpy.testing\ndef check(f):\n    numpy.testing.assert_allclose(f(1), [1.0])"
    outcome = judge("def f(n): return [1.0]", entry_point="f", test=test)
    assert isinstance(outcome, ItemError) and "asserts nothing" in outcome.message, outcome
