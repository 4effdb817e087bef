"""`python -m services.sandbox`: runs programs, calls and trials that nobody trusts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from prometheus_client import Gauge

from protos.gen.assay.v1 import sandbox_pb2_grpc
from sandbox.doctor import examine, open_ends
from sandbox.pool import Sandbox
from sandbox.server import Setup
from services.sandbox.bounds import Bounds
from services.sandbox.evidence import Evidence
from services.sandbox.servicer import SandboxServicer
from services.sandbox.shadow import Shadow
from services.sandbox.slots import Slots
from services.server.errors import StartError
from services.server.options import ServiceParser, positive, seconds, share
from services.server.serve import Service, serve

_RESTARTS = Gauge("assay_sandbox_server_restarts", "Fork servers that were lost and replaced.")
_FALLBACKS = Gauge("assay_sandbox_fallbacks", "Runs done again with files, for what a sealed process had not got.")
_RETRIES = Gauge("assay_sandbox_retries", "Runs done once more because the sandbox had failed under them.")
_SOUND = Gauge("assay_sandbox_self_test", "Whether the self-test at the start found nothing open, by kind.", ["kind"])


def add_options(parser: ServiceParser) -> None:
    """The flags of this service."""
    bounds = Bounds()
    parser.add_option("--max-cpu-seconds", type=seconds, default=bounds.cpu_seconds, help="largest CPU limit of a run")
    parser.add_option(
        "--max-wall-seconds", type=seconds, default=bounds.wall_seconds, help="largest wall limit of a run"
    )
    parser.add_option("--max-memory-bytes", type=positive, default=bounds.memory_bytes, help="largest memory limit")
    for role in ("candidates", "checkers"):
        about = f"socket of a `python -m sandbox host` that starts the processes of {role}; else they start here"
        parser.add_option(f"--{role}-socket", default="", help=about)
    parser.add_option("--evidence-dir", default="", help="where runs that attack the sandbox are kept; else nowhere")
    about = "of the runs, how many are done again when nothing else waits, to count what comes out otherwise"
    parser.add_option("--second-runs", type=share, default=0.005, help=about)
    parser.add_option("--max-output-bytes", type=positive, default=bounds.output_bytes, help="largest stdout or stderr")


@asynccontextmanager
async def register(service: Service) -> AsyncIterator[None]:
    """Starts the fork servers and tries them: a sandbox that does not hold does not become ready."""
    options = service.options
    bounds = Bounds(
        options.max_cpu_seconds, options.max_wall_seconds, options.max_memory_bytes, options.max_output_bytes
    )
    evidence = Evidence(Path(options.evidence_dir)) if options.evidence_dir else None
    setup = replace(Setup.here(), candidates_socket=options.candidates_socket, checkers_socket=options.checkers_socket)
    async with Sandbox(slots=2 * options.workers, setup=setup) as sandbox:  # what may go on at once is `Slots`' to say
        examination = await examine(sandbox)
        for finding in examination.findings:
            _SOUND.labels(finding.kind.value).set(not finding.broken)
            service.log.info(
                "confinement",
                kind=finding.kind.value,
                layers=finding.layers,
                missing=dict(finding.missing),
                broken=finding.broken,
            )
        service.log.info("not covered", open=open_ends(examination))
        if not examination.is_sound:
            raise StartError("the sandbox does not hold here: " + "; ".join(examination.faults))
        _RESTARTS.set_function(lambda: sandbox.restarts)
        _RETRIES.set_function(lambda: sandbox.retries)
        _FALLBACKS.set_function(lambda: sandbox.fallbacks.total())
        slots = Slots(options.workers, options.queue_limit)
        servicer = SandboxServicer(sandbox, slots, bounds, Shadow(sandbox, slots, options.second_runs), evidence)
        sandbox_pb2_grpc.add_SandboxServicer_to_server(servicer, service.server)
        yield


if __name__ == "__main__":
    serve(
        "sandbox",
        register,
        interfaces=["assay.v1.Sandbox"],
        about="Runs programs, calls and trials that nobody trusts; --workers is how many compute at once.",
        add_options=add_options,
    )
