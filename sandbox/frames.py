"""Messages between a confined process and its owner: lists of strings, each list behind its length.

A frame is four bytes of length (big-endian) and that many bytes of JSON, a list of strings. The first string says what
it is:

    owner to process                              process to owner
    ["call", id, function, args, kwargs]          ["ready"]                        the source of a session was executed
    ["returned", id, value]                       ["failed", type, message]        the source was not: why
    ["raised", id, type, message]                 ["returned", id, value]
                                                  ["raised", id, type, message]
                                                  ["callback", id, name, args, kwargs]

`args`, `kwargs` and `value` are texts of `sandbox/values.py`. The id of a call is drawn by the owner for that call, so
that an answer cannot be written in advance. Both ends import this, the confined one before each run: nothing heavy here.
"""

from __future__ import annotations

from sandbox.values import MAX_BYTES, NotPlainError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER_BYTES = 4
MAX_FRAME_BYTES = 3 * MAX_BYTES
"""Longest frame: a value's text is escaped once more in it, which at most doubles it."""
MAX_JOB_BYTES = 16 << 20
"""Longest job: `["program", source]` or `["session", source, callback...]`, which is no frame but a file of its own."""
NOT_DEFINED = "NotDefinedError"
"""Type of the exception of a call to a function that the source does not define."""


class FrameError(Exception):
    """What came is not a frame."""


def pack(*fields: str) -> bytes:
    """The bytes of a frame. Raises NotPlainError where it would be too long."""
    body = pack_body(fields, MAX_FRAME_BYTES)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def pack_body(fields: Iterable[str], max_bytes: int) -> bytes:
    """The bytes of a list of strings. Raises NotPlainError where they are more than `max_bytes`."""
    return encode(list(fields), max_bytes).encode("ascii")


def body_length(header: bytes) -> int:
    """How many bytes follow a header. Raises FrameError where they are more than a frame may have."""
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} are read")
    return length


def unpack(body: bytes, max_bytes: int = MAX_FRAME_BYTES) -> list[str]:
    """The fields of a frame without its header. Raises FrameError for anything but a list of strings."""
    try:
        fields = decode(body.decode("ascii"), max_bytes)
    except (UnicodeDecodeError, NotPlainError):
        raise FrameError("a frame that is not a list of strings") from None
    if not isinstance(fields, list) or not fields or not all(type(field) is str for field in fields):
        raise FrameError("a frame that is not a list of strings")
    return fields


def split(data: bytes) -> list[list[str]]:
    """The fields of each whole frame in `data`. Raises FrameError for what is not a frame."""
    found: list[list[str]] = []
    while len(data) >= HEADER_BYTES:
        end = HEADER_BYTES + body_length(data[:HEADER_BYTES])
        if end > len(data):
            break
        found.append(unpack(data[HEADER_BYTES:end]))
        data = data[end:]
    return found
