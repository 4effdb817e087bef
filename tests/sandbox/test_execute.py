from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.execute import Program, execute
from sandbox.results import Ending, Limits, RunResult


def run(source: str, stdin: bytes = b"", **limits: float) -> RunResult:
    return asyncio.run(execute(Program(source, stdin), Limits(**limits)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "stdin", "stdout"),
    [
        ("print(input()[::-1])", b"abc\n", b"cba\n"),
        ("import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))", b"1 " * 100_000, b"100000\n"),
        ("import sys\nsys.stdout.buffer.write(bytes(range(256)))", b"", bytes(range(256))),
        ("print('é', end='')", b"", "é".encode()),
        ("print('a')\nimport sys\nsys.exit()", b"", b"a\n"),
        ("import threading\nthreading.Timer(0.05, lambda: print('late')).start()", b"", b"late\n"),
        ("import atexit\natexit.register(print, 'bye')", b"", b"bye\n"),
        ("print(__name__, __import__('sys').argv, open(__file__).read()[:5])", b"", b"__main__ ['program.py'] print\n"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))", b"", b"P(x=1)\n"),
        (
            "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write('q'); f.seek(0); print(f.read())",
            b"",
            b"q\n",
        ),
        ("import subprocess\nprint(subprocess.run(['echo', 'hi'], capture_output=True).stdout)", b"", b"b'hi\\n'\n"),
        (
            "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print('rang'))\nsignal.setitimer(0, .01)\nsignal.pause()",
            b"",
            b"rang\n",
        ),
        ("print(sum(x for x in [1]), locals() is globals())", b"", b"1 True\n"),
    ],
)
def test_programs_do_what_they_do_elsewhere(source: str, stdin: bytes, stdout: bytes) -> None:
    result = run(source, stdin)
    assert (result.ending, result.stdout, result.exit_code) == (Ending.EXITED, stdout, 0), result
    assert 0 < result.cpu_seconds < 5
    assert result.wall_seconds > 0
    assert result.peak_memory_bytes > 1 << 20


@pytest.mark.parametrize(
    ("source", "ending", "exit_code", "detail"),
    [
        ("x = (", Ending.SYNTAX_ERROR, 1, "never closed"),
        ("x = 'a\0b'", Ending.SYNTAX_ERROR, 1, "null"),
        ("x = '\ud800'", Ending.SYNTAX_ERROR, 1, "surrogates"),
        ("-" * 50_000 + "1", Ending.SYNTAX_ERROR, 1, ""),
        ("raise ValueError('no')", Ending.RAISED, 1, "ValueError: no"),
        ("class Mine(KeyError): pass\nraise Mine('k')", Ending.RAISED, 1, "KeyError: 'k'"),
        ("raise KeyboardInterrupt", Ending.RAISED, 1, "KeyboardInterrupt"),
        ("import sys; sys.exit(3)", Ending.RAISED, 3, "exit code 3"),
        ("import sys; sys.exit('text')", Ending.RAISED, 1, "exit code 1"),
        ("import os; os._exit(7)", Ending.RAISED, 7, "exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", Ending.SIGNALLED, -9, "SIGKILL"),
        ("import os; os.kill(os.getpid(), 15)", Ending.SIGNALLED, -15, "SIGTERM"),
        ("import os; os.abort()", Ending.SIGNALLED, -6, "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", Ending.SIGNALLED, -11, "SIGSEGV"),
        ("x = [0] * 10**9", Ending.MEMORY_LIMIT, 1, "memory"),
        ("raise MemoryError", Ending.MEMORY_LIMIT, 1, "memory"),
    ],
)
def test_endings(source: str, ending: Ending, exit_code: int, detail: str) -> None:
    result = run(source)
    assert (result.ending, result.exit_code) == (ending, exit_code), result
    assert detail in result.detail


def test_uncaught_exceptions_are_printed_as_the_interpreter_prints_them() -> None:
    stderr = run("def f():\n    return 1 / 0\n\nf()").stderr.decode()
    assert stderr.startswith('Traceback (most recent call last):\n  File "program.py", line 4, in <module>\n    f()\n')
    assert stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "sandbox" not in stderr


def test_a_program_whose_exception_hook_exits_with_0_has_still_raised() -> None:
    result = run("import os, sys\nsys.excepthook = lambda *_: os._exit(0)\n1 / 0")
    assert result.ending is Ending.RAISED


def test_the_cpu_limit_holds_for_the_whole_tree(token: float, survivors: Callable[[], list[str]]) -> None:
    """The kernel's own limit, of whole seconds for each process, would let these eight have 24 s."""
    source = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    result = run(source, cpu_seconds=token + 0.3, wall_seconds=60)
    assert result.ending is Ending.CPU_LIMIT, result
    assert token + 0.2 <= result.cpu_seconds < 8
    assert not survivors()


def test_an_endless_loop_ends_at_the_cpu_limit() -> None:
    result = run("while True: pass", cpu_seconds=0.3, wall_seconds=60)
    assert result.ending is Ending.CPU_LIMIT, result
    assert 0.2 <= result.cpu_seconds < 1.9


def test_sleeping_ends_at_the_wall_limit_and_costs_no_cpu_time() -> None:
    result = run("import time\ntime.sleep(60)", wall_seconds=0.3)
    assert result.ending is Ending.WALL_LIMIT
    assert 0.3 <= result.wall_seconds < 10
    assert result.cpu_seconds < 0.3


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_is_kept_up_to_the_limit_and_no_further(stream: str) -> None:
    write = f"import sys\nsys.{stream}.write('x' * 1000)"
    assert run(write, output_bytes=1000).ending is Ending.EXITED
    for source in (write + f"\nsys.{stream}.write('x')", f"import sys\nwhile True: sys.{stream}.write('x' * 1000)"):
        result = run(source, output_bytes=1000)
        assert result.ending is Ending.OUTPUT_LIMIT
        assert getattr(result, stream) == b"x" * 1000


def test_the_environment_is_empty_and_the_directory_is_the_programs_own(
    scratch_directories: Callable[[], list[str]],
) -> None:
    source = "import os\nprint(dict(os.environ), os.listdir())\nopen('left', 'w').write('x')\nos.mkdir('folder')"
    assert run(source).stdout == b"{} ['program.py']\n"
    assert run(source).stdout == b"{} ['program.py']\n"
    assert scratch_directories() == []


def test_standard_input_cannot_be_changed() -> None:
    result = run("import os\ntry:\n    os.ftruncate(0, 0)\nexcept OSError: print(input())", b"kept\n")
    assert result.stdout == b"kept\n"


def test_cancelling_kills_the_run(token: float, survivors: Callable[[], list[str]]) -> None:
    async def main() -> None:
        task = asyncio.create_task(execute(Program("import time\ntime.sleep(60)"), Limits(cpu_seconds=token)))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not survivors()


def test_runs_side_by_side_do_not_meet() -> None:
    async def main() -> list[RunResult]:
        programs = [Program(f"open('mine', 'x').write('{i}')\nprint(open('mine').read())") for i in range(8)]
        return await asyncio.gather(*map(execute, programs))

    assert [result.stdout for result in asyncio.run(main())] == [f"{i}\n".encode() for i in range(8)]


def test_runs_leave_no_descriptors_behind() -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> tuple[int, int]:
        await execute(Program("pass"))
        before = open_descriptors()
        for source in ("pass", "1/0", "print('x' * 10**7)"):
            await execute(Program(source))
        return before, open_descriptors()

    before, after = asyncio.run(main())
    assert after == before


@pytest.mark.parametrize("first_free", range(45, 65))
def test_any_numbers_of_descriptors_do(first_free: int) -> None:
    """The program's channel has a number of its own, which the owner's descriptors may have as well."""
    fillers = []
    while not fillers or fillers[-1] < first_free - 1:
        fillers.append(os.open(os.devnull, os.O_RDONLY))
    try:
        raised = run("raise ValueError('told')")
    finally:
        for descriptor in fillers:
            os.close(descriptor)
    assert (raised.ending, raised.detail) == (Ending.RAISED, "ValueError: told")


@pytest.mark.parametrize("field", ["cpu_seconds", "wall_seconds", "memory_bytes", "output_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_impossible_limits_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} is {value}"):
        Limits(**{field: value})  # type: ignore[arg-type]


def test_a_source_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="1048577 characters"):
        run("#" * ((1 << 20) + 1))
