"""What stands before the application: the largest body, the token, and the count of requests."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from services.addresses import MAX_MESSAGE_BYTES
from services.server.metrics import REQUEST_SECONDS, REQUESTS, REQUESTS_IN_FLIGHT

MAX_BODY_BYTES = MAX_MESSAGE_BYTES
MAX_READ_BYTES = 4 * MAX_BODY_BYTES
"""Of a body that is too large, what is read and thrown away before the connection is closed."""
TOO_LARGE = f"the body is too large; it may have {MAX_BODY_BYTES} bytes"
MAX_HELD_BYTES = 16 * MAX_BODY_BYTES
"""Bodies of all requests under way; beyond it others are refused."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Gate:
    """An ASGI application around another one."""

    def __init__(self, app: App, token: str, paths: frozenset[str]) -> None:
        """
        token: what callers of `/v1/` must bring; none where it is empty.
        paths: those that are counted by name.
        """
        self._app = app
        self._token = f"Bearer {token}".encode() if token else b""
        self._paths = paths
        self._held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        method = scope["path"] if scope["path"] in self._paths else "other"
        status = 499  # where nothing is sent: the caller has gone

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        REQUESTS_IN_FLIGHT.labels(method).inc()
        try:
            await self._admit(scope, receive, counting)
        finally:
            REQUESTS_IN_FLIGHT.labels(method).dec()
            REQUESTS.labels(method, str(status)).inc()
            REQUEST_SECONDS.labels(method).observe(time.perf_counter() - began)
        return None

    def _may_enter(self, authorization: bytes) -> bool:
        return not self._token or hmac.compare_digest(authorization, self._token)

    async def _admit(self, scope: Message, receive: Receive, send: Send) -> None:
        """Lets a request in that has the token, with its body read."""
        headers = dict(scope["headers"])
        if scope["path"].startswith("/v1/") and not self._may_enter(headers.get(b"authorization", b"")):
            return await refuse(send, 401, "the request needs the header `Authorization: Bearer TOKEN`")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_READ_BYTES:
            return await refuse(send, 413, TOO_LARGE)
        body = bytearray()
        read, more = 0, True
        try:
            while more and read <= MAX_READ_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                read += len(part)
                more = message.get("more_body", False)
                if read > MAX_BODY_BYTES:
                    continue  # an answer is only read by those who have sent all
                if self._held_bytes + len(part) > MAX_HELD_BYTES:
                    return await refuse(send, 429, "the bodies of the requests under way are too large together")
                body += part
                self._held_bytes += len(part)
            if read > MAX_BODY_BYTES:
                return await refuse(send, 413, TOO_LARGE)
            return await self._app(scope, _replay(bytes(body), receive), send)
        finally:
            self._held_bytes -= len(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then what else the connection says."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def refuse(send: Send, status: int, message: str) -> None:
    """An error as JSON; the connection is closed, as the rest of the body may still come."""
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
