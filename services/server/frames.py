"""How the two ends of a worker's socket write messages: a length of four bytes, then JSON."""

from __future__ import annotations

import json
import struct
from typing import Any

LENGTH = struct.Struct("!I")


def encode_frame(message: Any) -> bytes:
    """One message with its length. Raises TypeError or ValueError for what JSON cannot hold."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return LENGTH.pack(len(body)) + body
