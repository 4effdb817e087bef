"""The runtime that every service shares: flags, gRPC server, health, reflection, metrics, logs, drain on SIGTERM.

A service is a function that adds its servicer and starts what the servicer needs:

    @asynccontextmanager
    async def register(service: Service) -> AsyncIterator[None]:
        engine = await Engine.start(service.options.model)        # before the port answers
        rollout_pb2_grpc.add_RolloutServicer_to_server(RolloutServicer(engine), service.server)
        yield                                                     # serves here
        await engine.close()                                      # after the last call ended

    def add_options(parser: ServiceParser) -> None:
        parser.add_option("--model", help="...", default="...")   # also from ASSAY_ROLLOUT_MODEL

    if __name__ == "__main__":
        serve("rollout", register, interfaces=["assay.v1.Rollout"], about="...", add_options=add_options)

What `register` raises as `StartError` is printed without a traceback and ends the process with code 2; so do flags that
do not parse and ports that are taken. SIGTERM and SIGINT turn health to NOT_SERVING, refuse new calls, give running
ones `--grace` seconds and end with code 0; a second signal ends the wait. Servicer methods must be `async def`.
Work that computes belongs into a `services.server.pool.WorkerPool`: this process answers health checks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from services.addresses import MAX_MESSAGE_BYTES, METRICS_PORT_OFFSET
from services.server.errors import StartError
from services.server.logs import configure_logs, get_logger
from services.server.metrics import RequestMetrics
from services.server.options import ServiceParser, service_parser
from services.server.parent import watch_parent

SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a taken port is an error, not two services that share it
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_age_ms", 30 * 60_000),  # clients find new replicas; running calls go on
)
LAST_ANSWER_SECONDS = 1.0
"""Time for the last answer to leave and for health watchers to hear NOT_SERVING, once no call of ours runs."""


class Service:
    """What `register` gets.

    name: the service's name, as in its flags and address variables.
    options: the parsed flags, those of `add_options` included.
    server: where the servicer is added. It listens already, and starts to answer after `register` has yielded.
    draining: set when the service was told to end. Endless streams should then end themselves.
    log: a structlog logger.
    """

    def __init__(self, name: str, options: argparse.Namespace, interfaces: Sequence[str]) -> None:
        self.name = name
        self.options = options
        self.requests = RequestMetrics()
        self.server: grpc.aio.Server = grpc.aio.server(interceptors=(self.requests,), options=SERVER_OPTIONS)
        self.draining = asyncio.Event()
        self.log = get_logger()
        self.health: Any = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self._health_names = ("", *interfaces)
        self._started = False
        self._able = True
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        reflection.enable_server_reflection((*self._health_names[1:], reflection.SERVICE_NAME), self.server)

    async def set_serving(self, able: bool) -> None:
        """Says whether the service can do its work; health is SERVING when it can, has started and does not drain."""
        self._able = able
        await self._tell_health()

    async def tell_started(self) -> None:
        """Called by the runtime when the server answers."""
        self._started = True
        await self._tell_health()

    async def _tell_health(self) -> None:
        status = health_pb2.HealthCheckResponse.ServingStatus
        for name in self._health_names:
            await self.health.set(name, status.SERVING if self._started and self._able else status.NOT_SERVING)


Register = Callable[[Service], AbstractAsyncContextManager[None]]


def serve(
    name: str,
    register: Register,
    *,
    interfaces: Sequence[str],
    about: str,
    add_options: Callable[[ServiceParser], None] | None = None,
    workers: int | None = None,
) -> None:
    """Runs a service until SIGTERM or SIGINT; see the module's docstring.

    name: the service's name in `services.addresses.PORTS`.
    register: adds the servicer; its context is open while the service serves.
    interfaces: full names of the gRPC services (`assay.v1.Rollout`), for reflection and health.
    about: one sentence for `--help`.
    add_options: adds the service's own flags.
    workers: default of `--workers`; None is one for each processor.
    """
    parser = service_parser(name, about, workers or os.cpu_count() or 1)
    if add_options is not None:
        add_options(parser)
    options = parser.parse_args()
    configure_logs(name, options.log_level)
    watch_parent()
    try:
        asyncio.run(_run(name, register, options, interfaces))
    except StartError as error:
        sys.exit(_refuse(parser.prog, error))
    except asyncio.CancelledError:
        get_logger().info("stopped before it was ready")


def _refuse(program: str, error: StartError) -> int:
    print(f"{program}: error: {error}", file=sys.stderr)
    return 2


async def _run(name: str, register: Register, options: argparse.Namespace, interfaces: Sequence[str]) -> None:
    service = Service(name, options, interfaces)
    hurry = asyncio.Event()
    main: Any = asyncio.current_task()

    def on_signal() -> None:
        if not started:
            main.cancel()
        elif service.draining.is_set():
            hurry.set()
        service.draining.set()

    started = False
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)

    async with AsyncExitStack() as stack:
        stack.push_async_callback(service.server.stop, None)
        port, metrics_port = _listen(service, stack)
        await stack.enter_async_context(register(service))
        await service.server.start()
        started = True
        await service.tell_started()
        host: str = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host) or options.host  # noqa: S104
        _write_ready_file(service, _address(host, port), _address(host, metrics_port), stack)
        await service.draining.wait()
        await _drain(service, hurry)


def _listen(service: Service, stack: AsyncExitStack) -> tuple[int, int]:
    """Takes both ports, so that a taken one is known before anything is loaded. Returns the gRPC and metrics ports."""
    options = service.options
    variable = f"ASSAY_{service.name.upper()}"
    try:
        port = service.server.add_insecure_port(_address(options.host, options.port))
    except RuntimeError as error:
        raise StartError(
            f"cannot listen on {_address(options.host, options.port)}; is it taken? Give another by --port or {variable}_PORT, "
            f"or another address by --host or {variable}_HOST"
        ) from error
    wanted = options.metrics_port
    if wanted is None:
        wanted = options.port + METRICS_PORT_OFFSET if options.port else 0
    try:
        metrics, _thread = start_http_server(wanted, addr=options.host)
    except (OSError, OverflowError) as error:
        raise StartError(
            f"cannot listen on {_address(options.host, wanted)} for metrics ({error}); give another port by --metrics-port or "
            f"{variable}_METRICS_PORT, 0 for any"
        ) from error
    stack.callback(metrics.server_close)
    stack.callback(metrics.shutdown)
    return port, metrics.server_port


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _write_ready_file(service: Service, address: str, metrics_address: str, stack: AsyncExitStack) -> None:
    """Writes `--ready-file` in one step; it is removed when the service ends."""
    ready = {"name": service.name, "address": address, "metrics_address": metrics_address, "pid": os.getpid()}
    service.log.info("serving", address=address, metrics_address=metrics_address)
    path: Path | None = service.options.ready_file
    if path is None:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(ready), encoding="utf-8")
    part.replace(path)
    stack.callback(path.unlink, missing_ok=True)


async def _drain(service: Service, hurry: asyncio.Event) -> None:
    """Stops taking calls and waits for the running ones, at most `--grace` seconds or until `hurry`."""
    grace: float = service.options.grace
    service.log.info("draining", grace_seconds=grace)
    await service.health.enter_graceful_shutdown()
    if grace == 0:
        # two stops that end at the same moment have crashed grpc
        await service.server.stop(None)
        service.log.info("stopped")
        return
    stopping = [asyncio.create_task(service.server.stop(grace))]
    waits = [asyncio.create_task(service.requests.idle.wait()), asyncio.create_task(hurry.wait())]
    await asyncio.wait([*stopping, *waits], return_when=asyncio.FIRST_COMPLETED)
    if not stopping[0].done():
        await service.server.stop(None if hurry.is_set() else min(grace, LAST_ANSWER_SECONDS))
    await asyncio.gather(*stopping)
    for wait in waits:
        wait.cancel()
    service.log.info("stopped")
