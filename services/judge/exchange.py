"""One HTTP exchange with an OpenAI-compatible endpoint: bounded, timed, counted, and told apart by whether it may be repeated."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from services.judge.answers import Completion, NoCompletionError, read_completion
from services.judge.endpoint_metrics import COST, REQUESTS, SECONDS, TOKENS
from services.judge.pauses import retry_after
from services.judge.settings import Settings

MAX_BODY_BYTES = 4 * 1024 * 1024
PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may be others a moment later."""


class RefusedError(Exception):
    """The endpoint answered with a status that will be the same the next time."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status)
        self.status = status
        self.code = code


class PassingError(Exception):
    """The request may do better in a moment."""

    def __init__(self, after: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(after)
        self.after = after
        self.retry_after_seconds = retry_after_seconds


class Exchange:
    """A bounded number of connections to one endpoint."""

    def __init__(self, settings: Settings) -> None:
        """Raises StartError where the key is not there."""
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.concurrency)
        self._client = _client(settings)
        for library in ("httpx2", "httpcore2"):  # else a line for each request, at level debug with the answer's headers
            logging.getLogger(library).setLevel(logging.WARNING)

    async def post(self, content: bytes) -> Completion:
        """Makes a request once. Raises PassingError, RefusedError."""
        async with self._turns:
            return await self._request(content)

    async def _request(self, content: bytes) -> Completion:
        with _measured() as outcome:
            try:
                async with asyncio.timeout(self._settings.request_seconds):  # the client's own is for each part of an answer
                    status, headers, body = await self._post(content)
            except (httpx2.TimeoutException, TimeoutError):
                outcome.name = "timeout"
                raise PassingError("timeout") from None
            except (httpx2.TransportError, httpx2.DecodingError):
                outcome.name = "connection"
                raise PassingError("connection") from None
            outcome.name = str(status)
        if status in PASSING or (status >= 500 and status != 501):
            raise PassingError(str(status), retry_after(headers.get("retry-after")))
        if status != 200:
            raise RefusedError(status, _code(body))
        try:
            completion = read_completion(body)
        except NoCompletionError:
            raise PassingError("garbage") from None
        self._count(completion)
        return completion

    async def _post(self, content: bytes) -> tuple[int, httpx2.Headers, bytes]:
        """Raises httpx2.TransportError, and DecodingError for a body that is too large or cannot be unpacked."""
        async with self._client.stream("POST", self._settings.url, content=content) as response:
            body = b""
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise httpx2.DecodingError("the body is too large")
            return response.status_code, response.headers, body

    def _count(self, completion: Completion) -> None:
        settings = self._settings
        TOKENS.add(completion.prompt_tokens, kind="prompt")
        TOKENS.add(completion.completion_tokens, kind="completion")
        prompt, written = completion.prompt_tokens, completion.completion_tokens
        COST.add((prompt * settings.prompt_price + written * settings.completion_price) / 1e6)


def _client(settings: Settings) -> httpx2.AsyncClient:
    """Raises StartError where the key is not there."""
    return httpx2.AsyncClient(
        headers={"Content-Type": "application/json", **settings.headers()},
        timeout=httpx2.Timeout(settings.request_seconds, connect=settings.connect_seconds, pool=None),
        # The semaphore bounds them: what waits in the pool's own queue would count as the endpoint's time.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=settings.concurrency),
    )


def _code(body: bytes) -> str:
    """The error's code or type, where it is a plain word: everything else could quote what was sent."""
    try:
        error = json.loads(body)["error"]
        words = [error.get("code"), error.get("type")]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""
    return next((word for word in words if isinstance(word, str) and re.fullmatch(r"[A-Za-z_]{1,40}", word)), "")


@dataclass
class _Outcome:
    name: str = "cancelled"


@contextmanager
def _measured() -> Iterator[_Outcome]:
    """Counts a request by what became of it; times it where there was an answer."""
    outcome, start = _Outcome(), time.monotonic()
    try:
        yield outcome
    finally:
        REQUESTS.add(outcome=outcome.name)
        if outcome.name.isdigit():
            SECONDS.observe(time.monotonic() - start)
