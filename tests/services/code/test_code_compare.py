from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.code.compare import difference, same_output, shown

# On a busy machine anything may take long.
CALMLY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
NAN = float("nan")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=10,
)


@CALMLY
@given(PLAIN)
def test_a_value_is_equal_to_itself(value: Any) -> None:
    assert difference(value, value) is None
    assert difference([value], [value], tolerance=0.1) is None


@CALMLY
@given(PLAIN, PLAIN)
def test_it_is_symmetric_and_stricter_than_python(left: Any, right: Any) -> None:
    found = difference(left, right)
    assert (found is None) == (difference(right, left) is None)
    if found is None and "nan" not in repr(left):
        assert left == right


@pytest.mark.parametrize(
    ("expected", "got", "of_type", "path"),
    [
        (1, True, True, ""),
        (1, 1.0, True, ""),
        (0.0, 0j, True, ""),
        ([1], (1,), True, ""),
        ({1}, frozenset({1}), True, ""),
        ("a", b"a", True, ""),
        ([1, [2, 3]], [1, [2, 3.0]], True, "[1][1]"),
        ({"a": {"b": None}}, {"a": {"b": 0}}, True, "['a']['b']"),
        (1, 2, False, ""),
        ([1, 2], [2, 1], False, "[0]"),
        ([1], [1, 2], False, ""),
        ({"a": 1}, {"b": 1}, False, ""),
        ({1: 0}, {True: 0}, False, ""),
        ({1, 2}, {1, 3}, False, ""),
        ({1}, {True}, False, ""),
        (1.0, 1.0 + 1e-9, False, ""),
        (NAN, 1.0, False, ""),
        (math.inf, -math.inf, False, ""),
    ],
)
def test_differences(expected: Any, got: Any, of_type: bool, path: str) -> None:
    found = difference(expected, got)
    assert found is not None
    assert (found.of_type, found.path) == (of_type, path)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (NAN, NAN),
        (0.0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, {2, 1}),
        ([NAN], [NAN]),
        ({1.5: 1}, {1.5: 1}),
    ],
)
def test_equals(expected: Any, got: Any) -> None:
    assert difference(expected, got) is None


def test_tolerance_is_absolute_or_relative_and_for_floats_alone() -> None:
    assert difference(1e-9, 2e-9, 1e-6) is None
    assert difference(1e9, 1e9 + 100, 1e-6) is None
    assert difference(1e9, 1e9 + 10_000, 1e-6) is not None
    assert difference([0.1 + 0.2, 1j], [0.3, 1.0000001j], 1e-6) is None
    assert difference(1000, 1001, 0.1) is not None
    assert difference(1, 1.0, 0.1) is not None
    assert difference(math.inf, 1e308, 0.5) is not None
    assert difference(NAN, 1.0, math.inf) is not None


def test_differences_read_well() -> None:
    assert str(difference([1, (2,)], [1, [2]])) == "at [1]: expected a tuple, got a list ([2])"
    assert str(difference(9, 8)) == "expected 9, got 8"
    assert len(shown("x" * 10_000)) == 200
    assert shown([1 << 100_000]) == "a list with a very long number"


@pytest.mark.parametrize(
    ("expected", "got", "compare", "tolerance", "same"),
    [
        ("1\n2\n", b"1 \r\n2\n\n", "lines", None, True),
        ("1\n2\n", b"1\n2", "lines", None, True),
        ("1\n2", b"1 2", "lines", None, False),
        ("1\n\n2", b"1\n2", "lines", None, False),
        (" 1", b"1", "lines", None, False),
        ("", b"\n \n", "lines", None, True),
        ("1\n", b"1", "exact", None, False),
        ("é\n", "é\n".encode(), "exact", None, True),
        ("1 2\n3", b" 1\t2 3 ", "tokens", None, True),
        ("1 2 3", b"1 2", "tokens", None, False),
        ("0.30000000000000004", b"0.3", "tokens", None, False),
        ("0.30000000000000004 yes", b"0.3 yes", "tokens", 1e-9, True),
        ("0.5 yes", b"0.5 no", "tokens", 1e-9, False),
        ("5", b"5.0", "tokens", 0, True),
        ("5", b"five", "tokens", 1, False),
        ("\ufffd", b"\xff", "exact", None, False),
    ],
)
def test_outputs(expected: str, got: bytes, compare: Any, tolerance: float | None, same: bool) -> None:
    assert same_output(expected, got, compare, tolerance) is same
