"""A candidate's half of a trial: answers what the test code asks of its functions, classes and objects.

Plain values cross as they are. Everything else stays here and crosses as a number: test code can call it, take its
attributes, index it and go through it, but compares it by identity, so the candidate's own `__eq__` decides nothing.
"""

from __future__ import annotations

import operator

from sandbox import frames
from sandbox.inside import peer
from sandbox.inside.harness import builtin_name, message_of
from sandbox.values import NotPlainError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

CHANGEABLE = frozenset({list, dict, set})
"""Exact types of arguments that test code sees the changes of."""
_MAX_OBJECTS = 100_000


def _through(value: Any) -> Any:
    """What to go through: an iterator itself, which may have no end, and of everything else the elements."""
    return value if hasattr(type(value), "__next__") else list(value)


_OPERATIONS = {
    "!len": len,
    "!through": _through,
    "!item": operator.getitem,
    "!next": next,
    "!set": setattr,
    "!str": str,
    "!truth": operator.truth,
}
"""What test code may do to an object besides calling it and taking its attributes."""


class Objects:
    """The objects that the test code has numbers of."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._by_number: list[object] = []
        self._numbers: dict[int, int] = {}

    def refer(self, value: object) -> str:
        if id(value) not in self._numbers:
            if len(self._by_number) >= _MAX_OBJECTS:
                raise NotPlainError(f"more than {_MAX_OBJECTS} objects")
            self._numbers[id(value)] = len(self._by_number)
            self._by_number.append(value)
        return str(self._numbers[id(value)])

    def resolve(self, name: str) -> object:
        return self._by_number[int(name)]

    def target(self, name: str) -> Any:
        """What a call or a look-up is about: `#7` an object, `!len` an operation, "" the module, else a name in it."""
        if name.startswith("#"):
            return self.resolve(name[1:])
        return _OPERATIONS.get(name) or (self._module.__dict__.get(name) if name else self._module)


def serve(module: ModuleType) -> None:
    """Answers until the test code asks no more."""
    objects = Objects(module)
    while True:
        try:
            kind, identity, text = peer.receive()
        except EOFError:
            return
        kind, text = answer(objects, kind, text)
        peer.send(kind, identity, text)


def answer(objects: Objects, kind: str, text: str) -> tuple[str, str]:
    """What to answer to a question: its kind, and a value's text."""
    try:
        asked: Any = decode(text, resolve=objects.resolve)
        target, rest = asked[0], asked[1:]
        found = objects.target(target)
        if found is None:
            return _raised(frames.NOT_DEFINED, f"the source does not define {target!r}")
        if kind == "get":
            return "returned", encode([getattr(found, rest[0])], refer=objects.refer)
        return _called(objects, found, *rest)
    except NotPlainError as error:
        return _raised(type(error).__name__, message_of(error))
    except BaseException as error:
        return _raised(builtin_name(error), message_of(error))


def _called(objects: Objects, found: Any, args: list[object], kwargs: dict[str, object]) -> tuple[str, str]:
    """Makes a call. With its outcome go the arguments that it has changed, by position or name."""
    given = [(key, value) for key, value in (*enumerate(args), *kwargs.items()) if type(value) in CHANGEABLE]
    before = [encode(value, refer=objects.refer) for _, value in given]
    try:
        kind, outcome = "returned", found(*args, **kwargs)
    except BaseException as error:
        kind, outcome = "raised", [builtin_name(error), message_of(error)]
    changed = [
        [key, value]
        for (key, value), text in zip(given, before, strict=True)
        if encode(value, refer=objects.refer) != text
    ]
    return kind, encode([outcome, changed] if changed else [outcome], refer=objects.refer)


def _raised(kind: str, message: str) -> tuple[str, str]:
    return "raised", encode([[kind, message]])
