"""Reads a model's weights from a directory and puts them into a module that is there already.

Everything is read and checked before the first tensor is changed, so that a bad file leaves the served weights whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from services.rollout.engine import EngineError, EngineFault

WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
)
"""Files beside the weights that decide what the model is; equal ones mean that only the weights changed."""
LONGEST_REASON = 300
"""Characters kept of a library's error message."""


def bad_path(directory: Path, why: str) -> EngineError:
    """The error for a directory that does not hold a model."""
    return EngineError(EngineFault.FAILED_PRECONDITION, f"path {str(directory)!r} {why}")


def brief(error: Exception) -> str:
    """What a library says, in one line, for the end of an error's message."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON]


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Makes what files may do at any moment (vanish, be unreadable) the error of their directory."""
    try:
        yield
    except OSError as error:
        raise bad_path(directory, f"cannot be read: {error.strerror or type(error).__name__}") from error


def readable_directory(path: str) -> Path:
    """The directory, where there is one."""
    directory = Path(path)
    if not os.path.isdir(directory):  # noqa: PTH112 - Path.is_dir() raises where a name is longer than can be
        raise bad_path(directory, "is not a directory that this service can read")
    return directory


def checked_directory(path: str, sha256: str) -> Path:
    """The directory, where it holds a configuration, a tokenizer and weights with this checksum (if one is given)."""
    directory = readable_directory(path)
    if not (directory / "config.json").is_file():
        raise bad_path(directory, "has no config.json; it must be a model saved by save_pretrained")
    if not any(next(directory.glob(pattern), None) for pattern in ("tokenizer*", "vocab*", "*.model")):
        raise bad_path(directory, "has no tokenizer; save it there with tokenizer.save_pretrained")
    files = weight_files(directory)
    if sha256:
        if files[0].name != WEIGHTS:
            raise bad_path(directory, f"has its weights in shards, but sha256 is that of {WEIGHTS}")
        check_sha256(files[0], sha256, directory)
    return directory


def check_sha256(file: Path, sha256: str, directory: Path) -> None:
    """Raises EngineError where the file has another checksum. directory: for the error."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise bad_path(directory, f"has a file {file.name} with the SHA-256 {found}, not {sha256}")


def weight_files(directory: Path) -> list[Path]:
    """`model.safetensors`, or the shards that the index names."""
    single, index = directory / WEIGHTS, directory / SHARDS
    if single.is_file():
        return [single]
    if not index.is_file():
        raise bad_path(directory, f"has no {WEIGHTS} and no {SHARDS}")
    try:
        names: set[str] = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise bad_path(directory, f"has a file {SHARDS} that cannot be read: {error!r}") from error
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise bad_path(directory, f"has a file {SHARDS} whose weight_map does not name files of the directory")
    return [directory / name for name in sorted(names)]


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Every tensor by name, on the CPU; refuses files that are damaged and numbers that are not finite."""
    tensors: dict[str, torch.Tensor] = {}
    for file in weight_files(directory):
        tensors |= read_tensors(file, directory)
    return tensors


def read_tensors(file: Path, directory: Path) -> dict[str, torch.Tensor]:
    """Those of one file. directory: for errors."""
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise bad_path(directory, f"has a file {file.name} that cannot be read: {error}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise bad_path(directory, f"has weights that are not finite: {name}")
    return tensors


def settings_digest(directory: Path) -> str:
    """Changes with the configuration and the tokenizer, not with the weights."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in SETTINGS for file in directory.glob(pattern) if file.is_file()}):
        content = file.read_bytes()
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@torch.no_grad()
def exchange_weights(module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    """Puts the tensors into the module's own, tied ones included, and what was there before into `tensors`.

    False, and nothing changed, where they do not fit. Tied parameters have several names and one storage. `tensors` may
    hold any of the names, or several if they are equal, and holds one of them afterwards; a module whose storage none of
    them would fill does not fit. Each tensor is let go as soon as it is in the module. The weights from before are kept
    on the CPU; exchanged again, they are back to the bit.
    """
    own = module.state_dict(keep_vars=True)
    groups = [[name for name in names if name in tensors] for names in shared_names(own)]
    fits = tensors.keys() <= own.keys() and all(
        group
        and own[group[0]].shape == tensors[group[0]].shape
        and own[group[0]].is_floating_point() == tensors[group[0]].is_floating_point()
        and all(torch.equal(tensors[group[0]], tensors[other]) for other in group[1:])
        for group in groups
    )
    if not fits:
        return False
    before: dict[str, torch.Tensor] = {}
    try:
        for first, *others in groups:
            before[first] = own[first].to("cpu", copy=True)
            own[first].copy_(tensors.pop(first))
            for other in others:
                del tensors[other]
    except BaseException:  # of memory, for example: half of the new weights are none
        for name, tensor in before.items():
            own[name].copy_(tensor)
        raise
    tensors |= before
    return True


def shared_names(own: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """The names of a state dict (with `keep_vars`), those of one storage together."""
    names: defaultdict[tuple[int, torch.Size], list[str]] = defaultdict(list)
    for name, tensor in own.items():
        names[tensor.data_ptr(), tensor.shape].append(name)
    return list(names.values())
