from __future__ import annotations

import collections
import contextlib
import enum
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import values
from sandbox.values import MAX_BITS, MAX_DEPTH, NotPlainError, decode, encode

# On a busy machine anything may take long.
CALMLY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
HASHABLE_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(1 << 200), max_value=1 << 200)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.text(alphabet=st.characters(categories=["Cs", "Lu"]))
    | st.binary()
)
HASHABLE = st.recursive(HASHABLE_LEAVES, lambda inner: st.lists(inner).map(tuple) | st.frozensets(inner), max_leaves=8)
PLAIN = st.recursive(
    HASHABLE_LEAVES | st.just(float("nan")),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.sets(HASHABLE) | st.dictionaries(HASHABLE | st.text(), inner)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equality by exact type at every level; nan equals nan."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return math.copysign(1, left) == math.copysign(1, right) and (
            left == right or (left != left and right != right)
        )
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return all(same(a, b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True))
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and sorted(map(encode, left)) == sorted(map(encode, right))
    return left == right


@CALMLY
@given(PLAIN)
def test_every_plain_value_comes_back_with_its_exact_types(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert same(decode(text), value)
    assert encode(decode(text)) == text


@CALMLY
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key[:1] != "$"), inner),
        max_leaves=12,
    )
)
def test_json_stands_for_itself(tree: Any) -> None:
    assert same(decode(json.dumps(tree)), tree)
    assert same(json.loads(json.dumps(tree)), values.from_json(tree))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        ((1, "a"), '{"$tuple":[1,"a"]}'),
        ({2, 1}, '{"$set":[1,2]}'),
        (frozenset([b"\x00\xff"]), '{"$frozenset":[{"$bytes":"00ff"}]}'),
        (1 << 64, '{"$int":"0x10000000000000000"}'),
        (float("-inf"), '{"$float":"-inf"}'),
        (-0.0, "-0.0"),
        (2j, '{"$complex":[0.0,2.0]}'),
        ({"a": 1, "b": None}, '{"a":1,"b":null}'),
        ({1: 2}, '{"$dict":[[1,2]]}'),
        ({"$a": 2}, '{"$dict":[["$a",2]]}'),
        ({}, "{}"),
        ("\ud800\udc00", '{"$str":"eda080edb080"}'),
        ({"\ud800": 1}, '{"$dict":[[{"$str":"eda080"},1]]}'),
    ],
)
def test_the_texts_are_as_documented(value: Any, text: str) -> None:
    assert encode(value) == text
    assert same(decode(text), value)


class _Int(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class _Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (_Int(3), "_Int"),
        (_Colour.RED, "_Colour"),
        (type("str", (str,), {})("x"), "str"),
        (collections.namedtuple("Point", "x")(1), "Point"),
        (object(), "builtins.object"),
        (range(3), "builtins.range"),
        (bytearray(b"x"), "builtins.bytearray"),
        (len, "builtin_function_or_method"),
        ([1, (2, {3: _Int(4)})], "_Int"),
        ({_Int(1): 2}, "_Int"),
        (NotImplemented, "NotImplementedType"),
    ],
)
def test_other_types_are_refused_by_name(value: Any, name: str) -> None:
    with pytest.raises(NotPlainError, match=name):
        encode(value)


def test_deep_values_and_cycles_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert same(decode(encode(deep)), deep)
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotPlainError, match="nested deeper"):
        encode(deep)
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(NotPlainError, match="nested deeper"):
        encode(cycle)


@pytest.mark.parametrize(
    "value", ["x" * 2000, b"x" * 2000, list(range(1000)), {str(i): i for i in range(1000)}, set(range(1000)), 1 << 9000]
)
def test_long_values_are_refused(value: Any) -> None:
    assert decode(encode(value)) == value
    with pytest.raises(NotPlainError, match="longer than 1000"):
        encode(value, max_bytes=1000)


def test_shared_structure_is_bounded_by_its_text() -> None:
    shared: list[Any] = ["x"]
    for _ in range(50):
        shared = [shared, shared]
    with pytest.raises(NotPlainError, match="longer than"):
        encode(shared, max_bytes=10_000)


def test_vast_integers_are_refused() -> None:
    assert decode(encode(-(1 << (MAX_BITS - 1)))) == -(1 << (MAX_BITS - 1))
    with pytest.raises(NotPlainError, match="bits"):
        encode(1 << MAX_BITS)
    with pytest.raises(NotPlainError):
        decode("9" * 5000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nul",
        "NaN",
        "Infinity",
        "1e999",
        "-1e999",
        "[1,]",
        "[1] 2",
        "'a'",
        '{"$tuple":1}',
        '{"$tuple":[1],"b":2}',
        '{"b":2,"$tuple":[1]}',
        '{"$object":[]}',
        '{"$set":[[1]]}',
        '{"$set":[1,1]}',
        '{"$set":[1,true]}',
        '{"$dict":[[1]]}',
        '{"$dict":[[[],1]]}',
        '{"$dict":[[{"$set":[]},1]]}',
        '{"$int":"12"}',
        '{"$int":"0xzz"}',
        '{"$int":"--0x1"}',
        '{"$float":"1.0"}',
        '{"$bytes":"0"}',
        '{"$str":"ff"}',
        '{"$complex":[1,2]}',
        '{"$complex":[1.0]}',
        "[" * 200_000,
        "[" * 100 + "]" * 100,
        '{"a":' * 100 + "1" + "}" * 100,
    ],
)
def test_malformed_texts_are_refused(text: str) -> None:
    with pytest.raises(NotPlainError):
        decode(text)


@CALMLY
@given(st.text() | st.text(alphabet='[]{}",:$0x1e.-tupledictsabnfru ', max_size=40))
def test_decoding_raises_nothing_else(text: str) -> None:
    with contextlib.suppress(NotPlainError):
        decode(text)


def test_a_flood_of_equal_hashes_is_refused_at_once() -> None:
    prime = (1 << 61) - 1
    for tag in ("$set", "$frozenset"):
        with pytest.raises(NotPlainError, match="one hash"):
            decode(json.dumps({tag: [{"$int": hex(prime * i)} for i in range(1, 5_000)]}))
    with pytest.raises(NotPlainError, match="one hash"):
        decode(json.dumps({"$dict": [[{"$tuple": [{"$int": hex(prime * i)}]}, 0] for i in range(1, 5_000)]}))


def test_ordinary_collisions_are_read() -> None:
    assert decode(encode({-1, -2, 1.5})) == {-1, -2, 1.5}


def test_what_is_no_plain_value_can_have_a_name() -> None:
    things: list[object] = []

    def refer(thing: object) -> str:
        things.append(thing)
        return str(len(things) - 1)

    marker = object()
    text = encode([1, marker, {"a": (marker, "$")}], refer=refer)
    assert text == '[1,{"$object":"0"},{"a":{"$tuple":[{"$object":"1"},"$"]}}]'
    assert decode(text, resolve=lambda name: things[int(name)]) == [1, marker, {"a": (marker, "$")}]


def test_names_of_objects_are_refused_where_nobody_resolves_them() -> None:
    for text in ('{"$object":"0"}', '[{"$object":"0"}]'):
        with pytest.raises(NotPlainError):
            decode(text)
    with pytest.raises(NotPlainError):
        values.from_json({"$object": "0"})
    with pytest.raises(NotPlainError):
        encode(object())


@pytest.mark.parametrize("text", ['{"$object":0}', '{"$object":["0"]}', '{"$object":"0","a":1}', '{"$object":null}'])
def test_malformed_names_are_refused(text: str) -> None:
    with pytest.raises(NotPlainError):
        decode(text, resolve=lambda name: name)


def test_a_value_that_looks_like_a_name_is_a_value() -> None:
    assert decode(encode({"$object": "0"}), resolve=lambda name: 1 / 0) == {"$object": "0"}


def test_a_resolver_s_refusal_is_told() -> None:
    def refuse(name: str) -> object:
        raise NotPlainError(f"no {name}")

    with pytest.raises(NotPlainError, match="no 7"):
        decode('[{"$object":"7"}]', resolve=refuse)
    with pytest.raises(NotPlainError, match="mine"):
        encode([object()], refer=lambda thing: refuse("mine") and "")


@pytest.mark.parametrize("text", ['{"$set":[%s]}', '{"$dict":[[%s]]}'])
def test_filling_a_table_may_take_only_so_long(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that collide without having the same hash cannot be told by their looks, only by the time they take."""
    numbers = ("],[" if "dict" in text else ",").join(f"{n},0" if "dict" in text else str(n) for n in range(1, 5000))
    assert len(decode(text % numbers)) == 4999  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(values, "_MOST_SECONDS", -1.0)
    with pytest.raises(values.BeyondBoundsError, match="chosen to collide"):
        decode(text % numbers)
