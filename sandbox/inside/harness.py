"""Executes the source, in the process that the source may do anything to.

Nothing here can be trusted once the source runs; the owner believes only what an honest program and a hostile one could
both say: output, values and exceptions. See `sandbox/frames.py` for the messages.
"""

from __future__ import annotations

import atexit
import builtins
import errno
import linecache
import os
import random
import sys
import threading
import traceback
from _thread import _count as count_threads
from contextlib import suppress

from sandbox import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any, NoReturn

REPORT, PEER = 63, 62
"""Where the process reports to its owner, and in a trial where the other process is: the last descriptors that it can
have."""
FILE = "program.py"
_MESSAGE_CHARACTERS = 2000
_ONLY_TREE = 0x400
"""`ast.PyCF_ONLY_AST`, without what importing `ast` costs a process that needs nothing else of it."""
_DENIALS = frozenset({errno.EPERM, errno.EROFS, errno.ENOSYS, errno.EACCES})
_default_hook = sys.excepthook
_run_pid = 0


def begin() -> None:
    """From here on this process is the run's own; what it forks reports nothing to the owner."""
    global _run_pid
    _run_pid = os.getpid()


def new_module(name: str) -> ModuleType:
    """An empty module that can be imported by its name."""
    module = type(sys)(name)
    module.__file__ = FILE
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    return module


def compile_source(source: str, mark: Callable[[ast.Module], object] | None = None) -> CodeType:
    """The source's code; its lines can be shown in tracebacks though there is no file. mark: changes its tree first."""
    try:
        tree: Any = source
        if mark is not None:
            tree = compile(source, FILE, "exec", _ONLY_TREE, dont_inherit=True)
            mark(tree)
        code = compile(tree, FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # ValueError: a null character or half of a surrogate pair. The last two: nested too deep for the compiler.
        report("failed", "SyntaxError", message_of(error))
        sys.excepthook(type(error), error.with_traceback(None), None)
        finish(1)
    remember_source(source)
    return code


def remember_source(source: str) -> None:
    """What a source needs besides being compiled."""
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    if "random" in source:
        # All children of a server start with its generator's state. Seeding costs a tenth of a run, and only those that
        # name the module can tell.
        random.seed(int.from_bytes(os.urandom(8), "little"))


def fail(error: BaseException) -> NoReturn:
    """Reports an exception that nobody caught, prints it as the interpreter does, and ends the process."""
    with suppress(OSError):  # the source may have closed the descriptor
        report("failed", builtin_name(error), message_of(error))
        if _is_denial(error):
            report("denied")
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
        trace = trace.tb_next
    error = error.with_traceback(trace)
    try:
        if sys.excepthook is _default_hook:
            traceback.print_exception(error)
        else:
            sys.excepthook(type(error), error, trace)
    except BaseException:
        finish(1)
    finish(1)


def _is_denial(error: BaseException) -> bool:
    """Whether an exception, or what it was raised from, says that something is not permitted here."""
    seen = 0
    cause: BaseException | None = error
    while cause is not None and seen < 10:
        if isinstance(cause, OSError) and cause.errno in _DENIALS:
            return True
        cause, seen = cause.__cause__ or cause.__context__, seen + 1
    return False


def finish(code: int) -> NoReturn:
    """Ends the process as the interpreter does: threads, exit functions, `__del__` of globals, output."""
    try:
        if count_threads():  # which leaves out the main one
            threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
        atexit._run_exitfuncs()
        main = sys.modules.get("__main__")
        if main is not None:
            main.__dict__.clear()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException:
        os._exit(code or 120)
    os._exit(code)


def exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    try:
        print(error.code, file=sys.stderr)
    except BaseException:
        finish(1)
    return 1


def builtin_name(error: BaseException) -> str:
    """Name of the nearest built-in class of an exception, which means the same to the other side."""
    for kind in type(error).__mro__:
        if getattr(builtins, kind.__name__, None) is kind:
            return kind.__name__
    return "BaseException"


def message_of(error: BaseException) -> str:
    """What an exception says; its `__str__` may be anybody's."""
    try:
        return str(error)[:_MESSAGE_CHARACTERS]
    except BaseException:
        return ""


def report(*fields: str) -> None:
    """Writes a frame to the owner. A child of the program's own has nothing to tell: how it ends is not how the run does."""
    if os.getpid() == _run_pid:
        write(REPORT, frames.pack(*fields))


def write(descriptor: int, data: bytes) -> None:
    """Writes all of it. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
