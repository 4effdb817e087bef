"""Runs the HTTP server until it is told to end, with the scorers it needs where it is to start them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from services.addresses import SCORERS
from services.http.app import make_app
from services.http.gateway import Gateway
from services.rewards import Plan
from services.server.errors import StartError
from services.server.logs import configure_logs, get_logger
from services.server.parent import watch_parent


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve."""

    plan: Plan
    host: str
    port: int
    addresses: Mapping[str, str] = field(default_factory=dict)
    start: bool = False
    """Start the scorers that have no address, for as long as this serves."""
    custom: Mapping[str, str] = field(default_factory=dict)
    """Name of a user's own scorer to its import path."""
    items_limit: int = 4096
    grace_seconds: float = 20.0
    ready_file: Path | None = None
    log_level: str = "info"
    token: str = ""


class Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, address: str, ready_file: Path | None) -> None:
        super().__init__(config)
        self._address = address
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        get_logger().info("serving", address=self._address)
        if self._ready_file is not None:
            ready = {"name": "http", "address": self._address, "metrics_address": self._address, "pid": os.getpid()}
            part = self._ready_file.with_name(f"{self._ready_file.name}.{os.getpid()}.part")
            part.write_text(json.dumps(ready), encoding="utf-8")
            part.replace(self._ready_file)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        get_logger().info("draining")
        await super().shutdown(sockets)
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)
        get_logger().info("stopped")


def run(options: Options) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    configure_logs("http", options.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    watch_parent()
    # uvicorn takes the signals while it serves, and raises them once more at its end for whoever had them before
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(_listen(options.host, options.port))
        except OSError as error:
            print(
                f"cannot listen on {options.host}:{options.port}: {error.strerror}; give another --port",
                file=sys.stderr,
            )
            return 2
        addresses = dict(options.addresses)
        try:
            addresses |= stack.enter_context(_started(options)) if options.start else {}
        except StartError as error:
            print(error, file=sys.stderr)
            return 2
        asyncio.run(_serve(options, addresses, listener))
    return 0


async def _serve(options: Options, addresses: Mapping[str, str], listener: socket.socket) -> None:
    gateway = Gateway(options.plan, addresses, options.items_limit)
    config = uvicorn.Config(
        make_app(gateway, options.token),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(options.grace_seconds),
        server_header=False,
    )
    host, port = listener.getsockname()[:2]
    host = str({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))  # noqa: S104
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await Server(config, address, options.ready_file).serve([listener])


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


@contextmanager
def _started(options: Options) -> Iterator[dict[str, str]]:
    """Addresses of the scorers that the plan needs and that have none, which run as long as the block. Raises StartError."""
    from services.stack import Stack, StackError, default_services, scorer_spec

    routed = [scorer for route in options.plan.routes.values() for scorer in route]
    names = dict.fromkeys([*(routed or SCORERS), *options.custom])
    specs = {spec.name: spec for spec in default_services()}
    specs |= {name: scorer_spec(name, path) for name, path in options.custom.items()}
    wanted = {name for name in names if name in specs and name not in options.addresses}
    needed = wanted | {need for name in wanted for need in specs[name].needs}
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        services = [spec for name, spec in specs.items() if name in needed]
        stack = Stack(services, (), state_dir=Path(folder), runs_dir=Path(folder))
        try:
            stack.start()
        except StackError as error:
            raise StartError(str(error)) from error
        try:
            yield {name: stack.addresses[name] for name in wanted}
        finally:
            stack.stop()
