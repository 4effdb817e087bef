"""The child's side of a worker pool: makes the object that computes and calls its methods, one at a time.

Started by `services.server.pool` as `python -m services.server.worker FD`. Calls run in the main thread, so that code
which needs it (signals, some C libraries) works. What the object prints goes to stderr: the socket is the only channel.
The process and all it started end when the socket closes, that is, when the parent is gone.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from services.server.errors import StartError
from services.server.frames import LENGTH, encode_frame
from services.server.logs import configure_logs, get_logger

SLACK_SECONDS = 5.0
"""A call that outstays its time by this much ends the process even if it holds the interpreter lock. The parent kills
sooner; this is for a parent that died meanwhile."""


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
    threading.Thread(target=_read, args=(connection, requests), name="requests", daemon=True).start()
    hello = requests.get()
    configure_logs(hello["factory"], hello["log_level"])
    try:
        target = make(hello["factory"], hello["kwargs"])
    except StartError as error:
        connection.sendall(encode_frame({"error": {"type": "StartError", "message": str(error)}}))
        return
    connection.sendall(encode_frame({"result": None}))
    while True:
        request = requests.get()
        faulthandler.dump_traceback_later(request["seconds"] + SLACK_SECONDS, exit=True)
        reply = _answer(target, request)
        faulthandler.cancel_dump_traceback_later()
        connection.sendall(reply)


def _answer(target: Any, request: dict[str, Any]) -> bytes:
    try:
        return encode_frame({"result": getattr(target, request["method"])(request["payload"])})
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: they end the call, not the worker
        # The exception's text may quote a user's data, so only where it was raised is logged.
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        get_logger().error("call raised", method=request["method"], exception=type(error).__name__, where=where)
        return encode_frame({"error": {"type": type(error).__name__, "message": str(error)}})


def _read(connection: socket.socket, requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Hands requests to the main thread; when the stream ends, however it ends, so does the process group, at once."""
    stream = connection.makefile("rb")
    try:
        while len(header := stream.read(LENGTH.size)) == LENGTH.size:
            requests.put(json.loads(stream.read(*LENGTH.unpack(header))))
    finally:  # a parent that dies with an unread answer makes it a reset, not an end of file
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)


if __name__ == "__main__":
    main()
