"""A short name for the exact files of a model: verdicts that were remembered must not outlive them."""

from __future__ import annotations

import hashlib
from pathlib import Path

DIGITS = 16
_SKIPPED = {"__pycache__", ".cache", ".git"}


def digest_of(path: Path) -> str:
    """16 hexadecimal digits of the SHA-256 of a file, or of all files below a folder with their names."""
    if path.is_file():
        return _hash(path)[:DIGITS]
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if file.is_file() and _SKIPPED.isdisjoint(inside.parts):
            whole.update(f"{inside.as_posix()}\0{_hash(file)}\n".encode())
    return whole.hexdigest()[:DIGITS]


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
