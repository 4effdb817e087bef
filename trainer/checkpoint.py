"""Checkpoints that are whole or absent, and models published for others to load.

A checkpoint is written into a temporary directory, synced to the disk, and renamed; then `latest` is pointed at it. A
process killed at any moment leaves the previous checkpoint as the latest. Our own state is JSON; DeepSpeed's files are
torch.save archives, so load only checkpoints that your own runs wrote.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from trainer.engine import Engine
from trainer.group import RankGroup

LATEST = "latest"
PARTIAL = ".partial-"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used for this run; the message says what differs."""


class Tokenizer(Protocol):
    """What `publish` needs of a tokenizer."""

    def save_pretrained(self, save_directory: str) -> Any: ...


class Checkpoints:
    """The checkpoints of one run. `save` and `load` are collectives: all ranks call them."""

    def __init__(self, directory: Path, keep: int, group: RankGroup) -> None:
        """Keeps the newest `keep` (at least 1) of the checkpoints in `directory`, which all ranks share."""
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._directory, self._keep, self._group = directory, keep, group

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        pointer = self._directory / LATEST
        return self._directory / pointer.read_text().strip() if pointer.exists() else None

    def save(self, engine: Engine, name: str, state: Mapping[str, Any]) -> Path:
        """Writes a checkpoint called `name` and makes it the latest. `state` is the caller's own, JSON on rank 0.

        Beside it go weights and optimizer of all ranks and each rank's random states. A name stands for one state of the
        run: nothing is written where it is the latest already.
        """
        partial, final = self._directory / f"{PARTIAL}{name}", self._directory / name
        if self._group.gather(self.latest() == final)[0]:
            return final
        if self._group.rank == 0:
            for leftover in self._directory.glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover)
            partial.mkdir(parents=True)
        self._group.barrier()
        engine.save(partial)
        (partial / f"random-{self._group.rank}.json").write_text(json.dumps(random_state()))
        self._group.barrier()
        if self._group.rank == 0:
            document = {"world_size": self._group.world_size, "zero_stage": engine.zero_stage, "state": dict(state)}
            (partial / "state.json").write_text(json.dumps(document))
            _replace(partial, final)
            _write_synced(self._directory / LATEST, name)
            self._prune(final)
        self._group.barrier()
        return final

    def load(self, engine: Engine, checkpoint: Path) -> dict[str, Any]:
        """Restores engine and random states; returns the caller's state.

        Raises CheckpointError where the number of ranks or the ZeRO stage differ from those that wrote it.
        """
        document = json.loads((checkpoint / "state.json").read_text())
        for key, here in (("world_size", self._group.world_size), ("zero_stage", engine.zero_stage)):
            if document[key] != here:
                raise CheckpointError(f"{checkpoint.name} was written with {key} {document[key]}, this run has {here}")
        engine.load(checkpoint)
        set_random_state(json.loads((checkpoint / f"random-{self._group.rank}.json").read_text()))
        return document["state"]

    def _prune(self, newest: Path) -> None:
        others = [path.parent for path in self._directory.glob("*/state.json") if path.parent != newest]
        others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old in others[self._keep - 1 :]:
            # Renamed first: a checkpoint half removed must not look like a whole one.
            shutil.rmtree(old.rename(old.with_name(f"{PARTIAL}{old.name}")))


@dataclass(frozen=True, slots=True)
class Published:
    """A Hugging Face directory and the SHA-256 of its `model.safetensors`, in hexadecimal."""

    directory: Path
    sha256: str


def publish(engine: Engine, tokenizer: Tokenizer, directory: Path, group: RankGroup) -> Published:
    """Writes config, tokenizer, `model.safetensors` and `model.safetensors.sha256`. A collective; equal on all ranks.

    The directory appears at once and whole; one that is there is replaced. The file `.sha256` is in the format of
    `sha256sum`.
    """
    weights = engine.full_state_dict()
    digest = _write_model(engine, weights, tokenizer, directory) if weights is not None else ""
    return Published(directory, group.gather(digest)[0])


def random_state() -> dict[str, Any]:
    """The states of the random generators of torch, numpy and Python, as JSON."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, pending = random.getstate()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": _encode(torch.get_rng_state()),
        "cuda": [_encode(state) for state in devices],
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "python": [version, list(internal), pending],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restores what `random_state` gave."""
    torch.set_rng_state(_decode(state["torch"]))
    for device, saved in enumerate(state["cuda"]):
        torch.cuda.set_rng_state(_decode(saved), device)
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, internal, pending = state["python"]
    random.setstate((version, tuple(internal), pending))


def _write_model(engine: Engine, weights: dict[str, Tensor], tokenizer: Tokenizer, directory: Path) -> str:
    partial = directory.with_name(f"{PARTIAL}{directory.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    disable_progress_bar()
    # One file whatever its size: the protocol names one checksum.
    engine.policy.model.save_pretrained(str(partial), state_dict=weights, max_shard_size="1000TB")
    tokenizer.save_pretrained(str(partial))
    # safetensors makes its files readable by their owner only; the rollout service may run as another user.
    (partial / "model.safetensors").chmod(0o644)
    with (partial / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (partial / "model.safetensors.sha256").write_text(f"{digest}  model.safetensors\n")
    _replace(partial, directory)
    return digest


def _replace(partial: Path, final: Path) -> None:
    """Renames a directory to its final name, after all of it has reached the disk."""
    for path in sorted(partial.rglob("*")):
        _sync(path)
    _sync(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    _sync(final.parent)


def _write_synced(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode(state: Tensor) -> str:
    return base64.b64encode(bytes(state.numpy())).decode()


def _decode(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
