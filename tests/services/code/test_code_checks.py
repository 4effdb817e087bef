from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.code.checks import read_checks

CALL = {"args": [1], "expected": 1}


def test_values_are_read_as_the_sandbox_writes_them() -> None:
    call = {"args": [{"$tuple": [1]}], "kwargs": {"k": {"$set": [1]}}, "expected": {"a": {"$float": "nan"}}}
    (read,) = read_checks({"entry_point": "f", "calls": [call]}).calls or []
    assert read.args == [(1,)]
    assert read.kwargs == {"k": {1}}
    assert repr(read.expected) == "{'a': nan}"


def test_types_stay_what_they_are() -> None:
    (read,) = (
        read_checks({"entry_point": "f", "calls": [{"args": [1, 1.0, True, None, "1"], "expected": 1.0}]}).calls or []
    )
    assert [type(value) for value in (*read.args, read.expected)] == [int, float, bool, type(None), str, float]


@pytest.mark.parametrize(
    ("checks", "complaint"),
    [
        ({}, "exactly one of cases, calls, test; it has none"),
        ({"cases": [{"stdout": ""}], "test": "x"}, "it has cases, test"),
        ({"cases": []}, "at least 1"),
        ({"cases": [{"stdin": "1"}]}, "stdout"),
        ({"cases": [{"stdout": 1}]}, "string"),
        ({"cases": [{"stdout": "", "expected": ""}]}, "Extra"),
        ({"cases": [{"stdout": ""}], "entry_point": "f"}, "entry_point means nothing beside cases"),
        ({"cases": [{"stdout": ""}], "tolerance": 0.1}, "tolerance needs compare"),
        ({"calls": [CALL]}, "entry_point must be the name of the function that calls is about"),
        ({"calls": [CALL], "entry_point": "f g"}, "entry_point must be"),
        ({"calls": [CALL], "entry_point": "def"}, "entry_point must be"),
        ({"calls": [CALL], "entry_point": "f", "compare": "exact"}, "compare means nothing beside calls"),
        ({"calls": [{"args": [1]}], "entry_point": "f"}, "expected"),
        ({"calls": [{"args": {"a": 1}, "expected": 1}], "entry_point": "f"}, "list"),
        ({"calls": [{"expected": {"$what": 1}}], "entry_point": "f"}, "no plain value"),
        ({"calls": [CALL], "entry_point": "f", "tolerance": -1}, "greater than or equal to 0"),
        ({"calls": [CALL], "entry_point": "f", "score": "some"}, "'all' or 'share'"),
        ({"calls": [CALL], "entry_point": "f", "cpu_seconds": 0}, "greater than 0"),
        ({"calls": [CALL], "entry_point": "f", "memory_bytes": 1}, "greater than or equal to 8388608"),
        ({"calls": [CALL], "entry_point": "f", "memory_bytes": 10**15}, "less than or equal to 281474976710656"),
        ({"calls": [CALL], "entry_point": "f", "cpu_seconds": 1e15}, "less than or equal to 281474976710656"),
        ({"test": "def verify(candidate): pass", "entry_point": "f"}, "test must define check"),
        ({"test": "def test_it(): pass"}, "entry_point must be the name of the function that test is about"),
        ({"test": "def test_it(): pass", "entry_point": "f", "modules": ["a b"]}, "modules must be names"),
        ({"test": "def test_it(): pass", "entry_point": "f", "modules": ["a", "a"]}, "modules must be names"),
        ({"calls": [CALL], "entry_point": "f", "modules": ["a"]}, "modules means nothing beside calls"),
        ({"calls": [CALL], "entry_point": "f", "shared": True}, "shared means nothing beside calls"),
        ({"calls": [CALL], "entry_point": "f", "language": "cpp"}, "language means nothing beside calls"),
        ({"calls": [CALL], "entry_point": "f", "checker": "def check(a, b, c): 1"}, "checker means nothing beside"),
        ({"cases": [{"stdout": ""}], "checker": "def judge(a, b, c): pass"}, "checker must define check"),
        (
            {"cases": [{"stdout": ""}], "checker": "def check(a, b, c): pass", "compare": "exact"},
            "compare and tolerance mean nothing beside checker",
        ),
        ({"cases": [{"stdout": ""}], "language": "cobol"}, "'python', 'cpp', 'javascript' or 'bash'"),
        ({"cases": [{"stdout": ""}], "language": "cpp", "needs": "files"}, "needs is for Python"),
        ({"cases": [{"stdout": ""}], "language": "cpp", "style": True}, "style is for Python"),
        ({"cases": [{"stdout": ""}], "needs": "network"}, "'files' or 'subprocess'"),
        ({"cases": [{"stdout": ""}], "reference": "", "reference_cpu_seconds": 1}, "at most one of reference"),
        ({"test": "x", "entry_point": "f", "score": "share"}, "score means nothing beside test"),
        ({"test": "x", "entry_point": "f", "tests": "y"}, "Extra"),
    ],
)
def test_checks_that_make_no_sense_are_refused_by_name(checks: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        read_checks(checks)


@pytest.mark.parametrize(
    "test",
    [
        "def check(c): assert c(1)",
        "import x\ncheck = lambda c: 0",
        "class check: 0",
        "def test_it(): assert f(1)",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): 0",
    ],
)
def test_forms_of_tests(test: str) -> None:
    assert read_checks({"test": test, "entry_point": "f"}).modules == ["solution"]
