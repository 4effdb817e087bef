"""Leases: who may work on a key now, with a token that grows, so that whoever lost the lease cannot write any more.

Celery may deliver a task twice. The second delivery finds the lease held and stands by. A holder that dies stops
renewing; after the lease's time somebody else takes it and gets a larger token (a fencing token: Kleppmann, "How to do
distributed locking", 2016). Writes that matter carry the token and are refused once a larger one was given out.
Time is that of the Redis server. A lease alone does not guarantee that only one process computes; the token guarantees
that only one writes.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from redis import Redis
from redis.exceptions import RedisError

_TOKENS = "assay:lease-tokens"
_FORGET_SECONDS = 3600

_CLOCK = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

# a lease is a hash {token, until}; it outlives its time so that a late renewal can see whether somebody else came
_ACQUIRE = (
    _CLOCK
    + """
local held_until = redis.call('HGET', KEYS[1], 'until')
if held_until and tonumber(held_until) > now then return false end
local token = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], 'token', token, 'until', now + ARGV[1])
redis.call('HDEL', KEYS[1], 'ticket')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return token
"""
)
_RENEW = (
    _CLOCK
    + """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'until', now + ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
)
_RELEASE = """
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then redis.call('HSET', KEYS[1], 'until', 0) end
"""
_STAND_BY = """
local standing = redis.call('HGET', KEYS[1], 'ticket')
if not standing or standing == ARGV[1] then redis.call('HSET', KEYS[1], 'ticket', ARGV[2]) end
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that this process was given. `lost` is set once somebody else holds it."""

    key: str
    token: int
    lost: threading.Event


class Leases:
    """Gives out leases kept in Redis. Thread-safe. Methods raise redis-py's errors while Redis is away."""

    def __init__(self, redis: Redis, seconds: float = 10.0) -> None:
        """`seconds`: how long a lease lasts after its last renewal; renewed every third of it."""
        self._redis = redis
        self._seconds = seconds
        self._acquire = redis.register_script(_ACQUIRE)
        self._renew = redis.register_script(_RENEW)
        self._release = redis.register_script(_RELEASE)
        self._stand_by = redis.register_script(_STAND_BY)

    @property
    def _milliseconds(self) -> int:
        return round(self._seconds * 1000)

    def acquire(self, key: str) -> int | None:
        """A token larger than every token given out before, or None while somebody holds the lease."""
        return self._acquire(keys=[_name(key), _TOKENS], args=[self._milliseconds, _FORGET_SECONDS])

    def renew(self, key: str, token: int) -> bool:
        """Holds the lease for longer, also a lease that ran out and that nobody took. False: somebody took it."""
        return bool(self._renew(keys=[_name(key)], args=[self._milliseconds, _FORGET_SECONDS, token]))

    def release(self, key: str, token: int) -> None:
        """Gives the lease back. Nothing happens where it is no longer ours."""
        self._release(keys=[_name(key)], args=[token])

    def check(self, key: str, token: int) -> bool:
        """Whether nobody was given the lease after this token."""
        return self._redis.hget(_name(key), "token") == str(token).encode()

    def stand_by(self, key: str, ticket: str, send: Callable[[str], None]) -> bool:
        """For a delivery that finds the lease held: sends its message again, so that it can take over one day.

        Of all the copies that a message may get, one goes on, the one with the ticket sent last; without that their
        number could double each time that a copy is delivered twice. `ticket`: what the message came with, empty for
        one that never stood by. `send`: sends a copy with a new ticket. Returns whether this delivery goes on.
        """
        standing = self._redis.hget(_name(key), "ticket")
        if standing not in (None, ticket.encode()):
            return False
        fresh = uuid.uuid4().hex
        # sent before it is noted: dying in between leaves a copy that is not noted, and this message comes again
        send(fresh)
        self._stand_by(keys=[_name(key)], args=[ticket, fresh])
        return True

    @contextmanager
    def hold(self, key: str) -> Iterator[Lease | None]:
        """Holds the lease for the length of the block, renewed by a thread; None where somebody else holds it."""
        token = self.acquire(key)
        if token is None:
            yield None
            return
        lease, done = Lease(key, token, threading.Event()), threading.Event()
        renewal = threading.Thread(target=self._keep, args=(lease, done), name=f"lease {key}", daemon=True)
        renewal.start()
        try:
            yield lease
        finally:
            done.set()
            renewal.join()
            self._give_back(lease)

    def _keep(self, lease: Lease, done: threading.Event) -> None:
        while not done.wait(self._seconds / 3):
            try:
                if not self.renew(lease.key, lease.token):
                    log.warning("lease lost", key=lease.key, token=lease.token)
                    lease.lost.set()
                    return
            except RedisError as error:
                # nobody else can take the lease while Redis is away; the next renewal tells
                log.warning("lease not renewed", key=lease.key, reason=type(error).__name__)

    def _give_back(self, lease: Lease) -> None:
        try:
            self.release(lease.key, lease.token)
        except RedisError as error:
            log.warning("lease not given back, it will run out", key=lease.key, reason=type(error).__name__)


def _name(key: str) -> str:
    return f"assay:lease:{key}"
