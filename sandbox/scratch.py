"""The directory that belongs to one run: made before it, removed after it with whatever it put there."""

from __future__ import annotations

import itertools
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def make() -> Path:
    """A new empty directory that only its owner may enter."""
    return Path(tempfile.mkdtemp(prefix="assay-run-"))


def remove(directory: Path) -> None:
    """Removes a directory that nobody uses any more, at any depth of nesting, without following links.

    A hostile program can nest directories deeper than paths may be long and than a recursive removal can go. So each
    directory below is moved up to the top before it is emptied. What cannot be removed is left.
    """
    new_names = (directory / f"{secrets.token_hex(8)}-{number}" for number in itertools.count())
    with suppress(OSError):
        while True:
            entries = list(os.scandir(directory))
            if not entries:
                break
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _dissolve(Path(entry.path), new_names)
                else:
                    Path(entry.path).unlink()
        directory.rmdir()


def _dissolve(folder: Path, new_names: Iterator[Path]) -> None:
    """Removes a directory; those in it move to new names."""
    folder.chmod(0o700)
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            path.chmod(0o700)
            path.rename(next(new_names))
        else:
            path.unlink()
    folder.rmdir()
