"""Celery's Redis transport, made to survive a restart of Redis while tasks run.

With kombu 5.7 a worker that loses Redis while it holds unacknowledged messages dies: the closing channel wants to put
them back, and running tasks want to acknowledge them later, over a connection whose address is forgotten by then
(AttributeError). Here a channel remembers the address.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    _parameters: dict[str, Any] | None = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Kombu's name: the arguments of a connection."""
        if asynchronous:
            return super()._connparams(asynchronous=True)
        if self._parameters is None:
            self._parameters = super()._connparams()
        return dict(self._parameters)


class Transport(redis.Transport):
    Channel = Channel
