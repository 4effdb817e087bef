"""The prompts of a source that can be read from its beginning to its end, each one at hand without the others in memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from trainer.data import DataError, Prompt

MEMORY_BYTES = 64 * 2**20

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class PromptStore:
    """Prompts as they are after columns, templates and limits, in a temporary file.

    In memory are 32 bytes a prompt, and the file itself while it is below `MEMORY_BYTES`; a larger one is on disk, in
    `$TMPDIR`, and gone with the process. So what becomes of the data's own file during the run changes nothing.
    """

    def __init__(self, scan: Callable[[], Iterator[tuple[str, Prompt]]], name: str) -> None:
        """scan: goes through the prompts, from the first on at each call. Raises DataError for none, and repeated ids."""
        # No `with`: it lives as long as the store.
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        ends, difficulties, ids = array("q", [0]), array("d"), array("Q")
        digest = hashlib.sha256()
        for _, prompt in scan():
            line = encode(prompt)
            digest.update(line)
            ends.append(ends[-1] + self._file.write(line))
            difficulties.append(np.nan if prompt.difficulty is None else prompt.difficulty)
            ids.append(_key(prompt.id))
        if len(ids) == 0:
            raise DataError(f"{name}: no prompt is left")
        self.digest = digest.hexdigest()
        """Of all prompts in their order."""
        self.difficulties = np.frombuffer(difficulties)
        """Float64, NaN where the data say nothing."""
        self._ends = np.frombuffer(ends, np.int64)
        self._keys = np.frombuffer(ids, np.uint64)
        self._by_key = np.argsort(self._keys, kind="stable")
        self._refuse_repeated(scan)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, row: int) -> Prompt:
        start, end = int(self._ends[row]), int(self._ends[row + 1])
        self._file.seek(start)
        name, domain, text, checks, difficulty = json.loads(self._file.read(end - start))
        return Prompt(name, domain, text, checks, difficulty)

    def __iter__(self) -> Iterator[Prompt]:
        return (self[row] for row in range(len(self)))

    def row_of(self, name: str) -> int | None:
        """The row of a prompt by its id."""
        key = np.uint64(_key(name))
        first = int(np.searchsorted(self._keys, key, sorter=self._by_key))
        for row in map(int, self._by_key[first:]):
            if self._keys[row] != key:
                return None
            if self[row].id == name:
                return row
        return None

    def _refuse_repeated(self, scan: Callable[[], Iterator[tuple[str, Prompt]]]) -> None:
        keys = self._keys[self._by_key]
        for row in sorted(self._by_key[1:][keys[1:] == keys[:-1]].tolist()):
            name = self[row].id
            if self.row_of(name) != row:
                where, _ = next(islice(scan(), row, None))
                raise DataError(f"{where}: id {name!r} appears twice")


def encode(prompt: Prompt) -> bytes:
    """A prompt as a line of the store; equal prompts are equal bytes."""
    row = [prompt.id, prompt.domain, prompt.text, prompt.checks, prompt.difficulty]
    return _JSON.encode(row).encode() + b"\n"


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
