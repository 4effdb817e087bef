"""How an error speaks of a name that does not exist: what was written, the closest known names, all known names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(name: object, known: Iterable[str]) -> str:
    """`unknown name 'lineer'; did you mean 'linear'? known: constant, linear`."""
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names, n=2) if isinstance(name, str) else []
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"unknown name {name!r}; {hint}known: {', '.join(names) or 'none'}"
