"""The rows of a file or a folder, one after the other, whatever its kind: JSON lines, Parquet, a saved Hugging Face dataset.

A file is never in memory whole: JSON lines come line by line, the others in batches of `BATCH_ROWS`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.data import DataError

BATCH_ROWS = 1024

Rows = Iterator[tuple[str, dict[str, Any]]]
"""Where each row is, for messages, and its columns."""


def rows(path: Path) -> Rows:
    """Every row, by what the path is: a folder that `Dataset.save_to_disk` made, a folder of Parquet files, a Parquet file by
    its suffix, else JSON lines. Raises DataError where it cannot be read, or has none."""
    if not path.is_dir():
        return _some(path, _arrow_rows(path, _parquet_batches(path))) if path.suffix == ".parquet" else json_rows(path)
    if (path / "dataset_dict.json").is_file():
        splits = sorted(folder.name for folder in path.iterdir() if (folder / "state.json").is_file())
        raise DataError(
            f"{path}: holds several splits; name one of them: {', '.join(str(path / name) for name in splits)}"
        )
    if (path / "state.json").is_file():
        return _some(path, _arrow_rows(path, _saved_batches(path)))
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise DataError(
            f"{path}: is a folder with neither *.parquet files nor the state.json of a Hugging Face dataset saved to disk"
        )
    return _some(path, (row for file in files for row in _arrow_rows(file, _parquet_batches(file))))


def json_rows(path: Path) -> Rows:
    """Every object of a file of JSON lines; blank lines are no rows. Raises DataError."""
    return _some(path, _json_rows(path))


def _some(path: Path, found: Rows) -> Rows:
    empty = True
    for row in found:
        empty = False
        yield row
    if empty:
        raise DataError(f"{path}: has no rows")


def _json_rows(path: Path) -> Rows:
    try:
        # Bytes, because text lines would also end at U+2028 and its like, which JSON allows inside a string.
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, _object(line, where)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = _JSON.decode(line.decode())
        if _MAY_BE_SURROGATE.search(line):
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise DataError(f"{where}: is not UTF-8 text") from None
    except UnicodeEncodeError:
        raise DataError(f"{where}: holds a lone surrogate (half of a \\ud83d\\ude00), which is no text") from None
    except (ValueError, RecursionError) as error:  # ValueError too: a number of thousands of digits
        raise DataError(f"{where}: is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: is a JSON {type(row).__name__}, not an object")
    return row


def _refuse_constant(name: str) -> None:
    """For what Python's JSON has beyond JSON: a scorer would refuse it, and the reward would be missing at every step."""
    raise ValueError(f"{name} is no number of JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
_MAY_BE_SURROGATE = re.compile(rb"\\u[dD]")


def _arrow_rows(path: Path, batches: Iterator[Any]) -> Rows:
    """A null of a column or of a struct is as if it were not there: Arrow cannot leave it out."""
    number = 0
    try:
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", _without_nulls(row)
    except DataError:
        raise
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {os.strerror(error.errno) if error.errno else _told(error)}"
        ) from None
    except Exception as error:  # Arrow has errors of many kinds, for files and for values that Python cannot hold
        raise DataError(f"{path}: cannot be read after row {number}: {_told(error)}") from None


def _told(error: Exception) -> str:
    return (
        "it holds text that is not UTF-8"
        if isinstance(error, UnicodeError)
        else f"{type(error).__name__}: {error}"[:200]
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _parquet_batches(path: Path) -> Iterator[Any]:
    _need_pyarrow(path)
    from pyarrow import parquet

    with parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=BATCH_ROWS)


def _saved_batches(path: Path) -> Iterator[Any]:
    """The format of `datasets.Dataset.save_to_disk`: `state.json` names streams of Arrow in their order."""
    _need_pyarrow(path)
    import pyarrow

    state = _object((path / "state.json").read_bytes(), str(path / "state.json"))
    try:
        names = [str(file["filename"]) for file in state["_data_files"]]
    except (KeyError, TypeError):
        raise DataError(f"{path}: its state.json is not that of a Hugging Face dataset saved to disk") from None
    for name in names:
        if name in ("", "..") or Path(name).name != name:
            raise DataError(f"{path}: its state.json names {name[:60]!r}, which is no file of this folder")
        with pyarrow.memory_map(str(path / name)) as source, pyarrow.ipc.open_stream(source) as stream:
            for batch in stream:
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)


def _need_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise DataError(f"{path}: reading it needs pyarrow: pip install '.[data]' in Assay's folder") from None
