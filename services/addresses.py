"""What servers and clients must agree on: ports, addresses, the size of a message, the hint of a full service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

PORTS: Mapping[str, int] = MappingProxyType(
    {
        "math": 50051,
        "code": 50052,
        "safety": 50053,
        "coherence": 50054,
        "sandbox": 50055,
        "rollout": 50056,
        "jobs": 50057,
        "scorer": 50058,
        "judge": 50059,
    }
)
"""Default gRPC port by service name; `scorer` is a user's own scorer."""

SCORERS = ("math", "code", "safety", "coherence", "judge")
"""Those that come with the project."""

METRICS_PORT_OFFSET = 1000
"""A service's Prometheus metrics are at its gRPC port plus this, unless `--metrics-port` says otherwise."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest gRPC message in either direction, for every service and client."""

RETRY_AFTER = "retry-after-ms"
"""Key of the trailing metadata that goes with RESOURCE_EXHAUSTED: whole milliseconds to wait before another try."""


class WrongAddressError(ValueError):
    """What cannot be an address."""


class UnknownAddressError(LookupError):
    """A user's own scorer that nobody has said where it serves."""


def address_of(service: str) -> str:
    """`host:port` of a service: `ASSAY_<SERVICE>_ADDRESS`, or its default port on this machine.

    Raises UnknownAddressError for a service of no known port whose variable is not set.
    """
    variable = f"ASSAY_{service.upper()}_ADDRESS"
    address = os.environ.get(variable)
    if address:
        return address
    if service not in PORTS:
        raise UnknownAddressError(
            f"no address for {service!r}: {variable} is not set; start the services with "
            f"`assay up --scorer {service}=PKG.MOD:CLASS`, or set it for the workers"
        )
    return f"127.0.0.1:{PORTS[service]}"
