"""`python -m services.rollout`: samples from policies whose weights are published to it."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protos.gen.assay.v1 import rollout_pb2_grpc
from services.rollout.engine_process import EngineProcess
from services.rollout.servicer import RolloutServicer
from services.server.errors import StartError
from services.server.options import ServiceParser, positive
from services.server.pool import WorkerPool
from services.server.serve import Service, serve

DTYPES = ("auto", "float32", "bfloat16", "float16")


def dtype(text: str) -> str:
    """One of `DTYPES`."""
    if text not in DTYPES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a dtype; it must be one of {', '.join(DTYPES)}")
    return text


def add_options(parser: ServiceParser) -> None:
    """The flags of this service."""
    parser.add_option(
        "--max-policies", type=positive, default=4, help="policies held; the least recently used goes first"
    )
    parser.add_option("--max-batch-sequences", type=positive, default=256, help="sequences that are computed at once")
    parser.add_option("--dtype", type=dtype, default="auto", help="auto: float32 on a CPU, bfloat16 elsewhere")
    parser.add_option(
        "--device", default="auto", help="torch device (cpu, cuda:0); auto: an accelerator if there is one"
    )


@asynccontextmanager
async def register(service: Service) -> AsyncIterator[None]:
    """Starts the engine's process and adds the servicer."""
    options = service.options
    if options.workers != 1:
        raise StartError(f"--workers is {options.workers}; this service has one engine, start another service for more")
    # Threads of OpenMP that spin while they wait slow a busy machine down many times over; torch reads this once.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    engine = {
        "max_policies": options.max_policies,
        "max_batch_sequences": options.max_batch_sequences,
        "dtype": options.dtype,
        "device": options.device,
    }
    pool = WorkerPool(
        "services.rollout.engine_host:EngineHost",
        {"engine": engine, "policies": []},
        size=1,
        limit=options.queue_limit,
        on_health=service.set_serving,
    )
    await pool.start()
    process = EngineProcess(pool)
    try:
        rollout_pb2_grpc.add_RolloutServicer_to_server(RolloutServicer(pool, process), service.server)
        yield
    finally:
        await pool.close()
        process.close()


if __name__ == "__main__":
    serve(
        "rollout",
        register,
        interfaces=["assay.v1.Rollout"],
        about="Samples completions from policies and scores given tokens under them.",
        add_options=add_options,
        workers=1,
    )
