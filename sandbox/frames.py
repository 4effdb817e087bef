"""Messages between a confined process and its owner: lists of strings, each list behind its length.

A frame is four bytes of length (big-endian) and that many bytes: the lengths of the strings, a line's end, the strings
in UTF-8. The first string says what it is. Processes write theirs to a memory file that the owner reads when they have ended:

    ["failed", type, message]         the source raised, or does not compile
    ["wants", module]                 it asked for a module that a sealed process has not got
    ["denied"]                        what it raised is what the sandbox answers to whoever asks for what is not permitted
    ["ready"]                         a source with calls was executed; an outcome for each call follows:
    ["returned", number, value]       ["raised", number, type, message]

Test code, whose file begins with bytes that are no frame (`STATE_BYTES`), also says what it sees and how it ended:

    ["candidate raised", type, message]                            the first of each type, at once
    ["finished", executed, expected]
    ["broke", test, type, message, executed, expected]
    ["gone", why, executed, expected]                              the candidate answered no more, or with no answer

What the two processes of a trial say to each other is in `sandbox/inside/peer.py`.
"""

from __future__ import annotations

from sandbox.values import MAX_BYTES, BeyondBoundsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER_BYTES = 4
MAX_FRAME_BYTES = 3 * MAX_BYTES
"""Longest frame: a compiled program's, of which the text may be longer than it is itself."""
_MOST_LENGTHS = 128
"""Bytes in which the lengths of a frame's strings must end: whoever writes another one costs its reader nothing."""
WAITS, COMPUTES = b"w", b"c"
"""What the first byte of a checker's report is: whether the test code waits for the candidate."""
STATE_BYTES = 5
"""That byte, and how many calls it has made so far (big-endian): known even where the process is killed."""
NOT_DEFINED = "NotDefinedError"
"""Type of the exception of a call to a function that the source does not define."""


class FrameError(Exception):
    """What came is not a frame."""


def pack(*fields: str) -> bytes:
    """The bytes of a frame. Raises NotPlainError where it would be too long."""
    body = join_job(fields)
    if len(body) > MAX_FRAME_BYTES:
        raise BeyondBoundsError(f"a frame of {len(body)} bytes; at most {MAX_FRAME_BYTES} are written")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def join_job(fields: Iterable[str]) -> bytes:
    """A job, the list of strings that `sandbox/inside/runs.py` reads: their lengths, a line's end, their bytes."""
    parts = [field.encode("utf-8", "surrogatepass") for field in fields]
    return b" ".join(b"%d" % len(part) for part in parts) + b"\n" + b"".join(parts)


def split_job(data: bytes) -> list[str]:
    """The fields of a job. Only for what the owner has written: nothing is checked."""
    lengths, _, rest = data.partition(b"\n")
    fields: list[str] = []
    start = 0
    for length in map(int, lengths.split()):
        fields.append(rest[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    return fields


def body_length(header: bytes) -> int:
    """How many bytes follow a header. Raises FrameError where they are more than a frame may have."""
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} are read")
    return length


def unpack(body: bytes) -> list[str]:
    """The fields of a frame without its header. Raises FrameError for anything but a list of strings."""
    lengths = body[:_MOST_LENGTHS].partition(b"\n")[0]
    sizes = lengths.split(b" ")
    if not all(map(bytes.isdigit, sizes)) or sum(map(int, sizes)) != len(body) - len(lengths) - 1:
        raise FrameError("a frame that is not a list of strings")
    try:
        return split_job(body)
    except UnicodeDecodeError:
        raise FrameError("a frame that is not a list of strings") from None


def split(data: bytes) -> Iterator[list[str]]:
    """The fields of each whole frame in `data`, read as they are asked for. Raises FrameError for what is not a frame."""
    start = HEADER_BYTES
    while start <= len(data):
        end = start + body_length(data[start - HEADER_BYTES : start])
        if end > len(data):
            break
        yield unpack(data[start:end])
        start = end + HEADER_BYTES
