"""`python -m services.sandbox`: runs programs and sessions of calls that nobody trusts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protos.gen.assay.v1 import sandbox_pb2_grpc
from sandbox.doctor import examine, open_ends
from sandbox.results import Ending
from services.sandbox.bounds import Bounds
from services.sandbox.servicer import SandboxServicer
from services.sandbox.slots import Slots
from services.server.errors import StartError
from services.server.options import ServiceParser, positive, seconds
from services.server.serve import Service, serve


def add_options(parser: ServiceParser) -> None:
    """The flags of this service."""
    bounds = Bounds()
    parser.add_option("--max-cpu-seconds", type=seconds, default=bounds.cpu_seconds, help="largest CPU limit of a run")
    parser.add_option(
        "--max-wall-seconds", type=seconds, default=bounds.wall_seconds, help="largest wall limit of a run"
    )
    parser.add_option("--max-memory-bytes", type=positive, default=bounds.memory_bytes, help="largest address space")
    parser.add_option("--max-output-bytes", type=positive, default=bounds.output_bytes, help="largest stdout or stderr")
    parser.add_option("--max-sessions", type=positive, default=64, help="sessions that may be open at once")


@asynccontextmanager
async def register(service: Service) -> AsyncIterator[None]:
    """Runs an empty program, so that a sandbox that cannot run anything does not become ready; adds the servicer."""
    report, result = await examine()
    if result.ending is not Ending.EXITED:
        raise StartError(f"the sandbox cannot run a program here: {result.ending}: {result.detail}")
    missing = dict(report.missing)
    service.log.info("confinement", layers=report.layers, missing=missing, not_covered=open_ends(report))
    options = service.options
    bounds = Bounds(
        options.max_cpu_seconds, options.max_wall_seconds, options.max_memory_bytes, options.max_output_bytes
    )
    slots = Slots(options.workers, options.queue_limit, options.max_sessions)
    sandbox_pb2_grpc.add_SandboxServicer_to_server(SandboxServicer(slots, bounds), service.server)
    yield


if __name__ == "__main__":
    serve(
        "sandbox",
        register,
        interfaces=["assay.v1.Sandbox"],
        about="Runs programs and sessions of calls that nobody trusts; --workers is how many compute at once.",
        add_options=add_options,
    )
