"""Celery's Redis transport, made to survive a restart of Redis while tasks run.

Kombu 5.7 puts unacknowledged messages back into their queue when a channel closes. Where the channel closes because
Redis went away, that step raises AttributeError and the worker dies with the tasks it runs; an acknowledgement that
comes after the reconnection ends the same way. Here a closed channel leaves its messages where they are (the
visibility time-out returns them) and can still acknowledge them.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    # kombu's name: whether closing the channel puts messages back
    do_restore = False

    _parameters: dict[str, Any] | None = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Where Redis is. Kept, for a closed channel has lost the connection that knows it."""
        if asynchronous:
            return super()._connparams(asynchronous=True)
        if self._parameters is None:
            self._parameters = super()._connparams()
        return dict(self._parameters)


class Transport(redis.Transport):
    Channel = Channel
