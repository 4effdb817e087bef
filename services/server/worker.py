"""The child's side of a worker pool: makes the object that computes and calls its methods.

Started by `services.server.pool` as `python -m services.server.worker FD`. Calls run in the main thread, so that code
which needs it (signals, some C libraries) works: one at a time, or in an asyncio loop where the object has `concurrency`.
What the object prints goes to stderr: the socket is the only channel. The process and all it started end when the socket
closes, that is, when the parent is gone.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import inspect
import json
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Mapping
from typing import Any

from services.server.call_time import set_extend
from services.server.counting import keep_counts, take_counts
from services.server.errors import StartError
from services.server.frames import LENGTH, encode_frame
from services.server.logs import configure_logs, get_logger

SLACK_SECONDS = 5.0
"""A call that outstays its time by this much ends the process even if it holds the interpreter lock. The parent kills
sooner; this is for a parent that died meanwhile."""
LONGEST_SECONDS = 1e9
"""A deadline of gRPC's may be thousands of years away, further than the clock that ends the process can count."""


def _load(path: str) -> Callable[..., Any]:
    """What `package.module:Name` names. Raises StartError."""
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise StartError(f"{path!r} is not an import path; write package.module:Name")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise StartError(
                f"{path!r}: there is no module {error.name!r}; it must be installed or lie in the working directory"
            ) from error
        raise StartError(f"{path!r}: importing {module_name} needs module {error.name!r}, which is missing") from error
    except BaseException as error:
        raise StartError(f"{path!r}: importing {module_name} raised {type(error).__name__}: {error}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise StartError(f"{path!r}: {module_name} has no attribute {attribute!r}")
        found = getattr(found, name)
    if not callable(found):
        raise StartError(f"{path!r} is a {type(found).__name__}; name a class or a function that makes the object")
    return found


def make(path: str, kwargs: Mapping[str, Any]) -> Any:
    """Calls what the path names with the keyword arguments. Raises StartError where that raises anything."""
    factory = _load(path)
    try:
        return factory(**kwargs)
    except StartError:
        raise
    except BaseException as error:
        traceback.print_exc()
        raise StartError(f"{path!r} raised {type(error).__name__}: {error}") from error


def main() -> None:
    """Serves calls until the socket closes."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    reader = _Reader(connection, requests.put)
    threading.Thread(target=reader.read, name="requests", daemon=True).start()
    hello = requests.get()
    configure_logs(hello["factory"], hello["log_level"])
    keep_counts()
    try:
        target = make(hello["factory"], hello["kwargs"])
    except StartError as error:
        connection.sendall(encode_frame({"call": 0, "error": {"type": "StartError", "message": str(error)}}))
        return
    concurrency: int | None = getattr(target, "concurrency", None)
    ready = encode_frame({"call": 0, "result": concurrency})
    if concurrency is None:
        connection.sendall(ready)
        _serve_one_by_one(target, connection, requests)
    else:
        asyncio.run(_serve_side_by_side(target, connection, reader, ready))


def _end_after(seconds: float) -> None:
    """Ends the process where a call outstays its time."""
    faulthandler.dump_traceback_later(min(seconds, LONGEST_SECONDS) + SLACK_SECONDS, exit=True)


def _serve_one_by_one(target: Any, connection: socket.socket, requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    while True:
        request = requests.get()
        _end_after(request["seconds"])
        try:
            result = getattr(target, request["method"])(request["payload"])
            if inspect.isgenerator(result):
                result = _send_parts(connection, request, result)
            reply = _reply(request, result)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: they end the call, not the worker
            reply = _failure(request, error)
        faulthandler.cancel_dump_traceback_later()
        connection.sendall(reply)


async def _serve_side_by_side(target: Any, connection: socket.socket, reader: _Reader, ready: bytes) -> None:
    """Answers calls as they end; a message `cancel` ends one."""
    loop = asyncio.get_running_loop()
    tasks: dict[int, asyncio.Task[bytes]] = {}
    ends: dict[int, float] = {}

    def take(message: dict[str, Any]) -> None:
        if "cancel" in message:
            if message["cancel"] in tasks:  # else its answer is on the way
                tasks[message["cancel"]].cancel()
            return
        ends[message["call"]] = loop.time() + message["seconds"]
        watch()
        set_extend(lambda seconds: more(message, seconds))
        task = tasks[message["call"]] = loop.create_task(_answer(target, message))
        task.add_done_callback(lambda _: answered(message))

    def watch() -> None:
        latest = max(ends.values())
        _end_after(max(0.0, latest - loop.time()))

    def more(request: dict[str, Any], seconds: float) -> None:
        ends[request["call"]] += seconds
        watch()
        connection.sendall(encode_frame({"call": request["call"], "more": seconds}))

    def answered(request: dict[str, Any]) -> None:
        task = tasks.pop(request["call"])
        del ends[request["call"]]
        if not tasks:
            faulthandler.cancel_dump_traceback_later()
        # One that is cancelled before it began has no chance to say so itself.
        connection.sendall(_failure(request, asyncio.CancelledError()) if task.cancelled() else task.result())

    reader.deliver = lambda message: loop.call_soon_threadsafe(take, message)
    connection.sendall(ready)
    await loop.create_future()


async def _answer(target: Any, request: Mapping[str, Any]) -> bytes:
    try:
        result = getattr(target, request["method"])(request["payload"])
        return _reply(request, await result if inspect.isawaitable(result) else result)
    except BaseException as error:  # whatever it is, it ends the call and not the loop
        return _failure(request, error)


def _send_parts(connection: socket.socket, request: Mapping[str, Any], parts: Generator[Any, Any, Any]) -> Any:
    """Sends each part at once; what the generator returns."""
    while True:
        try:
            part = next(parts)
        except StopIteration as end:
            return end.value
        connection.sendall(encode_frame({"call": request["call"], "part": part}))


def _reply(request: Mapping[str, Any], result: Any) -> bytes:
    return encode_frame({"call": request["call"], "result": result, **take_counts()})


def _failure(request: Mapping[str, Any], error: BaseException) -> bytes:
    if not isinstance(error, asyncio.CancelledError):
        # The exception's text may quote a user's data, so only where it was raised is logged.
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        get_logger().error("call raised", method=request["method"], exception=type(error).__name__, where=where)
    failure = {"type": type(error).__name__, "message": str(error)}
    return encode_frame({"call": request["call"], "error": failure, **take_counts()})


class _Reader:
    """Hands messages over; when the stream ends, however it ends, the process group ends with it, at once."""

    def __init__(self, connection: socket.socket, deliver: Callable[[dict[str, Any]], object]) -> None:
        self.deliver = deliver
        self._stream = connection.makefile("rb")

    def read(self) -> None:
        """Runs in a thread of its own, so that no computing holds it up."""
        try:
            while len(header := self._stream.read(LENGTH.size)) == LENGTH.size:
                self.deliver(json.loads(self._stream.read(*LENGTH.unpack(header))))
        finally:  # a parent that dies with an unread answer makes it a reset, not an end of file
            if os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os._exit(1)


if __name__ == "__main__":
    main()
