"""Verdicts in a Redis that several replicas of a service share. It may go away, fill up or be wrong at any time.

A value is a checksum over the key and the verdict, then the verdict: what is cut off, garbled or belongs to another key
is no verdict. Writing happens behind the callers' backs, in batches, and is given up where Redis does not keep up.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress

from google.protobuf.message import DecodeError
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from protos.gen.assay.v1 import scoring_pb2
from services.server.logs import get_logger

PREFIX = b"assay:verdict:"
ANSWER_SECONDS = 0.1
"""A Redis that does not answer within this time is left alone for `REST_SECONDS`."""
REST_SECONDS = 5.0
MAX_WAITING = 20_000
"""Verdicts that wait to be written; more are not written."""
WRITTEN_AT_ONCE = 512
CHECKSUM_BYTES = 8

FAILURES = Counter("assay_verdict_cache_failures_total", "Times that the Redis of the verdict cache failed.", ["what"])


class SharedVerdicts:
    """Reads and writes verdicts, as the bytes of protobuf messages, by key, as far as Redis lets it. Belongs to the loop that runs."""

    def __init__(self, url: str, seconds: int) -> None:
        """url: a Redis URL that `services.queue.connection.check_redis_url` would take. seconds: an entry's life."""
        self._redis = Redis.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0)
        )
        self._seconds = seconds
        self._rests_until = {"read": 0.0, "write": 0.0}
        self._waiting: dict[bytes, bytes] = {}
        self._wake = asyncio.Event()
        self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Writes nothing more, and closes the connections."""
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer
        with suppress(RedisError, OSError):
            await self._redis.aclose()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What Redis has of these; nothing while it rests."""
        if self._rest_seconds("read") > 0:
            return {}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                values = await self._redis.mget([PREFIX + key for key in keys])
            answers = list(zip(keys, values, strict=True))
        except Exception as error:  # what is no Redis makes its client raise all kinds
            self._rest("read", error)
            return {}
        found = {}
        for key, value in answers:
            if not isinstance(value, bytes):
                continue
            verdict = _checked(key, value)
            if verdict is None:
                FAILURES.labels("garbled").inc()
            else:
                found[key] = verdict
        return found

    def put(self, key: bytes, verdict: bytes) -> None:
        """Has a verdict written soon."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting[key] = _checksum(key, verdict) + verdict
            self._wake.set()
        else:
            FAILURES.labels("dropped").inc()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._rest_seconds("write"))
            batch = [self._waiting.popitem() for _ in range(min(WRITTEN_AT_ONCE, len(self._waiting)))]
            if not self._waiting:
                self._wake.clear()
            try:
                async with asyncio.timeout(10 * ANSWER_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                    for key, value in batch:
                        pipeline.set(PREFIX + key, value, ex=self._seconds)
                    await pipeline.execute()
            except Exception as error:  # as in `get`
                self._rest("write", error)

    def _rest_seconds(self, what: str) -> float:
        return self._rests_until[what] - asyncio.get_running_loop().time()

    def _rest(self, what: str, error: Exception) -> None:
        """Reads or writes nothing for a while; not both, as a Redis that is full or a replica can still be read."""
        FAILURES.labels(what).inc()
        get_logger().warning("verdict cache rests", what=what, error=type(error).__name__, seconds=REST_SECONDS)
        self._rests_until[what] = asyncio.get_running_loop().time() + REST_SECONDS


def _checksum(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_BYTES, key=key).digest()


def _checked(key: bytes, value: bytes) -> bytes | None:
    """The bytes of the verdict in a value; None where there is none."""
    body = value[CHECKSUM_BYTES:]
    if not body or _checksum(key, body) != value[:CHECKSUM_BYTES]:
        return None
    try:
        scoring_pb2.Verdict.FromString(body)
    except DecodeError:
        return None
    return body
