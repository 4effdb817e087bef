"""The jobs that a process can be given. A job is a list of strings:

["program", source]
["calls", source, most bytes of all values, function, args, kwargs, ...]
["candidate", source]
["checker", source, what is known of its compilation or "", number of names, name..., module...]
["compile", language, source]
["command", language, what `compile` gave]
"""

from __future__ import annotations

import gc

from sandbox import frames
from sandbox.inside import candidate, checker, harness
from sandbox.values import MAX_BYTES, NotPlainError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def run(job: list[str]) -> NoReturn:
    """Executes a job and ends the process."""
    gc.enable()
    harness.begin()
    try:
        RUNNERS[job[0]](*job[1:])
    except SystemExit as error:
        harness.finish(harness.exit_code(error))
    except BaseException as error:
        harness.fail(error)
    harness.finish(0)


def _run_program(source: str) -> None:
    exec(harness.compile_source(source), harness.new_module("__main__").__dict__)  # noqa: S102


def _run_calls(source: str, most_bytes: str, *calls: str) -> None:
    module = harness.new_module("program")
    exec(harness.compile_source(source), module.__dict__)  # noqa: S102
    harness.report("ready")
    left = int(most_bytes)
    for number in range(len(calls) // 3):
        function, args, kwargs = calls[3 * number : 3 * number + 3]
        answer = frames.pack(*_answer(module.__dict__.get(function), str(number), function, args, kwargs, left))
        left -= len(answer)
        harness.write(harness.REPORT, answer)


def _answer(called: Any, identity: str, name: str, args: str, kwargs: str, most_bytes: int) -> tuple[str, ...]:
    """The frame of a call's outcome."""
    if called is None:
        return "raised", identity, frames.NOT_DEFINED, f"the source does not define {name!r}"
    try:
        positional, named = decode(args), decode(kwargs)
        value = called(*positional, **named)  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
        return "returned", identity, encode(value, max(0, min(MAX_BYTES, most_bytes)))
    except NotPlainError as error:
        return "raised", identity, type(error).__name__, harness.message_of(error)
    except BaseException as error:
        return "raised", identity, harness.builtin_name(error), harness.message_of(error)


def _serve_candidate(source: str) -> None:
    module = harness.new_module("program")
    exec(harness.compile_source(source), module.__dict__)  # noqa: S102
    harness.report("ready")
    candidate.serve(module)


RUNNERS: dict[str, Any] = {
    "program": _run_program,
    "calls": _run_calls,
    "candidate": _serve_candidate,
    "checker": checker.run,
}
"""By the first string of a job. Processes of a kind that is given other jobs, too, add to it."""
