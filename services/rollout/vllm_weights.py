"""Looks through a model's files before vLLM loads them in place, where a bad one would leave nothing whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from services.rollout.weights import bad_path, settings_digest, weight_files

ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Contents:
    """Equal contents differ in nothing but the numbers: one can be loaded over the other."""

    settings: str
    """Digest of the configuration and the tokenizer."""
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, dtype and shape of each tensor, by name."""


def read_contents(directory: Path) -> Contents:
    """Of a checked directory; reads every tensor, one at a time.

    Raises EngineError (FAILED_PRECONDITION) for a damaged file and for numbers that are not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    tensors: list[tuple[str, str, tuple[int, ...]]] = []
    for file in weight_files(directory):
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - not a mapping
                    tensor = opened.get_tensor(name)
                    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                        raise bad_path(directory, f"has weights that are not finite: {name}")
                    tensors.append((name, str(tensor.dtype), tuple(tensor.shape)))
        except (SafetensorError, OSError) as error:
            raise bad_path(directory, f"has a {file.name} that cannot be read: {error}") from error
    return Contents(settings_digest(directory), tuple(sorted(tensors)))


def checked_adapter(path: str, sha256: str) -> Path:
    """The directory, where it holds a LoRA adapter with this checksum (if one is given)."""
    directory = Path(path)
    for name in ("adapter_config.json", ADAPTER):
        if not (directory / name).is_file():
            raise bad_path(directory, f"has no {name}; it must be a LoRA adapter that this service can read")
    if sha256:
        with (directory / ADAPTER).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise bad_path(directory, f"has an {ADAPTER} with the SHA-256 {found}, not {sha256}")
    return directory
