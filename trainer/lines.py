"""Files of JSON lines that a resumed run goes on with: what an interrupted attempt wrote after its checkpoint is taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, none where there is no file; a line torn by a crash ends the list."""
    lines: list[dict[str, Any]] = []
    if not path.exists():
        return lines
    with path.open(encoding="utf-8") as file:
        for text in file:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
    return lines


def reopen(path: Path, keep: Callable[[dict[str, Any]], bool]) -> TextIO:
    """The file, to be appended to, with no other lines than those to keep."""
    kept = [line for line in read_lines(path) if keep(line)]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    partial.replace(path)
    return path.open("a", encoding="utf-8")
