"""The flags that every service has. Each flag can be given as an environment variable as well."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from services.addresses import METRICS_PORT_OFFSET, PORTS
from services.server.logs import LEVELS

Number = TypeVar("Number", int, float)


class ServiceParser(argparse.ArgumentParser):
    """A parser whose `--some-flag` falls back to the environment's `ASSAY_<SERVICE>_SOME_FLAG`."""

    def __init__(self, service: str, **kwargs: Any) -> None:
        super().__init__(prog=f"python -m services.{service}", **kwargs)
        self._prefix = f"ASSAY_{service.upper()}_"

    def add_option(self, flag: str, *, help: str, **kwargs: Any) -> None:
        """`add_argument` for a flag with a value. The variable's value passes through `type` as the flag's does."""
        variable = self._prefix + flag.removeprefix("--").replace("-", "_").upper()
        given = os.environ.get(variable)
        kwargs["default"] = given or kwargs.get("default")
        kwargs["required"] = kwargs.get("required", False) and not given
        secret = kwargs.get("type") is redis_address
        default = "" if secret or kwargs["default"] is None else "; default: %(default)s"
        self.add_argument(flag, help=f"{help} [{variable}{default}]", **kwargs)


def _number(text: str, kind: Callable[[str], Number], what: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None


def port(text: str) -> int:
    """A TCP port, 0 to 65535."""
    value = _number(text, int, "a port, a whole number")
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} is not a port; it must be 0 (any free port) to 65535")
    return value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = _number(text, int, "a whole number")
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too small; it must be at least 1")
    return value


def whole(text: str) -> int:
    """A whole number of at least 0."""
    value = _number(text, int, "a whole number")
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is too small; it must be at least 0")
    return value


def redis_address(text: str) -> str:
    """A Redis URL. The message of a wrong one does not quote it: it may hold a password."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise argparse.ArgumentTypeError("not an address of Redis; write redis://[:password@]host:port/database")
    return text


def seconds(text: str) -> float:
    """A finite number of seconds, not negative."""
    value = _number(text, float, "a number of seconds")
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a duration; it must be 0 or more seconds")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text, float, "a number")
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not a share; it must be 0 to 1")
    return value


def yes_or_no(text: str) -> bool:
    """`yes` or `no`."""
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"a JSON {type(value).__name__}; it must be an object")
    return value


def log_level(text: str) -> str:
    """One of `services.server.logs.LEVELS`."""
    if text not in LEVELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a log level; it must be one of {', '.join(LEVELS)}")
    return text


def service_parser(service: str, about: str, workers: int) -> ServiceParser:
    """The parser with the flags of `services.server.serve.serve`; `workers` is the default of `--workers`."""
    parser = ServiceParser(service, description=about)
    parser.add_option("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a container")
    parser.add_option("--port", type=port, default=PORTS[service], help="gRPC port; 0 for any free port")
    parser.add_option("--metrics-port", type=port, help=f"Prometheus port; else port + {METRICS_PORT_OFFSET}")
    parser.add_option("--ready-file", type=Path, help="file to write addresses and pid to, as JSON, once serving")
    parser.add_option("--workers", type=positive, default=workers, help="worker processes")
    parser.add_option("--queue-limit", type=positive, default=4096, help="items taken in before callers are refused")
    parser.add_option("--grace", type=seconds, default=20.0, help="seconds that running calls get on SIGTERM")
    parser.add_option("--log-level", type=log_level, default="info", help="least level that is logged")
    return parser
