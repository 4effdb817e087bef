"""Calls of what a source defines: values by their exact types, exceptions by their built-in classes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.jobs import Call, Kind
from sandbox.results import Ending, Raised, Returned
from sandbox.values import decode, encode

if TYPE_CHECKING:
    from conftest import Box

F = Call("f")
EVERY_KIND = pytest.mark.parametrize("kind", list(Kind))


def args(*values: object) -> str:
    return encode(list(values))


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.0, "é\ud800", b"\xff", (1, [2]), {1: {2}}, {"a": frozenset()}, 1 << 5000, 1j]
)
def test_values_go_in_and_come_out_with_their_exact_types(box: Box, value: Any) -> None:
    (outcome,) = box.call("def f(x): return [type(x).__name__, x]", Call("f", args(value))).outcomes
    assert isinstance(outcome, Returned)
    found: Any = decode(outcome.value)
    assert found == [type(value).__name__, value]
    assert type(found[1]) is type(value)


@EVERY_KIND
def test_calls_share_the_modules_state_and_take_keywords(box: Box, kind: Kind) -> None:
    calls = [Call("f", args(1), encode({"by": step})) for step in (1, 2)]
    source = "seen = []\ndef f(x, *, by):\n    seen.append(x * by)\n    return seen"
    result = box.call(source, *calls, kind=kind)
    assert result.outcomes == (Returned("[1]"), Returned("[1,2]"))
    assert (result.ending, result.kind) == (Ending.EXITED, kind)


def test_runs_do_not_share_state(box: Box) -> None:
    source = "seen = []\ndef f():\n    seen.append(1)\n    return seen"
    assert [box.call(source, F).outcomes for _ in range(2)] == [(Returned("[1]"),)] * 2


def test_the_source_is_a_module_that_is_not_main(box: Box) -> None:
    result = box.call("def f(): return __name__\nif __name__ == '__main__': 1 / 0", F)
    assert result.outcomes == (Returned('"program"'),)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("raise ValueError('no')", "ValueError", "no"),
        ("class Mine(KeyError): pass\n raise Mine('k')", "KeyError", "'k'"),
        ("raise SystemExit(0)", "SystemExit", "0"),
        ("raise GeneratorExit", "GeneratorExit", ""),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("class E(Exception):\n  def __str__(self): raise ValueError\n raise E", "Exception", ""),
        ("class ValueError(BaseException): pass\n raise ValueError", "BaseException", ""),
        ("raise Exception('x' * 5000)", "Exception", "x" * 2000),
        ("return object()", "NotPlainError", "builtins.object is not a plain type"),
        ("class I(int): pass\n return I(1)", "NotPlainError", "program.f.<locals>.I is not a plain type"),
        ("return 'x' * (200 << 20)", "BeyondBoundsError", "the value is longer than 1048576 characters of text"),
        ("x = []\n for _ in range(10**5): x = [x]\n return x", "BeyondBoundsError", "the value is nested deeper than 64"),
        ("x = [1]\n for _ in range(50): x = [x, x]\n return x", "BeyondBoundsError", "the value is longer than 1048576 characters of text"),
        ("return f()", "RecursionError", "maximum recursion depth exceeded"),
        ("return [0] * 10**10", "MemoryError", ""),
    ],
)  # fmt: skip
def test_what_a_call_raises_is_told_and_the_next_is_made(box: Box, body: str, kind: str, message: str) -> None:
    result = box.call(f"def f():\n {body}\ndef g(): return 'alive'", F, Call("g"))
    assert result.outcomes == (Raised(kind, message), Returned('"alive"'))
    assert result.ending is Ending.EXITED


def test_a_function_that_is_not_there(box: Box) -> None:
    assert box.call("g = 1", F, Call("g")).outcomes == (
        Raised("NotDefinedError", "the source does not define 'f'"),
        Raised("TypeError", "'int' object is not callable"),
    )


@pytest.mark.parametrize("text", ["", "{", "[1", '{"$set":[[]]}', "1 2", '{"$object":"0"}'])
def test_arguments_that_are_no_values_are_an_exception(box: Box, text: str) -> None:
    (first, second) = box.call("def f(*a): return 1", Call("f", text), F).outcomes
    assert isinstance(first, Raised) and first.type in ("NotPlainError", "TypeError")
    assert second == Returned("1")


def test_the_values_of_all_calls_together_are_bounded(box: Box) -> None:
    result = box.call("def f(): return 'x' * 400", *[F] * 4, output_bytes=1000)
    assert result.outcomes[:2] == (Returned(json.dumps("x" * 400)),) * 2
    assert [outcome.type for outcome in result.outcomes[2:] if isinstance(outcome, Raised)] == ["BeyondBoundsError"] * 2
    many = box.call("def f(n): return n", *[Call("f", args(n)) for n in range(2000)])
    assert many.outcomes == tuple(Returned(str(n)) for n in range(2000))


def test_values_that_escape_badly_fit(box: Box) -> None:
    """A text is quoted once more in its frame."""
    result = box.call("def f(): return '\"\\\\' * 100_000", F)
    assert result.outcomes == (Returned(json.dumps('"\\' * 100_000)),)


FORGE = """
import os
def forge(*fields):
    body = " ".join(str(len(field)) for field in fields).encode() + b"\\n" + "".join(fields).encode()
    os.write(63, len(body).to_bytes(4, "big") + body)
"""


@pytest.mark.parametrize(
    ("source", "ending", "detail"),
    [
        ("x = (", Ending.SYNTAX_ERROR, "never closed"),
        ("1 / 0", Ending.RAISED, "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", Ending.EXITED, ""),
        ("import os; os._exit(0)", Ending.EXITED, ""),
        ("import os\ndef f(): os._exit(0)", Ending.EXITED, ""),
        ("import os\ndef f(): os._exit(3)", Ending.RAISED, "exit code 3"),
        ("import os\ndef f(): os.kill(os.getpid(), 9)", Ending.SIGNALLED, "SIGKILL"),
        ("def f():\n while True: print('x' * 1000)", Ending.OUTPUT_LIMIT, "bytes"),
        ("import time\ndef f(): time.sleep(60)", Ending.WALL_LIMIT, "ran for more than"),
        ("import time\ntime.sleep(60)", Ending.WALL_LIMIT, "ran for more than"),
        ("def f():\n while True: pass", Ending.CPU_LIMIT, "CPU"),
        ("import os\ndef f(): os.close(63)", Ending.RAISED, "exit code 1"),
        (FORGE + "forge('returned', '0', '1')", Ending.TAMPERED, "own file"),
        (FORGE + "forge('ready')\nforge('returned', '1', '1')", Ending.TAMPERED, "own file"),
        (FORGE + "forge('whatever')", Ending.TAMPERED, "own file"),
        ("import os\nos.write(63, b'\\0\\0\\0\\3[1]')", Ending.TAMPERED, "not a list of strings"),
        (FORGE + "os.write(63, b'\\xff' * 100)", Ending.TAMPERED, "frame of 4294967295 bytes"),
        (FORGE + "def f():\n forge('returned', '0', '1')\n return 1", Ending.TAMPERED, "own file"),
        ("import ctypes\ndef f(): ctypes.CDLL(None).unshare(0)", Ending.TAMPERED, "system call"),
    ],
)
def test_calls_that_do_not_come_to_their_end(box: Box, source: str, ending: Ending, detail: str) -> None:
    wall = 0.5 if ending is Ending.WALL_LIMIT else 60.0
    result = box.call(source, F, F, cpu_seconds=0.3, wall_seconds=wall, output_bytes=5000)
    assert result.ending is ending, result
    assert detail in result.detail
    assert not any(isinstance(outcome, Returned) for outcome in result.outcomes[1:])


def test_what_was_answered_before_the_end_is_kept(box: Box) -> None:
    source = "import os\ndef f(n):\n if n: os._exit(5)\n return 'first'"
    result = box.call(source, Call("f", args(0)), Call("f", args(1)), Call("f", args(0)))
    assert (result.ending, result.outcomes) == (Ending.RAISED, (Returned('"first"'),))


def test_what_is_printed_is_beside_the_values(box: Box) -> None:
    result = box.call("def f(): print('said')", F)
    assert (result.outcomes, result.stdout) == ((Returned("null"),), b"said\n")


def test_a_thousand_calls_in_one_process(box: Box) -> None:
    source = "import os\ndef f(): return os.getpid()"
    assert len(set(box.call(source, *[F] * 1000).outcomes)) == 1
