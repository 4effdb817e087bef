"""A real Redis for each test file that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from services.queue.connection import connect
from services.queue.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    """A client of an empty database."""
    with connect(redis_server.url) as client:
        client.flushall()
        yield client
