"""A function of the user's own, found by its import path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from trainer.names import unknown_name


class ImportPathError(ValueError):
    """An import path that leads to no function; the message says which part of it fails."""


def load_function(path: str) -> Callable[..., Any]:
    """The callable at `package.module.function` or `package.module:function`. Imports its module. Raises ImportPathError."""
    module_name, _, name = path.replace(":", ".").rpartition(".")
    if not module_name or not name.isidentifier():
        raise ImportPathError(f"path {path!r}: must be package.module.function, with dots between")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises while it is imported
        # A fault inside a module that was found has nothing to do with where it lies.
        absent = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        hint = "; its folder must be on PYTHONPATH, or its package installed" if absent else ""
        raise ImportPathError(
            f"path {path!r}: {module_name} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error
    function = getattr(module, name, None)
    if function is not None and not callable(function):
        raise ImportPathError(
            f"path {path!r}: it is of type {type(function).__name__}, which cannot be called; name a function"
        )
    if function is None:
        functions = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module_name]
        raise ImportPathError(f"path {path!r}: {unknown_name(name, functions)}, in {module_name}")
    return function
