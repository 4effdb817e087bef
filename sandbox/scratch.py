"""The directory that belongs to one run: made before it, removed after it with whatever it put there."""

from __future__ import annotations

import itertools
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MAX_DEPTH = 64
"""Deepest nesting of directories in a run's; a path is looked up from its beginning each time."""


def make() -> Path:
    """A new empty directory that only its owner may enter."""
    return Path(tempfile.mkdtemp(prefix="assay-run-"))


def remove(path: str | Path) -> None:
    """Removes a directory that nobody uses any more, at any depth of nesting, without following links.

    A hostile program can nest directories deeper than paths may be long and than a recursive removal can go. So each
    directory below is moved up to the top before it is emptied. What cannot be removed is left.
    """
    directory = Path(path)
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


def exceeds(directory: str, most_files: int, most_bytes: int) -> bool:
    """Whether there is more in a directory than there may be, or it is nested too deep. Looks at no more than that.

    What cannot be listed, though it is there, counts as too much: else a program could hide what it has in it.
    """
    files = size = 0
    folders = [(directory, 0)]
    while folders:
        folder, depth = folders.pop()
        if depth > _MAX_DEPTH:
            return True
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        files, size = files + 1, size + 512 * entry.stat(follow_symlinks=False).st_blocks
                        if entry.is_dir(follow_symlinks=False):
                            folders.append((entry.path, depth + 1))
                    if files > most_files or size > most_bytes:
                        return True
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return True
    return size > most_bytes
