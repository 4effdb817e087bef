from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sandbox.results import Ending, Limits, RunResult, SessionEndedError
from sandbox.session import Callback, CallRaisedError, Session, plain_callback


def use(
    source: str,
    body: Callable[[Session], Awaitable[Any]],
    callbacks: dict[str, Callback] | None = None,
    **limits: float,
) -> Any:
    async def main() -> Any:
        async with Session(source, Limits(**limits), callbacks) as session:  # type: ignore[arg-type]
            return await body(session)

    return asyncio.run(main())


def ending_of(source: str, *args: object, **limits: float) -> RunResult:
    """The result of a session that must end in its source or in a call of `f`."""

    async def main() -> RunResult:
        try:
            async with Session(source, Limits(**limits)) as session:  # type: ignore[arg-type]
                value = await session.call("f", args)
        except SessionEndedError as error:
            return error.result
        raise AssertionError(f"f returned {value!r}")

    return asyncio.run(main())


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.0, "é\ud800", b"\xff", (1, [2]), {1: {2}}, {"a": frozenset()}, 1 << 5000, 1j]
)
def test_values_go_in_and_come_out_with_their_exact_types(value: Any) -> None:
    result = use("def f(x): return [type(x).__name__, x]", lambda session: session.call("f", [value]))
    assert result == [type(value).__name__, value]
    assert type(result[1]) is type(value)


def test_calls_share_the_modules_state_and_take_keywords() -> None:
    async def body(session: Session) -> list[object]:
        return [await session.call("f", [1], {"by": step}) for step in (1, 2)]

    assert use("seen = []\ndef f(x, *, by):\n    seen.append(x * by)\n    return seen", body) == [[1], [1, 2]]


def test_the_source_is_a_module_that_is_not_main() -> None:
    source = "def f(): return __name__\nif __name__ == '__main__': 1 / 0"
    assert use(source, lambda session: session.call("f")) == "program"


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("raise ValueError('no')", "ValueError", "no"),
        ("class Mine(KeyError): pass\n raise Mine('k')", "KeyError", "'k'"),
        ("raise SystemExit(0)", "SystemExit", "0"),
        ("raise GeneratorExit", "GeneratorExit", ""),
        ("class E(Exception):\n  def __str__(self): raise ValueError\n raise E", "Exception", ""),
        ("raise Exception('x' * 5000)", "Exception", "x" * 2000),
        ("return object()", "NotPlainError", "builtins.object is not a plain type"),
        ("class I(int): pass\n return I(1)", "NotPlainError", "program.f.<locals>.I is not a plain type"),
        ("return 'x' * (200 << 20)", "BeyondBoundsError", "the value is longer than 4194304 characters of text"),
        (
            "x = []\n for _ in range(10**5): x = [x]\n return x",
            "BeyondBoundsError",
            "the value is nested deeper than 64",
        ),
        (
            "x = [1]\n for _ in range(50): x = [x, x]\n return x",
            "BeyondBoundsError",
            "the value is longer than 4194304 characters of text",
        ),
        ("return f()", "RecursionError", "maximum recursion depth exceeded"),
    ],
)
def test_what_a_call_raises_is_told_and_the_session_lives_on(body: str, kind: str, message: str) -> None:
    async def calls(session: Session) -> object:
        with pytest.raises(CallRaisedError) as caught:
            await session.call("f")
        assert (caught.value.outcome.type, caught.value.outcome.message) == (kind, message)
        return await session.call("g")

    assert use(f"def f():\n {body}\ndef g(): return 'alive'", calls) == "alive"


def test_a_function_that_is_not_there() -> None:
    with pytest.raises(CallRaisedError, match="NotDefinedError: the source does not define 'f'"):
        use("g = 1", lambda session: session.call("f"))
    with pytest.raises(CallRaisedError, match="TypeError"):
        use("f = 1", lambda session: session.call("f"))


def test_callbacks_run_at_the_owner_and_their_exceptions_arrive_as_builtins() -> None:
    async def exits(_: str, __: str) -> Any:
        from sandbox.results import Raised

        return Raised("SystemExit", "0")

    def half(x: int) -> int:
        if x % 2:
            raise ValueError(f"{x} is odd")
        return x // 2

    source = """
def f(x):
    found = []
    for y in (x, x + 1):
        try: found.append(half(y))
        except ValueError as error: found.append(str(error))
    try: exits()
    except Exception as error: found.append(repr(error))
    try: half(object())
    except TypeError as error: found.append(str(error))
    return found
"""
    found = use(source, lambda session: session.call("f", [4]), {"half": plain_callback(half), "exits": exits})
    assert found == [2, "5 is odd", "RuntimeError('SystemExit: 0')", "builtins.object is not a plain type"]


def test_waiting_for_a_callback_is_not_the_sessions_time() -> None:
    async def slow(_: str, __: str) -> Any:
        await asyncio.sleep(1.5)
        from sandbox.results import Returned

        return Returned("1")

    assert use("def f(): return slow()", lambda session: session.call("f"), {"slow": slow}, wall_seconds=1.2) == 1


FORGE = """
import json, os
def forge(*fields):
    body = json.dumps(fields).encode()
    os.write(63, len(body).to_bytes(4, "big") + body)
"""


@pytest.mark.parametrize(
    ("source", "ending", "detail"),
    [
        ("x = (", Ending.SYNTAX_ERROR, "never closed"),
        ("1 / 0", Ending.RAISED, "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", Ending.RAISED, "SystemExit: 0"),
        ("import os; os._exit(0)", Ending.EXITED, ""),
        ("import os\ndef f(): os._exit(0)", Ending.EXITED, ""),
        ("import os\ndef f(): os.execv('/bin/true', ['true'])", Ending.EXITED, ""),
        ("import os\ndef f(): os.kill(os.getpid(), 9)", Ending.SIGNALLED, "SIGKILL"),
        ("def f(): return [0] * 10**9", None, "MemoryError"),
        ("def f():\n while True: print('x' * 1000)", Ending.OUTPUT_LIMIT, "bytes"),
        ("import time\ndef f(): time.sleep(60)", Ending.WALL_LIMIT, "took more than"),
        ("import time\ntime.sleep(60)", Ending.WALL_LIMIT, "took more than"),
        ("import os, time\nos.closerange(0, 1000)\ntime.sleep(60)", Ending.TAMPERED, "closed its channel"),
        ("import os, time\ndef f(): os.close(63); time.sleep(60)", Ending.TAMPERED, "closed its channel"),
        (FORGE + "forge('ready')\ndef f(): return 1", Ending.TAMPERED, "nobody had asked"),
        (FORGE + "forge('call')", Ending.TAMPERED, "before it was ready"),
        (FORGE + "forge('returned', '0', '1')", Ending.TAMPERED, "before it was ready"),
        (FORGE + "forge(1)", Ending.TAMPERED, "not a list of strings"),
        (FORGE + "os.write(63, b'\\xff' * 100)", Ending.TAMPERED, "frame of 4294967295 bytes"),
        (FORGE + "def f():\n forge('returned', '0', '1')\n return 1", Ending.TAMPERED, "nobody had asked"),
        (FORGE + "def f():\n forge('callback', '', 'expected', '[]', '{}')", Ending.TAMPERED, "not offered"),
    ],
)
def test_ways_to_end(
    source: str, ending: Ending | None, detail: str, token: float, survivors: Callable[[], list[str]]
) -> None:
    if ending is None:
        with pytest.raises(CallRaisedError, match=detail):
            use(source, lambda session: session.call("f"))
        return
    result = ending_of(source, cpu_seconds=token, wall_seconds=1.5)
    assert result.ending is ending, result
    assert detail in result.detail
    assert not survivors()


def test_an_infinite_loop_ends_at_the_cpu_limit() -> None:
    result = ending_of("def f():\n while True: pass", cpu_seconds=0.3, wall_seconds=30)
    assert result.ending is Ending.CPU_LIMIT
    assert 0.3 <= result.cpu_seconds < 2


def test_an_answer_that_is_not_a_value_is_tampering() -> None:
    source = (
        FORGE
        + """
def f():
    import sys
    forge('returned', sys._getframe(1).f_locals['identity'], '{"$object": 1}')
"""
    )
    assert ending_of(source).ending is Ending.TAMPERED


def test_a_call_may_have_a_limit_of_its_own() -> None:
    async def body(session: Session) -> RunResult:
        await session.call("f", [0.0], timeout_seconds=5)
        with pytest.raises(SessionEndedError) as caught:
            await session.call("f", [60.0], timeout_seconds=0.2)
        return caught.value.result

    result = use("import time\ndef f(x): time.sleep(x)", body)
    assert result.ending is Ending.WALL_LIMIT
    assert result.detail == "took more than 0.2 s"


def test_closing_tells_how_it_went_and_later_calls_say_that_it_is_closed() -> None:
    async def body(session: Session) -> RunResult:
        await session.call("f")
        result = await session.close()
        with pytest.raises(SessionEndedError, match="closed"):
            await session.call("f")
        return result

    result = use("def f(): print('said')", body)
    assert (result.ending, result.stdout) == (Ending.EXITED, b"said\n")


def test_a_session_that_died_between_calls_is_not_closed_in_good_order() -> None:
    async def body(session: Session) -> RunResult:
        assert await session.call("f") == 1
        await asyncio.sleep(0.3)
        return await session.close()

    source = "import os, threading\ndef f():\n threading.Timer(.05, os._exit, [5]).start()\n return 1"
    assert use(source, body).ending is Ending.RAISED


def test_cancelling_a_call_kills_the_session(token: float, survivors: Callable[[], list[str]]) -> None:
    async def body(session: Session) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.call("f")
        assert not survivors()
        with pytest.raises(SessionEndedError):
            await session.call("f")

    use("import time\ndef f(): time.sleep(60)", body, cpu_seconds=token)


def test_leaving_the_context_kills_what_the_source_started(token: float, survivors: Callable[[], list[str]]) -> None:
    source = "import os, time\ndef f():\n if os.fork() == 0:\n  os.setsid()\n  time.sleep(60)\n return 1"
    assert use(source, lambda session: session.call("f"), cpu_seconds=token) == 1
    assert not survivors()
