"""The file by which a process tells its supervisor that it is ready, for processes that are no gRPC service."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_ready_file(path: Path, name: str, address: str = "") -> None:
    """Writes name, address (empty where there is none) and pid as JSON, in one step."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps({"name": name, "address": address, "pid": os.getpid()}), encoding="utf-8")
    part.replace(path)
