"""What test code most often takes from pytest: `raises`, `approx` and `mark`. The real one would need files to load.

Fixtures, plugins and configuration are not here: a test that needs them is told so by an AttributeError.
"""

from __future__ import annotations

import math
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self

PARAMETERS = "__parameters__"
"""Attribute of a test function: the keyword arguments of each of its runs."""


class raises:  # noqa: N801  (pytest's name)
    """A context in which one of the exceptions must be raised, with a message in which `match` is found."""

    def __init__(
        self, expected: type[BaseException] | tuple[type[BaseException], ...], match: str | None = None
    ) -> None:
        self._expected = expected
        self._match = match
        self.value: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if error is None:
            raise AssertionError(f"did not raise {self._expected}")
        if not isinstance(error, self._expected):
            return False
        if self._match is not None and not re.search(self._match, str(error)):
            raise AssertionError(f"{str(error)!r} does not match {self._match!r}")
        self.value = error
        return True


class approx:  # noqa: N801
    """Equal to numbers, and to lists, tuples and dicts of them, within tolerances."""

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:
        self._expected = expected
        self._relative = 1e-6 if rel is None and abs is None else rel or 0.0
        self._absolute = 1e-12 if abs is None else abs

    def __eq__(self, got: object) -> bool:
        return self._equal(self._expected, got)

    __hash__ = None  # type: ignore[assignment]

    def _equal(self, expected: Any, got: Any) -> bool:
        if isinstance(expected, dict):
            same = isinstance(got, dict) and got.keys() == expected.keys()
            return same and all(self._equal(value, got[key]) for key, value in expected.items())
        if isinstance(expected, list | tuple):
            same = isinstance(got, list | tuple) and len(got) == len(expected)
            return same and all(map(self._equal, expected, got))
        if not isinstance(expected, int | float) or not isinstance(got, int | float):
            return expected == got
        return math.isclose(got, expected, rel_tol=self._relative, abs_tol=self._absolute)


class _Mark:
    """`mark.parametrize` multiplies a test; every other mark says nothing here."""

    def parametrize(self, names: str | Iterable[str], values: Iterable[Any], **_: object) -> Callable[[Any], Any]:
        keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        rows = [dict(zip(keys, value if len(keys) > 1 else [value], strict=True)) for value in values]

        def decorate(test: Any) -> Any:
            before = getattr(test, PARAMETERS, [{}])
            setattr(test, PARAMETERS, [old | row for old in before for row in rows])
            return test

        return decorate

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **_: args[0] if args and callable(args[0]) else lambda test: test


MODULE = type(sys)("pytest")
"""What `import pytest` gives."""
MODULE.__dict__.update(raises=raises, approx=approx, mark=_Mark())
