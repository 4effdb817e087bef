"""Executes the source, in the process that the source may do anything to.

Nothing here can be trusted once the source runs; the owner believes only what an honest program and a hostile one could
both say: values and exceptions of its own calls. See `sandbox/frames.py` for the messages.
"""

from __future__ import annotations

import builtins
import os
import sys

from sandbox import frames
from sandbox.values import BeyondBoundsError, NotPlainError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import NoReturn

_NOT_PLAIN = (NotPlainError.__name__, BeyondBoundsError.__name__)
_FILE = "program.py"
_MESSAGE_CHARACTERS = 2000


def prepare(job: bytes) -> list[str]:
    """Reads a job, `["program", source]` or `["session", source, callback...]`, and writes its source where it runs."""
    fields = frames.unpack(job, frames.MAX_JOB_BYTES)
    with open(_FILE, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(fields[1])
    return fields


def run(job: list[str], channel: int) -> None:
    """Executes a job that was prepared; returns at the end of a program, never from a session."""
    kind, source, *callbacks = job
    _hide_sandbox()
    if kind == "program":
        _run_program(source, channel)
    else:
        _serve_calls(source, callbacks, channel)


def _hide_sandbox() -> None:
    sys.argv = [_FILE]
    del sys.path[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == "sandbox"]:
        del sys.modules[name]
    os.environ.clear()


def _run_program(source: str, channel: int) -> None:
    module = _new_module("__main__")
    code = _compile(source, channel)
    try:
        exec(code, module.__dict__)  # noqa: S102
    except SystemExit:
        raise
    except BaseException as error:
        _fail(error, channel)


def _new_module(name: str) -> ModuleType:
    module = type(sys)(name)
    module.__file__ = _FILE
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    return module


def _compile(source: str, channel: int) -> CodeType:
    try:
        return compile(source, _FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # ValueError: a null character or half of a surrogate pair. The last two: nested too deep for the compiler.
        _write_frame(channel, "failed", "SyntaxError", _message(error))
        sys.excepthook(type(error), error.with_traceback(None), None)
        sys.exit(1)


def _fail(error: BaseException, channel: int) -> NoReturn:
    """Reports an exception that nobody caught, prints it as the interpreter does, and exits."""
    _write_frame(channel, "failed", _builtin_name(error), _message(error))
    traceback = error.__traceback__.tb_next if error.__traceback__ else None
    sys.excepthook(type(error), error.with_traceback(traceback), traceback)
    sys.exit(1)


def _serve_calls(source: str, callbacks: list[str], channel: int) -> NoReturn:
    module = _new_module("program")
    for name in callbacks:
        setattr(module, name, _callback(name, channel))
    code = _compile(source, channel)
    try:
        exec(code, module.__dict__)  # noqa: S102
    except BaseException as error:
        _fail(error, channel)
    _write_frame(channel, "ready")
    while True:
        _, identity, function, args, kwargs = _read_frame(channel)
        _write_frame(channel, *_answer(module, identity, function, args, kwargs))


def _answer(module: ModuleType, identity: str, function: str, args: str, kwargs: str) -> tuple[str, ...]:
    called = module.__dict__.get(function)
    if called is None:
        return "raised", identity, frames.NOT_DEFINED, f"the source does not define {function!r}"
    try:
        value = called(*decode(args), **decode(kwargs))  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
        sys.stdout.flush()
        return "returned", identity, encode(value)
    except NotPlainError as error:
        return "raised", identity, type(error).__name__, _message(error)
    except BaseException as error:
        return "raised", identity, _builtin_name(error), _message(error)


def _callback(name: str, channel: int) -> Callable[..., object]:
    """A function that asks the owner. Whatever the owner's side raised comes as a built-in `Exception`."""

    def callback(*args: object, **kwargs: object) -> object:
        _write_frame(channel, "callback", "", name, encode(list(args)), encode(kwargs))
        answer = _read_frame(channel)
        if answer[0] == "returned":
            return decode(answer[2])
        raise _exception(answer[2], answer[3])

    callback.__name__ = callback.__qualname__ = name
    return callback


def _exception(name: str, message: str) -> Exception:
    kind = TypeError if name in _NOT_PLAIN else getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(message)
        except TypeError:  # those that need more arguments, like UnicodeDecodeError
            pass
    return RuntimeError(f"{name}: {message}")


def _builtin_name(error: BaseException) -> str:
    """Name of the nearest built-in class of an exception, which means the same to the other side."""
    for kind in type(error).__mro__:
        if getattr(builtins, kind.__name__, None) is kind:
            return kind.__name__
    return "BaseException"


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_MESSAGE_CHARACTERS]
    except BaseException:
        return ""


def _write_frame(channel: int, *fields: str) -> None:
    data = memoryview(frames.pack(*fields))
    while data:
        data = data[os.write(channel, data) :]


def _read_frame(channel: int) -> list[str]:
    return frames.unpack(_read(channel, frames.body_length(_read(channel, frames.HEADER_BYTES))))


def _read(channel: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.read(channel, min(size, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
