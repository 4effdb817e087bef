"""Channels to services, and gRPC's errors as exceptions that name the service and its address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from services.addresses import MAX_MESSAGE_BYTES, RETRY_AFTER, WrongAddressError

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.enable_retries", 0),  # clients retry themselves: they know deadlines and hints
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

_TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,  # a server that stops cancels what outlasts its grace; we cancel nothing
    }
)


class ServiceError(Exception):
    """A call failed in a way that another try will not mend. `code` is gRPC's status."""

    def __init__(self, service: str, address: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{service} service at {address}: {code.name}: {details}")
        self.service = service
        self.address = address
        self.code = code
        self.details = details


class ServiceUnavailableError(ServiceError):
    """The service cannot be reached, is full, or did not answer in time. Another try may succeed.

    `retry_after_seconds` is the hint of a full service, else None.
    """

    def __init__(
        self,
        service: str,
        address: str,
        code: grpc.StatusCode,
        details: str,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(service, address, code, details)
        self.retry_after_seconds = retry_after_seconds


def replicas(address: str) -> list[str]:
    """The addresses in one that may list several, commas between them.

    Raises WrongAddressError where one is empty or has no port.
    """
    addresses = [part.strip() for part in address.split(",")]
    if not all(addresses):
        raise WrongAddressError(
            f"address {address!r} has an empty part; write host:port, or several with commas between them"
        )
    for part in addresses:
        if ":" not in part:  # gRPC would take port 443
            raise WrongAddressError(f"address {part!r} has no port; write host:port")
    return addresses


def open_channel(address: str) -> grpc.Channel:
    """A channel to `host:port`, over all replicas where the name has several addresses. Connects at the first call."""
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)


def open_async_channel(address: str) -> grpc.aio.Channel:
    """The same for asyncio; belongs to the loop that runs."""
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


@contextmanager
def service_errors(service: str, address: str) -> Iterator[None]:
    """Turns the `grpc.RpcError` of a synchronous or asyncio call into ServiceError or ServiceUnavailableError."""
    try:
        yield
    except grpc.RpcError as error:
        raise _service_error(service, address, error) from error


def _service_error(service: str, address: str, error: Any) -> ServiceError:
    code: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    hint = dict(error.trailing_metadata() or ()).get(RETRY_AFTER)
    if code in _TRANSIENT:
        return ServiceUnavailableError(service, address, code, details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and hint is not None:  # without a hint a message was too large
        return ServiceUnavailableError(service, address, code, details, retry_after_seconds=int(hint) / 1000)
    return ServiceError(service, address, code, details)
