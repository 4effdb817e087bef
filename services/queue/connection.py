"""Connections to Redis: where it is, how long to wait for it, and how its address is shown without its password."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError
from redis.retry import Retry

UNREACHABLE = (ConnectionError, TimeoutError, BusyLoadingError)
"""What redis-py raises where Redis is away or still loads its data."""

_LONGEST_PAUSE_SECONDS = 0.5


class RedisAddressError(ValueError):
    """`REDIS_URL` is missing or not an address of Redis. The message never holds the URL's password."""


def redis_url() -> str:
    """`REDIS_URL` of this process. Raises RedisAddressError where it is missing or malformed."""
    url = os.environ.get("REDIS_URL", "")
    if not url:
        raise RedisAddressError("REDIS_URL is not set: start everything with `assay up`, or name a Redis server")
    check_redis_url(url)
    return url


def check_redis_url(url: str) -> None:
    """Raises RedisAddressError for anything but `redis://` or `rediss://` with a host, a port and a database number."""
    # urlsplit's own message may quote a part of the password, hence `from None`
    try:
        parts = urlsplit(url)
        port, host, database = parts.port, parts.hostname, parts.path.lstrip("/")
    except ValueError:
        raise RedisAddressError("REDIS_URL is malformed: expected redis://[:password@]host:port/database") from None
    if parts.scheme not in ("redis", "rediss"):
        raise RedisAddressError("REDIS_URL must begin with redis:// or rediss://")
    if not host or port == 0:
        raise RedisAddressError("REDIS_URL names no host or port 0: expected redis://[:password@]host:port/database")
    if database and not database.isdecimal():
        raise RedisAddressError("REDIS_URL must end with a database number, as in redis://host:6379/0")


def shown(url: str) -> str:
    """The URL for a log line: scheme, host, port and database, without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}/{parts.path.lstrip('/') or 0}"


def connect(url: str, patience_seconds: float = 30.0) -> Redis:
    """A thread-safe client that answers in bytes and repeats a command for about `patience_seconds` while Redis is away.

    A command whose answer was lost is sent again: callers send only what may be done twice. Nothing is sent here; the
    first command connects.
    """
    retries = max(1, round(patience_seconds / _LONGEST_PAUSE_SECONDS))
    return Redis.from_url(
        url,
        retry=Retry(ExponentialBackoff(cap=_LONGEST_PAUSE_SECONDS, base=0.05), retries, UNREACHABLE),
        socket_connect_timeout=5.0,
        socket_timeout=30.0,
        health_check_interval=30,
    )
