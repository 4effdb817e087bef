"""Files of JSON lines that a resumed run goes on with: what an interrupted attempt wrote after its checkpoint is taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, none where there is no file; a line torn by a crash ends the list."""
    return [line for _, line in _lines(path)]


def reopen(path: Path, keep: Callable[[dict[str, Any]], bool]) -> TextIO:
    """The file, to be appended to, with no other lines than those to keep. It is never in memory whole."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(text for text, line in _lines(path) if keep(line))
    partial.replace(path)
    return path.open("a", encoding="utf-8")


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """As they stand in the file, and what they say."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for text in file:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                return
            yield text.rstrip("\n") + "\n", line
