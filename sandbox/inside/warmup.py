"""Runs the harness's parts once before the server forks, so that no run pays for what the first use of something costs."""

from __future__ import annotations

import io
import linecache
import sys
import traceback

from sandbox import frames
from sandbox.inside import candidate, checker, harness, peer
from sandbox.values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_PROGRAM = """
import sys
from collections import Counter, defaultdict, deque
def main():
    words = "b a b".split()
    counts = Counter(words)
    print(*sorted(f"{word}={count:>3}" for word, count in counts.items()), sep="\\n", file=out)
class Point:
    def __init__(self, x): self.x = x
    def __repr__(self): return f"P({self.x!r})"
for i in range(12): main()
print([Point(i * i % 7) for i in range(5)], {1: 2.5}, {3}, (None, True), b"x", file=out)
try: 1 / 0
except ZeroDivisionError as error: print(error, file=out)
print("%d %s %.3f" % (1, "a", 2.0), sum(map(int, "1 2 3".split())), file=out)
"""


def warm_up() -> None:
    """Compiles and executes a small program, a traceback, a round of values, and questions of test code."""
    for _ in range(10):
        module = type(sys)("warm_up")
        module.__dict__["out"] = io.StringIO()
        exec(compile(_PROGRAM, harness.FILE, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        values = [1, 2.5, "text", None, True, [1], (2,), {"a": {3}}, b"x"]
        decode(encode(values))
        frames.unpack(frames.pack("call", encode(values))[frames.HEADER_BYTES :])
        _ask_some(module)
    try:
        raise ValueError("warm-up")
    except ValueError as error:
        traceback.print_exception(error, file=io.StringIO())
    linecache.clearcache()
    sys.stdout.flush()
    sys.stderr.flush()


def _ask_some(module: ModuleType) -> None:
    """Questions of test code, and their answers, without the socket between the two."""
    module.__dict__["double"] = lambda value: 2 * value
    objects, conversation, send, receive = candidate.Objects(module), checker.Conversation(), peer.send, peer.receive
    asked: list[tuple[str, str, str]] = []

    def answered() -> tuple[str, str, str]:
        kind, identity, text = asked.pop()
        kind, text = candidate.answer(objects, kind, text)
        return kind, identity, text

    peer.send, peer.receive = lambda *message: asked.append(message), answered
    for value in (2, "a", [1.5], (1, None)):
        conversation.answer("call", "id", encode(["double", [value], {}]), [value], {})
    peer.send, peer.receive = send, receive
