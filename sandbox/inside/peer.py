"""The socket between a candidate and its test code: one question on its way at a time, then its answer.

A message is four bytes of length (big-endian) and that many of ASCII: what it is, the question's id, and the text
(`sandbox/values.py`) of a value, with spaces between the three:

    call ID [target, args, kwargs]        get ID [target, name]
    returned ID [value]                   raised ID [[type, message]]

Where a call has changed lists, dicts or sets that were arguments of it, these follow the outcome in its list, each with
its position or name: `returned ID [value, [[0, [1, 3]]]]`.

The id of a question is drawn for it, so that an answer cannot be written in advance. One system call sends a message and
one receives it, unless it is long.
"""

from __future__ import annotations

import os

from sandbox.frames import HEADER_BYTES, FrameError
from sandbox.inside.harness import PEER, write
from sandbox.values import MAX_BYTES

_MAX_MESSAGE_BYTES = MAX_BYTES + (1 << 10)
_BLOCK_BYTES = 1 << 16


def send(kind: str, identity: str, text: str) -> None:
    """Sends a message. Raises OSError where the other side is gone."""
    body = f"{kind} {identity} {text}".encode("ascii")
    write(PEER, len(body).to_bytes(HEADER_BYTES, "big") + body)


def receive() -> tuple[str, str, str]:
    """The next message: kind, id, text. Raises EOFError where there is none, FrameError for anything but just one."""
    data = _read(_BLOCK_BYTES)
    while len(data) < HEADER_BYTES:
        data += _read(_BLOCK_BYTES)
    length = int.from_bytes(data[:HEADER_BYTES], "big")
    if length > _MAX_MESSAGE_BYTES:
        raise FrameError(f"a message of {length} bytes; at most {_MAX_MESSAGE_BYTES} are read")
    missing = HEADER_BYTES + length - len(data)
    if missing > 0:
        data += _read_whole(missing)
    elif missing:
        raise FrameError("wrote an answer that nobody had asked for")
    try:
        kind, identity, text = data[HEADER_BYTES:].decode("ascii").split(" ", 2)
    except ValueError:
        raise FrameError("a message that is not three words") from None
    return kind, identity, text


def _read_whole(size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        parts.append(_read(size))
        size -= len(parts[-1])
    return b"".join(parts)


def _read(size: int) -> bytes:
    """Something of at most so many bytes. Raises EOFError where nothing comes any more."""
    try:
        data = os.read(PEER, min(size, 1 << 20))
    except OSError:
        data = b""
    if not data:
        raise EOFError
    return data
