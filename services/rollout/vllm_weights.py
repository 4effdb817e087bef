"""Looks through a model's files before vLLM loads them in place, where a bad one would leave nothing whole."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.rollout.weights import bad_path, readable_directory, reading, settings_digest, weight_files

DTYPES = {"F32": "torch.float32", "BF16": "torch.bfloat16", "F16": "torch.float16"}
"""By their names in a file's header."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Equal contents differ in nothing but the numbers: one can be loaded over the other."""

    settings: str
    """Digest of the configuration and the tokenizer."""
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, dtype and shape of each tensor, by name."""


def read_contents(directory: Path, *, numbers: bool = True) -> Contents:
    """Of a checked directory; reads every tensor, one at a time, or without `numbers` the files' headers only.

    Raises EngineError (FAILED_PRECONDITION) for a damaged file and for numbers that are not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    tensors: list[tuple[str, str, tuple[int, ...]]] = []
    for file in weight_files(directory):
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - not a mapping
                    if not numbers:
                        part = opened.get_slice(name)
                        dtype = str(part.get_dtype())
                        tensors.append((name, DTYPES.get(dtype, dtype), tuple(part.get_shape())))
                        continue
                    tensor = opened.get_tensor(name)
                    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                        raise bad_path(directory, f"has weights that are not finite: {name}")
                    tensors.append((name, str(tensor.dtype), tuple(tensor.shape)))
        except (SafetensorError, OSError) as error:
            raise bad_path(directory, f"has a {file.name} that cannot be read: {error}") from error
    return Contents(settings_digest(directory), tuple(sorted(tensors)))


class AdapterCopy:
    """A checked copy of a LoRA adapter, which is there for as long as this object is.

    vLLM reads an adapter's files again whenever it has made room for another one. Those of the trainer may have changed
    since they were proven, or be gone, which ends vLLM's process.
    """

    def __init__(self, path: str, sha256: str, tensors: Sequence[tuple[str, str, tuple[int, ...]]]) -> None:
        """tensors: of the base's `Contents`.

        Raises EngineError (FAILED_PRECONDITION) for what is not supported, damaged, has another checksum, or does not
        fit the base: vLLM itself takes factors of wrong shapes, and leaves out what it has no module for.
        """
        from services.rollout.adapter import FILES, read_adapter

        directory = readable_directory(path)
        self.path = Path(tempfile.mkdtemp(prefix="assay-adapter-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        with reading(directory):
            for name in FILES:
                if (directory / name).is_file():
                    shutil.copyfile(directory / name, self.path / name)
        shapes = {name: shape for name, _, shape in tensors}
        read_adapter(self.path, sha256, named=directory).check_fits(directory, shapes)
