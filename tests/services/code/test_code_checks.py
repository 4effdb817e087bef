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
        ({"calls": [CALL], "entry_point": "f", "memory_bytes": 1}, "67108864"),
        ({"test": "def verify(candidate): pass", "entry_point": "f"}, "test must define check"),
        ({"test": "x", "entry_point": "f", "score": "share"}, "score means nothing beside test"),
        ({"test": "x", "entry_point": "f", "tests": "y"}, "Extra"),
    ],
)
def test_checks_that_make_no_sense_are_refused_by_name(checks: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        read_checks(checks)
