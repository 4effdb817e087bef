"""`python -m services.rollout`: samples from policies whose weights are published to it."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

from protos.gen.assay.v1 import rollout_pb2_grpc
from services.rollout.servicer import RolloutServicer
from services.server.errors import StartError
from services.server.options import ServiceParser
from services.server.serve import Service, serve

ENGINES = {
    "transformers": "services.rollout.engine_process",
    "vllm": "services.rollout.vllm_engine",
}
"""The module of each engine, with `add_options` and `open_engine`; see `services.rollout.engine`. Only the module of the
chosen engine is imported."""
DTYPES = ("auto", "float32", "bfloat16", "float16")


def engine_name(text: str) -> str:
    """One of `ENGINES`."""
    if text not in ENGINES:
        raise argparse.ArgumentTypeError(f"{text!r} is not an engine; it must be one of {', '.join(ENGINES)}")
    return text


def dtype(text: str) -> str:
    """One of `DTYPES`."""
    if text not in DTYPES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a dtype; it must be one of {', '.join(DTYPES)}")
    return text


def _add_engine_option(parser: ServiceParser) -> None:
    parser.add_option("--engine", type=engine_name, default="transformers", help=f"one of {', '.join(ENGINES)}")


def _engine_module(engine: str) -> ModuleType:
    return importlib.import_module(ENGINES[engine])


def add_options(parser: ServiceParser) -> None:
    """The flags of this service, those of every engine, and those of its own, which has to be known first."""
    first = ServiceParser("rollout", add_help=False)
    _add_engine_option(first)
    chosen, _ = first.parse_known_args()
    _add_engine_option(parser)
    parser.add_option("--dtype", type=dtype, default="auto", help="auto: float32 on a CPU, bfloat16 elsewhere")
    _engine_module(chosen.engine).add_options(parser)


@asynccontextmanager
async def register(service: Service) -> AsyncIterator[None]:
    """Opens the engine and adds the servicer."""
    options = service.options
    if options.workers != 1:
        raise StartError(f"--workers is {options.workers}; this service has one engine, start another service for more")
    engine = await _engine_module(options.engine).open_engine(options, service.set_serving)
    try:
        servicer = RolloutServicer(engine, options.queue_limit)
        rollout_pb2_grpc.add_RolloutServicer_to_server(servicer, service.server)
        yield
    finally:
        await engine.close()


if __name__ == "__main__":
    serve(
        "rollout",
        register,
        interfaces=["assay.v1.Rollout"],
        about="Samples completions from policies and scores given tokens under them.",
        add_options=add_options,
        workers=1,
    )
