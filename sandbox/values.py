"""Plain Python values as JSON text, by exact type, so that values can cross between processes that do not trust each other.

What JSON has stands for itself: `null`, `true`, `1`, `1.0`, `"text"`, `[1]`, `{"a": 1}` are None, bool, int, float, str,
list and a dict with string keys. `1` is an int and `1.0` a float. Everything else is an object with one key that starts
with `$`:

    {"$tuple": [1, 2]}         {"$set": [1, 2]}              {"$frozenset": [1, 2]}
    {"$bytes": "00ff"}         {"$complex": [0.0, 1.0]}      {"$int": "0x..."} (an int of more than 64 bits)
    {"$float": "nan"}          ("inf", "-inf")               {"$dict": [[key, value], ...]} (any plain keys)
    {"$str": "eda080"} (a str with halves of surrogate pairs, as UTF-8 would write them, since JSON joins two halves)
    {"$object": "7"} (only between a candidate and its test code: a name for what is no plain value)

A dict one of whose string keys starts with `$` is written as `$dict`. Sets are written in the order of their elements'
texts, dicts in their own order. Only the exact types count: an instance of a subclass is refused, so no method of the
sender's can ever run at the receiver's; the dicts of `collections` and numpy's numbers become what they stand for.
Decoding is bounded in size, depth, digits and hash collisions.

The confined process imports this module before each run. It therefore imports the C half of `json` and not `json`
itself, which costs more than starting the interpreter does.
"""

from __future__ import annotations

from _json import encode_basestring_ascii as _quote
from _json import make_scanner
from time import thread_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

MAX_BYTES = 4 << 20
"""Longest text, in bytes (the text is ASCII)."""
MAX_DEPTH = 64
"""Deepest nesting of containers."""
MAX_BITS = 1 << 20
"""Largest int."""
_MAX_COLLISIONS = 64
_BLOCK = 1024
_MOST_SECONDS, _SECONDS_OF_AN_ITEM = 0.1, 1e-6
"""CPU time in which a dict or a set must be filled: ten times what it takes."""
_PLAIN_BITS = 64
_INFINITY = float("inf")
_DICTS = ("defaultdict", "Counter", "OrderedDict")
_NUMBERS = ("bool", "int", "uint", "float", "complex", "str")


class NotPlainError(TypeError):
    """The value, or the text, is not a plain value; the message names the type."""


class BeyondBoundsError(NotPlainError):
    """The value, or the text, is too long, too deep or has too many digits; the message names the bound."""


def encode(value: object, max_bytes: int = MAX_BYTES, refer: Callable[[object], str] | None = None) -> str:
    """The text of a plain value. Raises NotPlainError beyond the bounds, and for any other type unless `refer` names it."""
    out = _Output(max_bytes, refer)
    _write(value, out, 0)
    return "".join(out.parts)


def decode(text: str, max_bytes: int = MAX_BYTES, resolve: Callable[[str], object] | None = None) -> object:
    """The value of a text. Raises NotPlainError for what `encode` would never write and for texts beyond the bounds.

    resolve: what a name of `$object` stands for; without it there are none.
    """
    if len(text) > max_bytes:
        raise BeyondBoundsError(f"the text has {len(text)} characters; at most {max_bytes} are read")
    text = text.strip(" \n\r\t")
    try:
        tree, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError) as error:
        raise NotPlainError(f"the text is not JSON: {type(error).__name__}") from None
    if end != len(text):
        raise NotPlainError("the text goes on after the JSON value")
    return _read(tree, 0, resolve)


def from_json(tree: object) -> object:
    """The value that an already parsed JSON tree stands for. Raises NotPlainError as `decode` does."""
    return _read(tree, 0, None)


class _Output:
    """The parts of a text and the characters left for it: the bound also holds for shared structure, which is small in
    memory and vast as text."""

    def __init__(self, max_bytes: int, refer: Callable[[object], str] | None) -> None:
        self.parts: list[str] = []
        self.refer = refer
        self.max_bytes = max_bytes
        self.left = max_bytes

    def reserve(self, characters: int) -> None:
        self.left -= characters
        if self.left < 0:
            raise BeyondBoundsError(f"the value is longer than {self.max_bytes} characters of text")

    def put(self, text: str) -> None:
        self.reserve(len(text))
        self.parts.append(text)


def _write(value: object, out: _Output, depth: int) -> None:
    kind = type(value)
    if depth > MAX_DEPTH:
        raise BeyondBoundsError(f"the value is nested deeper than {MAX_DEPTH}")
    writer = _WRITERS.get(kind)
    if writer is not None:
        writer(value, out, depth)
    elif (plain := _as_plain(value)) is not value:
        _write(plain, out, depth)
    elif out.refer is not None:
        out.put(f'{{"$object":{_quote(out.refer(value))}}}')
    else:
        raise NotPlainError(f"{kind.__module__}.{kind.__qualname__} is not a plain type")


def _as_plain(value: Any) -> object:
    """The plain value of those of the library's types, and of numpy's, that are plain values but for their names."""
    kind = type(value)
    if kind.__module__ == "collections" and kind.__qualname__ in _DICTS:
        return dict(value)
    if kind.__module__ == "numpy" and kind.__qualname__.rstrip("_0123456789") in _NUMBERS:
        return value.item()
    return value


def _write_none(_: None, out: _Output, __: int) -> None:
    out.put("null")


def _write_bool(value: bool, out: _Output, _: int) -> None:
    out.put("true" if value else "false")


def _write_int(value: int, out: _Output, _: int) -> None:
    bits = value.bit_length()
    if bits > MAX_BITS:
        raise BeyondBoundsError(f"an int of {bits} bits; at most {MAX_BITS} are plain")
    out.put(str(value) if bits <= _PLAIN_BITS else f'{{"$int":"{value:#x}"}}')


def _write_float(value: float, out: _Output, _: int) -> None:
    out.put(repr(value) if abs(value) < _INFINITY else f'{{"$float":"{value!r}"}}')


def _write_complex(value: complex, out: _Output, depth: int) -> None:
    out.put('{"$complex":')
    _write_list((value.real, value.imag), out, depth)
    out.put("}")


def _write_str(value: str, out: _Output, _: int) -> None:
    # Looked at before it is escaped: the copy of a string of gigabytes would take the memory before the bound is met.
    if len(value) > out.left:
        out.reserve(len(value))
    out.put(_quote(value) if _is_unicode(value) else f'{{"$str":"{value.encode("utf-8", "surrogatepass").hex()}"}}')


def _is_unicode(value: str) -> bool:
    """Whether a string is free of halves of surrogate pairs."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write_bytes(value: bytes, out: _Output, _: int) -> None:
    if len(value) > out.left:
        out.reserve(len(value))
    out.put(f'{{"$bytes":"{value.hex()}"}}')


def _write_list(items: Iterable[object], out: _Output, depth: int) -> None:
    out.put("[")
    for index, item in enumerate(items):
        if index:
            out.put(",")
        _write(item, out, depth + 1)
    out.put("]")


def _write_tuple(value: tuple[object, ...], out: _Output, depth: int) -> None:
    out.put('{"$tuple":')
    _write_list(value, out, depth)
    out.put("}")


def _write_set(value: set[object] | frozenset[object], out: _Output, depth: int) -> None:
    out.put(f'{{"${type(value).__name__}":[')
    texts: list[str] = []
    start = len(out.parts)
    for element in value:
        _write(element, out, depth + 1)
        texts.append("".join(out.parts[start:]))
        del out.parts[start:]
        out.reserve(1)
    texts.sort()
    out.parts.append(",".join(texts))
    out.put("]}")


def _write_dict(value: dict[object, object], out: _Output, depth: int) -> None:
    plain = all(type(key) is str and not key.startswith("$") and _is_unicode(key) for key in value)
    out.put("{" if plain else '{"$dict":[')
    for index, (key, item) in enumerate(value.items()):
        if index:
            out.put(",")
        if plain:
            _write(key, out, depth + 1)
            out.put(":")
            _write(item, out, depth + 1)
        else:
            _write_list((key, item), out, depth + 1)
    out.put("}" if plain else "]}")


_WRITERS: dict[type, Callable[[Any, _Output, int], None]] = {
    type(None): _write_none,
    bool: _write_bool,
    int: _write_int,
    float: _write_float,
    complex: _write_complex,
    str: _write_str,
    bytes: _write_bytes,
    list: _write_list,
    tuple: _write_tuple,
    set: _write_set,
    frozenset: _write_set,
    dict: _write_dict,
}


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


class _Context:
    """What the scanner asks of a JSON decoder."""

    def __init__(self) -> None:
        self.strict = True
        self.object_hook = None
        self.object_pairs_hook = None
        self.parse_float = float
        self.parse_int = int
        self.parse_constant = _refuse_constant
        self.memo: dict[str, str] = {}


_scan = make_scanner(_Context())  # pyright: ignore[reportArgumentType]  (typeshed asks for a scanner)


def _read(tree: object, depth: int, resolve: Callable[[str], object] | None) -> object:
    if depth > MAX_DEPTH:
        raise BeyondBoundsError(f"the value is nested deeper than {MAX_DEPTH}")
    if isinstance(tree, list):
        return [_read(item, depth + 1, resolve) for item in tree]
    if isinstance(tree, dict):
        if any(key.startswith("$") for key in tree):
            return _read_tagged(tree, depth, resolve)
        return {key: _read(item, depth + 1, resolve) for key, item in tree.items()}
    if isinstance(tree, float) and abs(tree) == _INFINITY:
        raise NotPlainError("a number beyond the largest float")
    return tree


def _read_tagged(tree: dict[str, object], depth: int, resolve: Callable[[str], object] | None) -> object:
    tag, content = next(iter(tree.items()))
    if len(tree) == 1 and isinstance(content, str):
        if tag == "$object" and resolve is not None:
            return resolve(content)
        reader = _TEXT_READERS.get(tag)
        if reader is not None:
            return reader(content)
    if len(tree) == 1 and isinstance(content, list):
        if tag == "$dict":
            return _read_pairs(content, depth, resolve)
        reader = _LIST_READERS.get(tag)
        if reader is not None:
            return reader([_read(item, depth + 1, resolve) for item in content])
    raise NotPlainError(f"an object with the key {tag[:12]!r} is no plain value; a key that starts with $ is a tag")


def _read_int(text: str) -> int:
    if not text.lstrip("-").startswith("0x") or len(text) > MAX_BITS // 4 + 3:
        raise NotPlainError("the text of a '$int' is not 0x... or too long")
    try:
        return int(text, 16)
    except ValueError:
        raise NotPlainError("the text of a '$int' is not hexadecimal") from None


def _read_float(text: str) -> float:
    if text not in ("nan", "inf", "-inf"):
        raise NotPlainError("the text of a '$float' is not nan, inf or -inf")
    return float(text)


def _read_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise NotPlainError("the text of a '$bytes' is not hexadecimal") from None


def _read_str(text: str) -> str:
    try:
        return bytes.fromhex(text).decode("utf-8", "surrogatepass")
    except ValueError:
        raise NotPlainError("the text of a '$str' is not UTF-8 in hexadecimal") from None


def _read_complex(items: list[Any]) -> complex:
    if len(items) != 2 or not all(type(item) is float for item in items):
        raise NotPlainError("a '$complex' is not two floats")
    return complex(*items)


def _read_set(items: list[object]) -> set[object]:
    _check_hashes(items)
    elements: set[object] = set()
    _fill(elements, items)
    if len(elements) != len(items):
        raise NotPlainError("an element comes twice in a set")
    return elements


_TEXT_READERS: dict[str, Callable[[str], object]] = {
    "$int": _read_int,
    "$float": _read_float,
    "$bytes": _read_bytes,
    "$str": _read_str,
}
_LIST_READERS: dict[str, Callable[[list[Any]], object]] = {
    "$tuple": tuple,
    "$set": _read_set,
    "$frozenset": lambda items: frozenset(_read_set(items)),
    "$complex": _read_complex,
}


def _read_pairs(pairs: list[object], depth: int, resolve: Callable[[str], object] | None) -> dict[object, object]:
    items: list[tuple[object, object]] = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise NotPlainError("'$dict' holds something that is not a pair")
        items.append((_read(pair[0], depth + 2, resolve), _read(pair[1], depth + 2, resolve)))
    _check_hashes([key for key, _ in items])
    read: dict[object, object] = {}
    _fill(read, items)
    return read


def _fill(table: Any, items: list[Any]) -> None:
    """Fills a dict or a set, and gives up where that takes far longer than it can: keys can be chosen such that all look
    for a place along the same path, though no two have the same hash."""
    end = thread_time() + _MOST_SECONDS + _SECONDS_OF_AN_ITEM * len(items)
    for start in range(0, len(items), _BLOCK):
        table.update(items[start : start + _BLOCK])
        if thread_time() > end:
            raise BeyondBoundsError("keys or elements that were chosen to collide")


def _check_hashes(keys: list[object]) -> None:
    """Refuses keys that cannot be hashed and floods of equal hashes, whose set takes quadratic time to build."""
    try:
        hashes = list(map(hash, keys))
    except TypeError as error:
        raise NotPlainError(f"a key or element cannot be hashed: {error}") from None
    distinct: set[int] = set()
    _fill(distinct, hashes)
    if len(keys) - len(distinct) > _MAX_COLLISIONS:
        raise BeyondBoundsError(f"more than {_MAX_COLLISIONS} keys or elements with one hash")
